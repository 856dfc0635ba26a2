//! One direction of a tunnel: bytes from a sender to a receiver, and the end behind them.
//!
//! Small pieces are copied through one scratch buffer a thread. Once large pieces follow each other the kernel moves
//! them through a pipe (splice), and they never come here. What the receiver does not take at once is kept, in memory
//! or in the pipe, and nothing more is read until it is gone: a slow reader slows its writer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use prometheus_client::metrics::counter::Counter;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};

use crate::limits::memory::{Held, Memory, Use};
use crate::stream::Stream;

use super::pipe::{Loan, PIPE_BYTES, Pipes};

/// Bytes copied at once. Larger buffers no longer lower the cost per byte; it is also the most that one direction of a
/// tunnel keeps in memory.
const SCRATCH_BYTES: usize = 64 * 1024;
/// What TLS takes of a writer before it says that it takes no more: the default of rustls.
const TLS_BACKLOG_BYTES: usize = 64 * 1024;
/// A piece from which on splicing is cheaper: below, its third system call costs more than copying twice.
const LARGE_BYTES: usize = 16 * 1024;
/// Large pieces after which a direction is spliced; each small one takes half of the count.
const SPLICE_AFTER_BYTES: u64 = 256 * 1024;
/// Most that is counted: three small pieces in a row, and a direction is copied again.
const STREAK_BYTES_MAX: u64 = 4 * SPLICE_AFTER_BYTES;
/// Most bytes moved before other connections of this thread have their turn: about half a millisecond.
const TURN_BYTES_MAX: u64 = 2 * 1024 * 1024;

thread_local! {
    /// Used between a read and the write behind it, never across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// One direction.
pub(super) struct Direction {
    kept: Kept,
    stage: Stage,
    bytes: u64,
    /// Bytes in large pieces, of late.
    streak: u64,
    /// The receiver may hold back what it took (TLS).
    unflushed: bool,
    /// Grows with everything that moves, so that a slow reader is not taken for an idle one.
    progress: u64,
}

/// What the receiver did not take yet.
enum Kept {
    Nothing,
    Memory { bytes: Bytes, _held: Held },
    Pipe(Loan),
}

impl Kept {
    /// `backlog` is what the receiver's stream keeps besides.
    fn memory(bytes: Bytes, backlog: usize, memory: &Memory) -> Self {
        let _held = memory.take_anyway(Use::Tunnels, bytes.len() + backlog);
        Self::Memory { bytes, _held }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The sender finished; the receiver is told once everything is delivered.
    Finishing,
    Finished,
}

/// Which side of a direction failed.
pub(super) enum Broken {
    Sender,
    Receiver,
}

impl Direction {
    pub(super) fn new(early: Bytes, counter: &Counter, memory: &Memory) -> Self {
        let bytes = early.len() as u64;
        counter.inc_by(bytes);
        Self {
            kept: if early.is_empty() {
                Kept::Nothing
            } else {
                Kept::memory(early, 0, memory)
            },
            stage: Stage::Open,
            bytes,
            streak: 0,
            unflushed: false,
            progress: 0,
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn progress(&self) -> u64 {
        self.progress
    }

    /// Whether bytes wait for the receiver.
    pub(super) const fn is_blocked(&self) -> bool {
        !matches!(self.kept, Kept::Nothing)
    }

    pub(super) fn finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Moves what can be moved. `last`: the other direction has finished, so that both streams are closed with this one.
    /// Nothing is written once `may_move` says no; whoever makes it say so has this polled again.
    #[expect(
        clippy::too_many_arguments,
        reason = "a stream on each side, and what both directions share"
    )]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        last: bool,
        counter: &Counter,
        pipes: &Arc<Pipes>,
        may_move: &impl Fn() -> bool,
    ) -> Poll<Result<(), Broken>> {
        let turn_ends = self.bytes + TURN_BYTES_MAX;
        loop {
            if ready!(self.poll_deliver(cx, to, may_move)).is_err() {
                return Poll::Ready(Err(Broken::Receiver));
            }
            if self.unflushed {
                match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Receiver)),
                    // The task is woken for it; meanwhile more may come.
                    Poll::Pending => {}
                }
            }
            match self.stage {
                Stage::Finished => return Poll::Ready(Ok(())),
                Stage::Finishing => {
                    // Closing, which follows at once, says the same and saves a system call; over TLS it would say less.
                    let closes = last && to.as_tcp().is_some();
                    if !closes && ready!(Pin::new(&mut *to).poll_shutdown(cx)).is_err() {
                        return Poll::Ready(Err(Broken::Receiver));
                    }
                    self.stage = Stage::Finished;
                    self.progress += 1;
                }
                Stage::Open if self.bytes >= turn_ends => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Stage::Open => {
                    // Only the bytes of two sockets can pass by the process.
                    let spliced = match (from.as_tcp(), to.as_tcp()) {
                        (Some(from), Some(_)) => self.loan(pipes).map(|loan| (from, loan)),
                        _ => None,
                    };
                    let moved = match spliced {
                        Some((from, loan)) => self.poll_splice(cx, from, loan),
                        None => self.poll_copy(cx, from, to, pipes.memory()),
                    };
                    match ready!(moved) {
                        Ok(0) => self.stage = Stage::Finishing,
                        Ok(count) => self.note(count, counter),
                        Err(broken) => return Poll::Ready(Err(broken)),
                    }
                }
            }
        }
    }

    /// A pipe for a long transfer; where none can be had, none is asked for until as much was copied again.
    fn loan(&mut self, pipes: &Arc<Pipes>) -> Option<Loan> {
        if self.streak < SPLICE_AFTER_BYTES {
            return None;
        }
        let loan = pipes.lend();
        if loan.is_none() {
            self.streak = 0;
        }
        loan
    }

    fn note(&mut self, count: usize, counter: &Counter) {
        let bytes = count as u64;
        self.bytes += bytes;
        self.progress += 1;
        self.streak = if count < LARGE_BYTES {
            self.streak / 2
        } else {
            (self.streak + bytes).min(STREAK_BYTES_MAX)
        };
        counter.inc_by(bytes);
    }

    /// Writes what is kept until nothing is.
    fn poll_deliver(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        may_move: &impl Fn() -> bool,
    ) -> Poll<io::Result<()>> {
        loop {
            if !may_move() {
                return Poll::Pending;
            }
            match &mut self.kept {
                Kept::Nothing => return Poll::Ready(Ok(())),
                Kept::Memory { bytes, .. } => {
                    let count = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
                    bytes.advance(written(count)?);
                    self.unflushed = to.as_tcp().is_none();
                    if bytes.is_empty() {
                        // Not just emptied: an idle tunnel must not hold on to the allocation behind it.
                        self.kept = Kept::Nothing;
                    }
                }
                Kept::Pipe(loan) => {
                    // Lent only where both sides are sockets.
                    let to = to.as_tcp().ok_or(io::ErrorKind::Unsupported)?;
                    ready!(to.poll_write_ready(cx))?;
                    let (length, flags) = (loan.filled, SpliceFlags::NONBLOCK | SpliceFlags::MOVE);
                    let spliced = to.try_io(Interest::WRITABLE, || {
                        Ok(splice(loan.reader(), None, to, None, length, flags)?)
                    });
                    match spliced {
                        Ok(count) => loan.filled = loan.filled.saturating_sub(written(count)?),
                        Err(error) if passing(&error) => continue,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    if loan.filled == 0 {
                        self.kept = Kept::Nothing;
                    }
                }
            }
            self.progress += 1;
        }
    }

    /// One read and one write through the thread's scratch buffer; what the write does not take is kept.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        memory: &Memory,
    ) -> Poll<Result<usize, Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            // All of it may have to be kept.
            let piece = memory.piece(scratch.len());
            let mut buffer = ReadBuf::new(scratch.get_mut(..piece).unwrap_or_default());
            if ready!(Pin::new(from).poll_read(cx, &mut buffer)).is_err() {
                return Poll::Ready(Err(Broken::Sender));
            }
            let data = buffer.filled();
            if data.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.unflushed = to.as_tcp().is_none();
            let taken = match Pin::new(to).poll_write(cx, data) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Receiver)),
                Poll::Ready(Ok(count)) => count,
                Poll::Pending => 0,
            };
            let rest = data.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                let backlog = if self.unflushed { TLS_BACKLOG_BYTES } else { 0 };
                self.kept = Kept::memory(Bytes::copy_from_slice(rest), backlog, memory);
            }
            Poll::Ready(Ok(data.len()))
        })
    }

    /// From the sender into an empty pipe; the loan ends here if nothing comes.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &tokio::net::TcpStream,
        mut loan: Loan,
    ) -> Poll<Result<usize, Broken>> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        loop {
            if ready!(from.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Err(Broken::Sender));
            }
            let spliced = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, loan.writer(), None, PIPE_BYTES, flags)?)
            });
            match spliced {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(count) => {
                    loan.filled = count;
                    self.kept = Kept::Pipe(loan);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if passing(&error) => {}
                Err(_) => return Poll::Ready(Err(Broken::Sender)),
            }
        }
    }
}

/// Readiness is a hint, and a signal no failure: asked again, a stream says which.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// A stream that takes nothing of something is broken.
fn written(count: usize) -> io::Result<usize> {
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(count)
}
