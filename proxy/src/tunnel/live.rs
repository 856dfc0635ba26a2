//! The tunnels that are open right now: whose they are, where they lead, what they have done so far.
//!
//! Read when somebody asks. On the way of the bytes there is no lock: each tunnel notes its counts in a [`Meter`] of
//! its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use egressway_core::acl::{Policy, Target, VettedAddr};
use futures::task::AtomicWaker;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::server::id::Id;

/// Parts of the list, each with a lock of its own, so that threads that open tunnels seldom meet.
const PARTS: usize = 16;

/// Of those that are stuck, one of so many ends at a time.
const RELIEF: usize = 8;

/// Counts of one tunnel: written by its task, read by whoever asks.
#[derive(Debug)]
pub struct Meter {
    opened_at: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Milliseconds after `opened_at`.
    moved_ms: AtomicU64,
    /// Bytes wait for a reader that takes none.
    blocked: AtomicBool,
    /// It has to end, because what it holds is needed.
    crowded_out: AtomicBool,
    /// Of the task, while it is blocked.
    waker: AtomicWaker,
}

impl Meter {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new(opened_at: Instant) -> Self {
        Self {
            opened_at,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            crowded_out: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Notes whether bytes wait for a reader; then whoever needs their memory can wake the task. True where somebody does.
    pub(super) fn waits(&self, cx: &Context<'_>, blocked: bool) -> bool {
        if blocked || self.blocked.load(Ordering::Relaxed) {
            self.blocked.store(blocked, Ordering::Relaxed);
            if blocked {
                self.waker.register(cx.waker());
            }
        }
        self.crowded_out.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.crowded_out.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// For how long nothing has moved, where bytes wait for a reader.
    fn stuck(&self, now: Instant) -> Option<Duration> {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        let age = now.saturating_duration_since(self.opened_at);
        self.blocked
            .load(Ordering::Relaxed)
            .then(|| age.saturating_sub(moved))
    }

    /// Notes totals, and when something moved last.
    pub(super) fn note(&self, sent: u64, received: u64, moved_at: Instant) {
        self.sent.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
        let after = moved_at.saturating_duration_since(self.opened_at);
        self.moved_ms.store(milliseconds(after), Ordering::Relaxed);
    }
}

/// An open tunnel.
#[derive(Debug)]
pub struct Open {
    /// Its id, as in the log.
    pub id: Id,
    /// Who opened it.
    pub client: SocketAddr,
    /// The policy that permitted it.
    pub policy: Option<Arc<Policy>>,
    /// What was asked for.
    pub target: Target,
    /// What was dialled.
    pub address: VettedAddr,
    /// What it does.
    pub meter: Meter,
}

/// An open tunnel as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelInfo {
    /// Its id, as in the log.
    pub id: String,
    /// Who opened it.
    pub client: SocketAddr,
    /// `namespace/name` of the policy that permitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `host:port` that was asked for.
    pub target: String,
    /// The address that was dialled.
    pub address: SocketAddr,
    /// When it was opened.
    pub started: Timestamp,
    /// Bytes from the client.
    pub bytes_sent: u64,
    /// Bytes to the client.
    pub bytes_received: u64,
    /// For how long nothing has moved.
    pub idle_ms: u64,
}

/// The list.
#[derive(Debug, Default)]
pub struct Live([Mutex<HashMap<Id, Arc<Open>>>; PARTS]);

/// One entry, for as long as its tunnel is open.
#[derive(Debug)]
pub struct Listed<'a> {
    live: &'a Live,
    open: Arc<Open>,
}

impl Live {
    /// Lists a tunnel.
    #[must_use]
    pub fn list(&self, open: Open) -> Listed<'_> {
        let open = Arc::new(open);
        if let Some(mut part) = self.part(&open) {
            part.insert(open.id, Arc::clone(&open));
        }
        Listed { live: self, open }
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn tunnels(&self) -> Vec<TunnelInfo> {
        // Copied out part by part: whoever opens a tunnel meanwhile does not wait for text to be made.
        let mut open: Vec<Arc<Open>> = Vec::new();
        for part in &self.0 {
            open.extend(locked(part).values().cloned());
        }
        open.sort_unstable_by_key(|open| open.meter.opened_at);
        let (now, wall) = (Instant::now(), Timestamp::now());
        open.iter().map(|open| open.info(now, wall)).collect()
    }

    /// Ends some of the tunnels whose reader has taken nothing for so long, those first that have been stuck longest; how
    /// many. Called again until there is memory: a few at a time, so that no more end than have to.
    pub fn relieve(&self, stuck_for: Duration) -> usize {
        let now = Instant::now();
        let mut stuck: Vec<(Duration, Arc<Open>)> = Vec::new();
        for part in &self.0 {
            let open = locked(part);
            let long = open.values().filter_map(|open| {
                let since = open.meter.stuck(now).filter(|since| *since >= stuck_for)?;
                Some((since, Arc::clone(open)))
            });
            stuck.extend(long);
        }
        let count = stuck.len().div_ceil(RELIEF);
        stuck.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        stuck.truncate(count);
        stuck.iter().for_each(|(_, open)| open.meter.end());
        count
    }

    fn part(&self, open: &Open) -> Option<MutexGuard<'_, HashMap<Id, Arc<Open>>>> {
        self.0.get(usize::from(open.client.port()) % PARTS).map(locked)
    }
}

fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listed<'_> {
    /// The entry.
    #[must_use]
    pub fn open(&self) -> &Open {
        &self.open
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(mut part) = self.live.part(&self.open) {
            part.remove(&self.open.id);
        }
    }
}

impl Open {
    fn info(&self, now: Instant, wall: Timestamp) -> TunnelInfo {
        let meter = &self.meter;
        let age = now.saturating_duration_since(meter.opened_at);
        let moved = Duration::from_millis(meter.moved_ms.load(Ordering::Relaxed));
        TunnelInfo {
            id: self.id.to_string(),
            client: SocketAddr::new(self.client.ip().to_canonical(), self.client.port()),
            policy: self
                .policy
                .as_ref()
                .map(|policy| format!("{}/{}", policy.namespace(), policy.name())),
            target: self.target.to_string(),
            address: self.address.socket_addr(),
            started: wall.checked_sub(age).unwrap_or(wall),
            bytes_sent: meter.sent.load(Ordering::Relaxed),
            bytes_received: meter.received.load(Ordering::Relaxed),
            idle_ms: milliseconds(age.saturating_sub(moved)),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_waits_for_its_reader_is_stuck_and_moving_ends_it() {
        let waker = noop_waker();
        let cx = Context::from_waker(&waker);
        let meter = Meter::new(Instant::now());
        let seconds = Duration::from_secs;
        assert!(!meter.waits(&cx, false));
        advance(seconds(3)).await;
        assert_eq!(meter.stuck(Instant::now()), None, "it is idle");
        assert!(!meter.waits(&cx, true));
        meter.note(1, 0, Instant::now());
        advance(seconds(2)).await;
        assert_eq!(meter.stuck(Instant::now()), Some(seconds(2)));
        assert!(!meter.waits(&cx, false));
        assert_eq!(meter.stuck(Instant::now()), None);
        meter.end();
        assert!(meter.waits(&cx, true));
    }
}
