//! One look-up: both families of a name, each asked of the servers in their order, until the time is over.
//!
//! It moves questions and answers; whom to ask next and what counts is [`Course`]'s. It keeps nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::cache::Learned;
use super::course::{Conclusion, Course, Step};
use super::exchange::{self, Patience};
use super::question::{Family, Flaw, Meaning, Question};
use super::servers::{Server, Servers};
use super::{Failure, ResolveError};

/// How long a server has before the next one is asked as well; what it says later still counts, and counts more.
const NEXT_SERVER: Duration = Duration::from_secs(1);
/// After one family answered, how long the other may still take: a server that drops AAAA must not cost seconds
/// (RFC 8305 waits 50 ms; resolvers two hops away need more).
const OTHER_FAMILY_GRACE: Duration = Duration::from_millis(250);
/// Most addresses taken of one family; the largest CDN answers have 16.
const FAMILY_MAX: usize = 32;
/// How long a server that was left has to show that it is back.
const PROBE: Duration = Duration::from_secs(2);

/// What a look-up works with.
#[derive(Debug)]
pub(super) struct LookUp<'a> {
    pub(super) servers: &'a Servers,
    /// A permit for each socket.
    pub(super) sockets: &'a Arc<Semaphore>,
    pub(super) name: &'a str,
    pub(super) deadline: Instant,
}

struct Asked {
    at: usize,
    server: Arc<Server>,
    since: Instant,
    answer: Pin<Box<dyn Future<Output = Result<Meaning, Flaw>> + Send>>,
    permit: OwnedSemaphorePermit,
}

impl LookUp<'_> {
    /// Asks for both families.
    pub(super) async fn run(&self) -> Learned {
        let order = self.servers.in_order();
        self.look_for_those_left(&order);
        let (v6, v4) = (
            pin!(self.family(Family::V6, &order)),
            pin!(self.family(Family::V4, &order)),
        );
        // Whichever family answers first with addresses gives the other a moment; without addresses it waits it out.
        match select(v6, v4).await {
            Either::Left((first, second)) => other(first, second, &order).await,
            Either::Right((first, second)) => other(first, second, &order).await,
        }
    }

    async fn family(&self, family: Family, order: &[Arc<Server>]) -> Conclusion {
        let options = self.servers.options;
        let pause = options.timeout.min(NEXT_SERVER);
        let mut course = Course::new(order.len(), options.attempts);
        let mut asked: Vec<Asked> = Vec::new();
        let (mut step, mut next) = (course.next(), Instant::now() + pause);
        loop {
            match step {
                Step::Wait => {}
                Step::Done(conclusion) => {
                    let overdue = asked.iter().filter(|asked| asked.since.elapsed() >= pause);
                    overdue.for_each(|asked| asked.server.note(Err(Flaw::Silent), asked.since));
                    return conclusion;
                }
                Step::Ask(at) => {
                    let permit = self.socket(&mut asked, &mut course).await;
                    if let (Some(permit), Some(server)) = (permit, order.get(at)) {
                        asked.push(self.ask(family, at, server, permit));
                    }
                    next = Instant::now() + pause;
                }
            }
            step = tokio::select! {
                (at, outcome) = first_of(&mut asked) => course.note(at, outcome),
                () = sleep_until(next), if course.has_more() => course.next(),
                () = sleep_until(self.deadline) => Step::Done(course.conclude()),
            };
        }
    }

    /// A descriptor: the first question waits for one, a further one takes that of the question that waited longest
    /// where there is none. None when the time is over.
    async fn socket(&self, asked: &mut Vec<Asked>, course: &mut Course) -> Option<OwnedSemaphorePermit> {
        let sockets = Arc::clone(self.sockets);
        if asked.is_empty() {
            let permit = timeout_at(self.deadline, sockets.acquire_owned()).await;
            return permit.ok().and_then(Result::ok);
        }
        if let Ok(permit) = sockets.try_acquire_owned() {
            return Some(permit);
        }
        let oldest = asked.remove(0);
        oldest.server.note(Err(Flaw::Silent), oldest.since);
        course.give_up(oldest.at);
        Some(oldest.permit)
    }

    fn ask(&self, family: Family, at: usize, server: &Arc<Server>, permit: OwnedSemaphorePermit) -> Asked {
        let options = self.servers.options;
        let since = Instant::now();
        let interval = options.timeout.min(NEXT_SERVER);
        let patience = Patience {
            sends: options.attempts,
            interval,
            until: (since + interval * options.attempts.saturating_sub(1) + options.timeout)
                .min(self.deadline),
            transport: options.transport,
        };
        let (question, address) = (question(self.name, family), server.address);
        Asked {
            at,
            server: Arc::clone(server),
            since,
            answer: Box::pin(async move { exchange::ask(address, &question?, patience).await }),
            permit,
        }
    }

    /// Asks servers that were left the same beside the others, now and then: whether they are back.
    fn look_for_those_left(&self, order: &[Arc<Server>]) {
        for server in order.iter().filter(|server| server.takes_probe()) {
            let Ok(permit) = Arc::clone(self.sockets).try_acquire_owned() else {
                return;
            };
            let since = Instant::now();
            let patience = Patience {
                sends: 1,
                interval: PROBE,
                until: since + PROBE,
                transport: self.servers.options.transport,
            };
            let (question, probed) = (question(self.name, Family::V4), Arc::clone(server));
            let probe = tokio::spawn(async move {
                if let Ok(question) = question {
                    let outcome = exchange::ask(probed.address, &question, patience).await;
                    probed.note(outcome.map(|_| ()), since);
                }
                drop(permit);
            });
            server.keep_probe(AbortOnDropHandle::new(probe));
        }
    }
}

/// With a number of its own.
pub(super) fn question(name: &str, family: Family) -> Result<Question, Flaw> {
    let number = getrandom::u32().map_err(|_| Flaw::Unreachable)?;
    let [high, low, ..] = number.to_be_bytes();
    Question::new(u16::from_be_bytes([high, low]), name, family).ok_or(Flaw::Garbage)
}

/// The outcome of whichever question ends first, noted with its server.
async fn first_of(asked: &mut Vec<Asked>) -> (usize, Result<Meaning, Flaw>) {
    poll_fn(|context| {
        for n in 0..asked.len() {
            let Some(question) = asked.get_mut(n) else { break };
            if let Poll::Ready(outcome) = question.answer.as_mut().poll(context) {
                let ended = asked.remove(n);
                ended
                    .server
                    .note(outcome.as_ref().map(|_| ()).map_err(|flaw| *flaw), ended.since);
                return Poll::Ready((ended.at, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

async fn other(
    first: Conclusion,
    second: impl Future<Output = Conclusion>,
    order: &[Arc<Server>],
) -> Learned {
    let second = match &first {
        Conclusion::Answered(_, Meaning::Found { .. }) => {
            let until = Instant::now() + OTHER_FAMILY_GRACE;
            let second = timeout_at(until, second).await;
            second.unwrap_or_else(|_| Conclusion::Failed(Vec::new()))
        }
        Conclusion::Answered(_, Meaning::Missing { .. }) | Conclusion::Failed(_) => second.await,
    };
    combine(first, second, order)
}

/// What both families come to together.
fn combine(first: Conclusion, second: Conclusion, order: &[Arc<Server>]) -> Learned {
    use Conclusion::{Answered, Failed};
    use Meaning::{Found, Missing};
    match (first, second) {
        (
            Answered(_, Found { mut addresses, ttl }),
            Answered(
                _,
                Found {
                    addresses: more,
                    ttl: other,
                },
            ),
        ) => {
            addresses.truncate(FAMILY_MAX);
            addresses.extend(more.into_iter().take(FAMILY_MAX));
            let ttl = ttl.min(other);
            Learned::Found { addresses, ttl }
        }
        (Answered(_, Found { mut addresses, ttl }), Answered(_, Missing { .. }))
        | (Answered(_, Missing { .. }), Answered(_, Found { mut addresses, ttl })) => {
            addresses.truncate(FAMILY_MAX);
            Learned::Found { addresses, ttl }
        }
        (Answered(_, Found { mut addresses, ttl }), Failed(_))
        | (Failed(_), Answered(_, Found { mut addresses, ttl })) => {
            addresses.truncate(FAMILY_MAX);
            Learned::Partial { addresses, ttl }
        }
        (Answered(_, Missing { ttl }), Answered(_, Missing { ttl: other })) => Learned::Missing {
            ttl: ttl.zip(other).map(|(one, other)| one.min(other)),
        },
        // A family without records says nothing about the other's failure, which is the news.
        (Answered(_, Missing { .. }), Failed(flaws)) | (Failed(flaws), Answered(_, Missing { .. })) => {
            Learned::Failed(failure(flaws, order))
        }
        (Failed(flaws), Failed(more)) => {
            Learned::Failed(failure(flaws.into_iter().chain(more).collect(), order))
        }
    }
}

fn failure(flaws: Vec<(usize, Flaw)>, order: &[Arc<Server>]) -> ResolveError {
    if flaws.iter().all(|(_, flaw)| *flaw == Flaw::Silent) {
        return ResolveError::Timeout;
    }
    let mut said: Vec<_> = flaws
        .into_iter()
        .filter_map(|(at, flaw)| Some((order.get(at)?.address, flaw)))
        .collect();
    said.sort_unstable_by_key(|(address, flaw)| (*address, flaw.as_str()));
    said.dedup();
    ResolveError::Failed(Failure::Servers(said.into()))
}
