//! Connections of whoever has not shown yet that it is a client: counted by where they come from, and ended for the sake
//! of others once they are too many or hold too much.
//!
//! A stranger holds a place and the beginning of a head; it may be a client that is about to say so. So nobody is refused
//! for want of room while there is another stranger to end: the one that has waited longest, and first of all one of the
//! same source, so that who floods a pod ends its own connections. Whoever is in a hurry is done in milliseconds; whoever
//! holds on without an end in sight is what gets ended. What is known as a client's connection is never touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::source::Source;

/// One source may have an eighth of what strangers have together before its own pay for each further one.
const SHARE: usize = 8;
/// So few of one source are never too many: a pod that opens a few connections at once is no flood.
const FEW: usize = 16;

/// All of them.
#[derive(Debug)]
pub struct Strangers {
    /// Most bytes that they hold together.
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Grows with each that is ended, so that the others need not look.
    ended: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    here: BTreeMap<u64, Stranger>,
    sources: HashMap<Source, Presence>,
    /// Those that hold bytes.
    holders: BTreeSet<u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Stranger {
    source: Source,
    bytes: usize,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Presence {
    connections: usize,
    bytes: usize,
}

/// Which of them a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Strangers {
    /// Nobody yet; together they may hold so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// One more.
    pub fn enter(&self, source: Source) -> Ticket {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.sources.entry(source).or_default().connections += 1;
        let stranger = Stranger {
            source,
            bytes: 0,
            ended: false,
            waker: None,
        };
        inner.here.insert(id, stranger);
        Ticket(id)
    }

    /// It is a client's connection, or has ended: whichever, nobody ends it any more. False where that was done already.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let mut inner = self.lock();
        match inner.here.remove(&ticket.0) {
            Some(stranger) if !stranger.ended => {
                inner.forget(ticket.0, &stranger);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends one so that a connection of this source finds a place; false where there is none that could be ended.
    pub fn make_room(&self, source: Source) -> bool {
        let mut inner = self.lock();
        let of_source = inner
            .sources
            .get(&source)
            .map_or(0, |presence| presence.connections);
        let all: usize = inner.here.len();
        let own = of_source > FEW.max(all / SHARE);
        let mut standing = inner.here.iter().filter(|(_, stranger)| !stranger.ended);
        let victim = if own {
            standing.find(|(_, stranger)| stranger.source == source)
        } else {
            standing.next()
        };
        let Some(id) = victim.map(|(id, _)| *id) else {
            return false;
        };
        self.end(&mut inner, id);
        true
    }

    /// Has it hold so many bytes, in place of as many as before; false where they cannot be had, even by
    /// ending others.
    pub fn hold(&self, ticket: Ticket, bytes: usize) -> bool {
        let mut inner = self.lock();
        let Some(stranger) = inner.here.get(&ticket.0).filter(|stranger| !stranger.ended) else {
            return false;
        };
        let (source, held) = (stranger.source, stranger.bytes);
        let more = bytes.saturating_sub(held);
        if bytes > self.bytes_max {
            return false;
        }
        while inner.bytes + more > self.bytes_max {
            let of_source = inner.sources.get(&source).map_or(0, |presence| presence.bytes);
            let own = of_source + more > self.bytes_max / SHARE;
            let mut others = inner.holders.iter().filter(|id| **id != ticket.0);
            let oldest = if own {
                let here = &inner.here;
                let is_own = |id: &&u64| here.get(id).is_some_and(|other| other.source == source);
                others
                    .find(is_own)
                    .or_else(|| inner.holders.iter().find(|id| **id != ticket.0))
            } else {
                others.next()
            };
            let Some(id) = oldest.copied() else { return false };
            self.end(&mut inner, id);
        }
        let less = held.saturating_sub(bytes);
        inner.bytes = (inner.bytes + more).saturating_sub(less);
        if let Some(presence) = inner.sources.get_mut(&source) {
            presence.bytes = (presence.bytes + more).saturating_sub(less);
        }
        if let Some(stranger) = inner.here.get_mut(&ticket.0) {
            stranger.bytes = bytes;
        }
        if bytes == 0 {
            inner.holders.remove(&ticket.0);
        } else {
            inner.holders.insert(ticket.0);
        }
        true
    }

    /// Completes once it is ended for the sake of others.
    pub async fn ended(&self, ticket: Ticket) {
        let mut seen = None;
        poll_fn(|cx| self.poll_ended(cx, ticket, &mut seen)).await;
    }

    /// What a future comes to, unless it is ended before.
    pub async fn unless_ended<F: Future>(&self, ticket: Option<Ticket>, future: F) -> Option<F::Output> {
        let Some(ticket) = ticket else {
            return Some(future.await);
        };
        let (mut future, mut seen) = (pin!(future), None);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_ended(cx, ticket, &mut seen).map(|()| None),
        })
        .await
    }

    fn poll_ended(&self, cx: &Context<'_>, ticket: Ticket, seen: &mut Option<u64>) -> Poll<()> {
        let ended = self.ended.load(Ordering::Acquire);
        if *seen == Some(ended) {
            return Poll::Pending;
        }
        *seen = Some(ended);
        match self.lock().here.get_mut(&ticket.0) {
            Some(stranger) if stranger.ended => Poll::Ready(()),
            Some(stranger) => {
                // The task of a connection is the same all its life.
                if stranger
                    .waker
                    .as_ref()
                    .is_none_or(|waker| !waker.will_wake(cx.waker()))
                {
                    stranger.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    /// How many there are, and what they hold.
    #[must_use]
    pub fn counted(&self) -> (usize, usize) {
        let inner = self.lock();
        let connections = inner.sources.values().map(|presence| presence.connections).sum();
        (connections, inner.bytes)
    }

    fn end(&self, inner: &mut Inner, id: u64) {
        if let Some(mut stranger) = inner.here.remove(&id) {
            inner.forget(id, &stranger);
            let waker = stranger.waker.take();
            stranger.ended = true;
            inner.here.insert(id, stranger);
            self.ended.fetch_add(1, Ordering::Release);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes it out of every count.
    fn forget(&mut self, id: u64, stranger: &Stranger) {
        self.holders.remove(&id);
        self.bytes = self.bytes.saturating_sub(stranger.bytes);
        let Some(presence) = self.sources.get_mut(&stranger.source) else {
            return;
        };
        presence.connections = presence.connections.saturating_sub(1);
        presence.bytes = presence.bytes.saturating_sub(stranger.bytes);
        if presence.connections == 0 {
            self.sources.remove(&stranger.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn source(n: u8) -> Source {
        Source::of([192, 0, 2, n].into())
    }

    fn ended(strangers: &Strangers, tickets: &[Ticket]) -> Vec<usize> {
        let is_ended = |ticket: &Ticket| strangers.ended(*ticket).now_or_never().is_some();
        let all = tickets.iter().enumerate();
        all.filter(|(_, ticket)| is_ended(ticket))
            .map(|(n, _)| n)
            .collect()
    }

    #[test]
    fn the_one_that_has_waited_longest_makes_room_and_known_ones_never_do() {
        let strangers = Strangers::new(0);
        let tickets = [1, 2, 1].map(|n| strangers.enter(source(n)));
        strangers.leave(tickets[0]);
        assert!(strangers.make_room(source(3)));
        assert_eq!(ended(&strangers, &tickets), [1]);
        assert!(strangers.make_room(source(3)));
        assert_eq!(ended(&strangers, &tickets), [1, 2]);
        assert!(!strangers.make_room(source(3)), "nobody is left");
        assert_eq!(strangers.counted(), (0, 0));
        assert!(!tickets.into_iter().any(|ticket| strangers.leave(ticket)));
        let inner = strangers.lock();
        assert!(inner.here.is_empty() && inner.sources.is_empty());
    }

    #[test]
    fn a_source_of_many_pays_for_its_own_and_not_who_came_before() {
        let strangers = Strangers::new(0);
        let pod = strangers.enter(source(1));
        let flood: Vec<_> = (0..=FEW).map(|_| strangers.enter(source(2))).collect();
        assert!(strangers.make_room(source(2)));
        assert_eq!(ended(&strangers, &[pod]), [0; 0]);
        assert_eq!(ended(&strangers, &flood), [0]);
        assert!(strangers.make_room(source(3)));
        assert_eq!(
            ended(&strangers, &[pod]),
            [0],
            "the oldest of all, for another source"
        );
    }

    #[test]
    fn bytes_are_bounded_by_ending_the_oldest_that_hold_any() {
        let strangers = Strangers::new(100);
        let tickets = [1, 2, 3, 4].map(|n| strangers.enter(source(n)));
        assert!(strangers.hold(tickets[1], 60) && strangers.hold(tickets[2], 40));
        assert_eq!(strangers.counted(), (4, 100));
        assert!(strangers.hold(tickets[3], 10));
        assert_eq!(ended(&strangers, &tickets), [1], "the first holds nothing");
        assert_eq!(strangers.counted(), (3, 50));
        assert!(!strangers.hold(tickets[1], 1), "it has ended");
        assert!(!strangers.hold(tickets[0], 101), "more than there is at all");
        // A source past its share pays itself.
        let more = [5, 3].map(|n| strangers.enter(source(n)));
        assert!(strangers.hold(more[0], 50));
        assert!(strangers.hold(more[1], 13));
        assert_eq!(ended(&strangers, &tickets), [1, 2]);
        assert!(ended(&strangers, &more).is_empty());
        for ticket in tickets.into_iter().chain(more) {
            strangers.leave(ticket);
        }
        assert_eq!(strangers.counted(), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_hears_that_it_was_ended() {
        let strangers = std::sync::Arc::new(Strangers::new(0));
        let ticket = strangers.enter(source(1));
        let waits = {
            let strangers = std::sync::Arc::clone(&strangers);
            tokio::spawn(async move {
                let never = std::future::pending::<()>();
                strangers.unless_ended(Some(ticket), never).await
            })
        };
        tokio::task::yield_now().await;
        assert!(strangers.make_room(source(2)));
        assert_eq!(waits.await.unwrap(), None);
    }
}
