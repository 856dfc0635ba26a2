//! Bytes both ways between two streams, until both sides have finished or something cuts them.
//!
//! The end of one direction is passed on as an end, a reset as a reset: whoever reads a truncated answer must notice.
//! An idle tunnel holds no buffer: each thread has one scratch buffer, and only bytes that the other side did not take
//! at once are kept. It knows no HTTP and decides nothing; the caller says whether a new policy lets it go on.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::state::InForce;
use crate::stream::Stream;

/// Bytes moved at once. Larger buffers no longer lower the cost per byte; it is also the most that one direction of a
/// tunnel ever keeps.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// Used between a read and the write behind it, never across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

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
    /// The pod's time to drain was over.
    Killed,
    /// An answer without a length went past the limit.
    ResponseTooLarge,
}

impl End {
    /// One of each, for tests and docs.
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::ClientReset,
        Self::OriginReset,
        Self::IdleTimeout,
        Self::Lifetime,
        Self::PolicyRevoked,
        Self::Killed,
        Self::ResponseTooLarge,
    ];

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
            Self::Killed => "killed",
            Self::ResponseTooLarge => "response_too_large",
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

/// Counters that grow while bytes move.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Bytes from the client.
    pub sent: Counter,
    /// Bytes to the client.
    pub received: Counter,
}

/// Relays until the end. `permitted` is asked again whenever documents change.
pub async fn run(
    client: Side,
    origin: Side,
    mut cuts: Cuts,
    counters: Counters,
    permitted: impl Fn(&InForce) -> bool,
) -> Outcome {
    let mut relay = Relay::new(client, origin, counters);
    let end = loop {
        let idle_at = relay.moved_at + cuts.idle;
        let wake_at = cuts.deadline.map_or(idle_at, |deadline| deadline.min(idle_at));
        tokio::select! {
            biased;
            end = std::future::poll_fn(|cx| relay.poll(cx)) => break end,
            () = cuts.kill.cancelled() => break End::Killed,
            changed = cuts.in_force.changed() => {
                // The sender lives as long as the process's state; without it nothing can be permitted any more.
                if changed.is_err() || !permitted(&cuts.in_force.borrow_and_update()) {
                    break End::PolicyRevoked;
                }
            }
            () = sleep_until(wake_at) => {
                let now = Instant::now();
                if cuts.deadline.is_some_and(|deadline| deadline <= now) {
                    break End::Lifetime;
                }
                if relay.moved_at + cuts.idle <= now {
                    break End::IdleTimeout;
                }
            }
        }
    };
    if end != End::Completed {
        relay.reset();
    }
    Outcome {
        end,
        sent: relay.up.bytes,
        received: relay.down.bytes,
    }
}

struct Relay {
    client: Stream,
    origin: Stream,
    up: Direction,
    down: Direction,
    moved_at: Instant,
}

/// One direction: bytes that the receiver did not take yet, and how far the end has come.
struct Direction {
    kept: Bytes,
    stage: Stage,
    bytes: u64,
    /// Grows with everything that moves, so that a slow reader is not taken for an idle one.
    progress: u64,
    /// The receiver may hold back what it took (TLS).
    unflushed: bool,
    counter: Counter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The sender finished; the receiver is told once everything is delivered.
    Finishing,
    Finished,
}

/// Which side of a direction failed.
enum Broken {
    Sender,
    Receiver,
}

impl Relay {
    fn new(client: Side, origin: Side, counters: Counters) -> Self {
        Self {
            up: Direction::new(client.early, counters.sent),
            down: Direction::new(origin.early, counters.received),
            client: client.stream,
            origin: origin.stream,
            moved_at: Instant::now(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let before = (self.up.progress, self.down.progress);
        let up = self.up.poll(cx, &mut self.client, &mut self.origin);
        let down = self.down.poll(cx, &mut self.origin, &mut self.client);
        if (self.up.progress, self.down.progress) != before {
            self.moved_at = Instant::now();
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

    /// Makes closing a reset on both sides, so that nobody takes a cut for a clean end.
    fn reset(&self) {
        // A socket that is gone already cannot be reset any more.
        let _ = self.client.set_zero_linger();
        let _ = self.origin.set_zero_linger();
    }
}

impl Direction {
    fn new(early: Bytes, counter: Counter) -> Self {
        let bytes = early.len() as u64;
        counter.inc_by(bytes);
        Self {
            kept: early,
            stage: Stage::Open,
            bytes,
            progress: 0,
            unflushed: false,
            counter,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !self.kept.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.kept));
                match written {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Receiver)),
                    Ok(count) => self.kept.advance(count),
                }
                self.progress += 1;
                self.unflushed = true;
                if self.kept.is_empty() {
                    // Not just emptied: an idle tunnel must not hold on to the allocation behind it.
                    self.kept = Bytes::new();
                }
            }
            if self.unflushed {
                match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Receiver)),
                    // It is woken with the task; meanwhile more may come.
                    Poll::Pending => {}
                }
            }
            match self.stage {
                Stage::Finished => return Poll::Ready(Ok(())),
                Stage::Finishing => {
                    if ready!(Pin::new(&mut *to).poll_shutdown(cx)).is_err() {
                        return Poll::Ready(Err(Broken::Receiver));
                    }
                    self.stage = Stage::Finished;
                    self.progress += 1;
                }
                Stage::Open => match ready!(self.poll_move(cx, from, to)) {
                    Ok(Moved::Bytes) => self.progress += 1,
                    Ok(Moved::End) => self.stage = Stage::Finishing,
                    Err(broken) => return Poll::Ready(Err(broken)),
                },
            }
        }
    }

    /// One read and one write through the thread's scratch buffer; what the write does not take is kept.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<Moved, Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(from).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Ok(Moved::End)),
                Ok(()) => {}
                Err(_) => return Poll::Ready(Err(Broken::Sender)),
            }
            let mut data = buffer.filled();
            self.bytes += data.len() as u64;
            self.counter.inc_by(data.len() as u64);
            let written: Poll<io::Result<usize>> = Pin::new(to).poll_write(cx, data);
            match written {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Receiver)),
                Poll::Ready(Ok(count)) => data = data.get(count..).unwrap_or_default(),
                Poll::Pending => {}
            }
            self.unflushed = true;
            if !data.is_empty() {
                self.kept = Bytes::copy_from_slice(data);
            }
            Poll::Ready(Ok(Moved::Bytes))
        })
    }
}

enum Moved {
    Bytes,
    End,
}
