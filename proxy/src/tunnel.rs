//! Bytes both ways between two streams, until both sides have finished or something cuts them.
//!
//! The end of one direction is passed on as an end, a reset as a reset: whoever reads a truncated answer must notice.
//! An idle tunnel holds no buffer and no pipe ([`direction`] says how bytes move). It knows no HTTP and decides nothing;
//! the caller says whether a new policy lets it go on.

mod direction;
pub mod live;
pub mod pipe;

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::direction::{Broken, Direction};
use self::live::Meter;
use self::pipe::Pipes;
use crate::server::reason::Fault;
use crate::state::InForce;
use crate::stream::Stream;

/// How a tunnel or a forwarded request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides finished.
    Completed,
    /// The client reset the connection.
    ClientReset,
    /// The destination reset the connection, or broke off an answer.
    OriginReset,
    /// Nothing moved for the idle limit.
    IdleTimeout,
    /// The lifetime limit was reached.
    Lifetime,
    /// A new policy no longer permits it.
    PolicyRevoked,
    /// The TLS hello does not name the target, where the rule demands it.
    SniMismatch,
    /// The pod's time to drain was over.
    Killed,
    /// An answer without a length went past the limit.
    ResponseTooLarge,
    /// An answer broke HTTP's grammar behind its head; the text says where, for the log.
    UpstreamMalformed(&'static str),
    /// Its reader took nothing, and the memory of what waited was needed.
    CrowdedOut,
}

impl End {
    /// One of each, for tests and docs.
    pub const ALL: [Self; 11] = [
        Self::Completed,
        Self::ClientReset,
        Self::OriginReset,
        Self::IdleTimeout,
        Self::Lifetime,
        Self::PolicyRevoked,
        Self::SniMismatch,
        Self::Killed,
        Self::ResponseTooLarge,
        Self::UpstreamMalformed("example"),
        Self::CrowdedOut,
    ];

    /// The end of an answer whose body is not what it has to be.
    pub(crate) const fn malformed(fault: Fault) -> Self {
        match fault.of_answer() {
            Fault::UpstreamMalformed(what) => Self::UpstreamMalformed(what),
            _ => Self::OriginReset,
        }
    }

    /// The stable code: metric label and log field.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientReset => "client_reset",
            Self::OriginReset => "origin_reset",
            Self::IdleTimeout => "idle_timeout",
            Self::Lifetime => "lifetime",
            Self::PolicyRevoked => "policy_revoked",
            Self::SniMismatch => "sni_mismatch",
            Self::Killed => "killed",
            Self::ResponseTooLarge => "response_too_large",
            Self::UpstreamMalformed(_) => "upstream_malformed",
            Self::CrowdedOut => "crowded_out",
        }
    }
}

/// What a tunnel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Bytes from the client.
    pub sent: u64,
    /// Bytes to the client.
    pub received: u64,
}

/// One end of a tunnel: a stream, and bytes that were read from it already.
#[derive(Debug)]
pub struct Side {
    /// The stream.
    pub stream: Stream,
    /// Read already; goes to the other side first.
    pub early: Bytes,
}

impl Side {
    /// Copies what was read already, so that the buffer it came in can go.
    #[must_use]
    pub fn new(stream: impl Into<Stream>, early: &[u8]) -> Self {
        let early = Bytes::copy_from_slice(early);
        Self {
            stream: stream.into(),
            early,
        }
    }
}

/// What can cut a tunnel.
#[derive(Debug)]
pub struct Cuts {
    /// Longest time in which nothing moves.
    pub idle: Duration,
    /// When it ends in any case.
    pub deadline: Option<Instant>,
    /// Wakes when documents change.
    pub in_force: watch::Receiver<Arc<InForce>>,
    /// Cuts at once.
    pub kill: CancellationToken,
}

/// Counters of all tunnels, which grow while bytes move.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Bytes from the client.
    pub sent: Counter,
    /// Bytes to the client.
    pub received: Counter,
}

/// What a tunnel uses of the process.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Counts for all tunnels.
    pub counters: &'a Counters,
    /// Counts for this one.
    pub meter: &'a Meter,
    /// For long transfers, and for what waits for its reader.
    pub pipes: &'a Arc<Pipes>,
}

/// What woke a tunnel for good.
enum Woken {
    Ended(End),
    Documents,
    Time,
}

/// Relays until the end. `permitted` is asked again whenever documents change, before another byte moves.
pub async fn run(
    client: Side,
    origin: Side,
    cuts: Cuts,
    means: Means<'_>,
    mut permitted: impl FnMut(&Arc<InForce>) -> bool,
) -> Outcome {
    let Cuts {
        idle,
        deadline,
        in_force: mut changes,
        kill,
    } = cuts;
    // One to be woken by, one to look at between two writes, which takes no lock.
    let mut in_force = changes.clone();
    let mut relay = Relay::new(client, origin, means);
    let wake_at = |idle_at: Instant| deadline.map_or(idle_at, |deadline| deadline.min(idle_at));
    // Made once and not at each event: arming a timer and waiting in a list take locks.
    let mut killed = pin!(kill.cancelled());
    let mut timer = pin!(sleep_until(wake_at(relay.moved_at + idle)));
    let end = loop {
        let woken = {
            let mut changed = pin!(changes.changed());
            // Without its sender nothing can be permitted any more, and `changed` says so.
            let are_current = || in_force.has_changed().is_ok_and(|changed| !changed);
            poll_fn(|cx| {
                if let Poll::Ready(end) = relay.poll(cx, &are_current) {
                    return Poll::Ready(Woken::Ended(end));
                }
                if means.meter.waits(cx, relay.is_blocked()) {
                    return Poll::Ready(Woken::Ended(End::CrowdedOut));
                }
                if killed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Woken::Ended(End::Killed));
                }
                match changed.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Woken::Documents),
                    // The sender lives as long as the process's state; without it nothing can be permitted any more.
                    Poll::Ready(Err(_)) => return Poll::Ready(Woken::Ended(End::PolicyRevoked)),
                    Poll::Pending => {}
                }
                timer.as_mut().poll(cx).map(|()| Woken::Time)
            })
            .await
        };
        match woken {
            Woken::Ended(end) => break end,
            Woken::Documents => {
                let documents = Arc::clone(&in_force.borrow_and_update());
                if !permitted(&documents) {
                    break End::PolicyRevoked;
                }
            }
            Woken::Time => {
                let now = Instant::now();
                if deadline.is_some_and(|deadline| deadline <= now) {
                    break End::Lifetime;
                }
                let idle_at = relay.moved_at + idle;
                if idle_at <= now {
                    break End::IdleTimeout;
                }
                // Something moved since: one timer a tunnel, moved on only when it fires.
                timer.as_mut().reset(wake_at(idle_at));
            }
        }
    };
    if end != End::Completed {
        relay.reset();
    }
    Outcome {
        end,
        sent: relay.up.bytes(),
        received: relay.down.bytes(),
    }
}

struct Relay<'a> {
    client: Stream,
    origin: Stream,
    up: Direction,
    down: Direction,
    moved_at: Instant,
    means: Means<'a>,
}

impl<'a> Relay<'a> {
    fn new(client: Side, origin: Side, means: Means<'a>) -> Self {
        Self {
            up: Direction::new(client.early, &means.counters.sent, means.pipes.memory()),
            down: Direction::new(origin.early, &means.counters.received, means.pipes.memory()),
            client: client.stream,
            origin: origin.stream,
            moved_at: Instant::now(),
            means,
        }
    }

    /// Moves bytes both ways while the documents are those that permit it.
    fn poll(&mut self, cx: &mut Context<'_>, are_current: &impl Fn() -> bool) -> Poll<End> {
        let before = (self.up.progress(), self.down.progress());
        let Means {
            counters,
            meter,
            pipes,
        } = self.means;
        let last = self.down.finished();
        let up = self.up.poll(
            cx,
            &mut self.client,
            &mut self.origin,
            last,
            &counters.sent,
            pipes,
            are_current,
        );
        let last = self.up.finished();
        let down = self.down.poll(
            cx,
            &mut self.origin,
            &mut self.client,
            last,
            &counters.received,
            pipes,
            are_current,
        );
        if (self.up.progress(), self.down.progress()) != before {
            self.moved_at = Instant::now();
            meter.note(self.up.bytes(), self.down.bytes(), self.moved_at);
        }
        match (up, down) {
            (Poll::Ready(Err(Broken::Sender)), _) | (_, Poll::Ready(Err(Broken::Receiver))) => {
                Poll::Ready(End::ClientReset)
            }
            (_, Poll::Ready(Err(Broken::Sender))) | (Poll::Ready(Err(Broken::Receiver)), _) => {
                Poll::Ready(End::OriginReset)
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Completed),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    fn is_blocked(&self) -> bool {
        self.up.is_blocked() || self.down.is_blocked()
    }

    /// Makes closing a reset on both sides, so that nobody takes a cut for a clean end.
    fn reset(&self) {
        // A socket that is gone already cannot be reset any more.
        let _ = self.client.set_zero_linger();
        let _ = self.origin.set_zero_linger();
    }
}
