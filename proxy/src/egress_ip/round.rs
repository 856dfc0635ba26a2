//! One round: every observer, over both families, several times; all at once, and over in a bounded time.
//!
//! What the answers mean is for the ledger. A dead or slow observer costs the others nothing: each has its own share
//! of connections, and the round ends without it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use egressway_core::acl::{Floor, Host};
use egressway_core::egress::Sighting;
use egressway_core::wire::report::ObserverHealth;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use tokio::time::timeout;
use tracing::debug;

use super::plan::{Family, Observer, Plan};
use super::probe::{self, Error};
use crate::error_chain;
use crate::resolve::Resolver;

/// Connections to one observer at once; with eight observers at most 64 in a round.
const AT_ONCE: usize = 8;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One question, from connecting to the last byte of the answer; and one look-up.
    pub probe: Duration,
    /// The round. Below five seconds, so that a changed NAT address is known within the interval and five seconds.
    pub round: Duration,
    /// From round to round while the pod waits for its first quorum.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(3),
            round: Duration::from_millis(4500),
            retry: Duration::from_secs(1),
        }
    }
}

/// What came of a round.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Every usable answer.
    pub(super) sightings: Vec<Sighting>,
    /// One entry per observer and family, in the order of the pool's document.
    pub(super) health: Vec<ObserverHealth>,
}

/// What one observer did over one family: usable answers, and the last reason for an unusable one.
type Answers = BTreeMap<(usize, Family), (Vec<IpAddr>, Option<String>)>;

/// Asks everybody.
pub(super) async fn round(plan: &Plan, floor: &Floor, resolver: &Resolver, pace: Pace) -> Outcome {
    // Written by futures of this one task; the lock is never held across an await, so it is never contended.
    let answers = Mutex::new(Answers::new());
    let note = |observer: usize, family: Family, answer: Result<IpAddr, Error>| {
        let Ok(mut answers) = answers.lock() else { return };
        let (ips, error) = answers.entry((observer, family)).or_default();
        match answer {
            Ok(ip) => ips.push(ip),
            Err(failed) => *error = Some(error_chain(&failed)),
        }
    };
    let everybody = join_all(plan.observers.iter().enumerate().map(|(n, observer)| {
        let note = &note;
        ask(plan, observer, floor, resolver, pace, move |family, answer| {
            note(n, family, answer)
        })
    }));
    // What is unanswered by then is written down as such below.
    let _ = timeout(pace.round, everybody).await;
    conclude(plan, answers.into_inner().unwrap_or_default())
}

/// One observer: look it up, then all its questions.
async fn ask(
    plan: &Plan,
    observer: &Observer,
    floor: &Floor,
    resolver: &Resolver,
    pace: Pace,
    note: impl Fn(Family, Result<IpAddr, Error>),
) {
    let mut questions = Vec::new();
    let addresses = look_up(observer, resolver, pace.probe).await;
    for family in Family::ALL {
        match &addresses {
            Err(error) => note(family, Err(Error::LookUp(error.clone()))),
            Ok(all) => {
                let own: Vec<IpAddr> = all
                    .iter()
                    .copied()
                    .filter(|ip| Family::of(*ip) == family)
                    .collect();
                if own.is_empty() {
                    note(family, Err(Error::NoAddress(family)));
                }
                questions.extend(
                    own.iter()
                        .cycle()
                        .take(if own.is_empty() { 0 } else { plan.probes(family) })
                        .map(|ip| (family, *ip)),
                );
            }
        }
    }
    let note = &note;
    stream::iter(questions)
        .for_each_concurrent(AT_ONCE, |(family, ip)| async move {
            let answer = match floor.vet_observer(ip, observer.target.port()) {
                Err(deny) => Err(Error::Refused(deny)),
                Ok(addr) => timeout(pace.probe, probe::ask(observer, addr)).await.unwrap_or(Err(Error::TimedOut)),
            };
            if let Ok(seen) = &answer
                && Family::of(*seen) != family
            {
                debug!(observer = observer.name, asked = family.as_str(), %seen, "answer of the other family");
            }
            note(family, answer);
        })
        .await;
}

async fn look_up(observer: &Observer, resolver: &Resolver, limit: Duration) -> Result<Vec<IpAddr>, String> {
    match observer.target.host() {
        Host::Address(ip) => Ok(vec![*ip]),
        Host::Name(name) => match timeout(limit, resolver.resolve(name)).await {
            Ok(Ok(addresses)) => Ok(addresses.to_vec()),
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(_) => Err(Error::TimedOut.to_string()),
        },
    }
}

fn conclude(plan: &Plan, mut answers: Answers) -> Outcome {
    let mut outcome = Outcome {
        sightings: Vec::new(),
        health: Vec::new(),
    };
    for (n, observer) in plan.observers.iter().enumerate() {
        for family in Family::ALL {
            let (ips, error) = answers.remove(&(n, family)).unwrap_or_default();
            let unanswered = || Some(Error::TimedOut.to_string());
            outcome.health.push(ObserverHealth {
                name: observer.name.clone(),
                family: family.as_str().to_owned(),
                // One good answer is enough: a lost packet among four questions is no news.
                error: if ips.is_empty() {
                    error.or_else(unanswered)
                } else {
                    None
                },
            });
            outcome.sightings.extend(ips.into_iter().map(|ip| Sighting {
                observer: observer.name.clone(),
                ip,
            }));
        }
    }
    outcome
}
