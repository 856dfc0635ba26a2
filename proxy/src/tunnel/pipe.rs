//! Pipes that long transfers are spliced through: few, shared by all tunnels, lent while bytes are in them.
//!
//! The kernel counts the pages of pipes per user (`fs.pipe-user-pages-soft`, 16,384 by default) and gives an
//! unprivileged user past it pipes that are not worth having. All fleet pods of a node have the same user, so each
//! process takes a small share; whoever gets no pipe copies.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::limits::memory::Memory;

/// Size asked for, and the most that is moved at once: the most that an unprivileged user may have
/// (`fs.pipe-max-size`). The kernel's 64 KiB save nothing against copying, 256 KiB a quarter, these nearly half.
pub(super) const PIPE_BYTES: usize = 1024 * 1024;
/// Below this a pipe is worse than copying: the kernel's default where the user may have no more.
const PIPE_BYTES_MIN: usize = 64 * 1024;
/// Pipes of a process: 2,048 pages, so that eight busy pods of one node fit into what the kernel grants their user.
pub const PIPES_MAX: usize = 8;
/// Empty pipes kept for the next transfer; the others are closed, so that a quiet pod holds nearly none.
const SPARE_MAX: usize = 4;

/// The pipes of a process.
#[derive(Debug)]
pub struct Pipes {
    spare: Mutex<Vec<Arc<Pipe>>>,
    open: AtomicUsize,
    max: usize,
    memory: Memory,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe on loan, which comes back once it is dropped; with bytes in it, it is closed instead.
#[derive(Debug)]
pub(super) struct Loan {
    pipe: Arc<Pipe>,
    pipes: Arc<Pipes>,
    /// Bytes in it.
    pub(super) filled: usize,
}

impl Pipes {
    /// At most this many; none are made yet.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Self::beside(max, Memory::default())
    }

    /// The same beside the memory in which bytes wait that go through no pipe.
    #[must_use]
    pub fn beside(max: usize, memory: Memory) -> Arc<Self> {
        Arc::new(Self {
            spare: Mutex::default(),
            open: AtomicUsize::new(0),
            max,
            memory,
        })
    }

    /// Where bytes wait that go through no pipe.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// An empty pipe, unless all are lent or the kernel grants none.
    pub(super) fn lend(self: &Arc<Self>) -> Option<Loan> {
        let spare = self.spare().pop();
        Some(Loan {
            pipe: spare.or_else(|| self.open())?,
            pipes: Arc::clone(self),
            filled: 0,
        })
    }

    /// Pipes that exist, on loan or spare.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn open(&self) -> Option<Arc<Pipe>> {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max
            && let Ok(pipe) = Pipe::open()
        {
            return Some(Arc::new(pipe));
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Arc<Pipe>>> {
        // A list of empty pipes is whole whatever happened to who held it.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused to an unprivileged user past its share; what it got without asking may still do.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        if fcntl_getpipe_size(&writer)? < PIPE_BYTES_MIN {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { reader, writer })
    }
}

impl Loan {
    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.pipe.reader.as_fd()
    }

    pub(super) fn writer(&self) -> BorrowedFd<'_> {
        self.pipe.writer.as_fd()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut spare = self.pipes.spare();
        if self.filled == 0 && spare.len() < SPARE_MAX {
            spare.push(Arc::clone(&self.pipe));
        } else {
            self.pipes.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pipe_is_lent_again_and_one_with_bytes_never() {
        let pipes = Pipes::new(1);
        let mut loan = pipes.lend().unwrap();
        assert!(pipes.lend().is_none(), "one past the bound");
        loan.filled = 1;
        let first = Arc::downgrade(&loan.pipe);
        drop(loan);
        assert_eq!(
            (pipes.count(), first.strong_count()),
            (0, 0),
            "it would leak into another tunnel"
        );
        drop(pipes.lend().unwrap());
        assert_eq!(pipes.count(), 1);
        assert!(pipes.lend().is_some());
    }

    #[test]
    fn few_pipes_are_kept_spare() {
        let pipes = Pipes::new(SPARE_MAX + 2);
        let loans: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!(loans.len(), SPARE_MAX + 2);
        drop(loans);
        assert_eq!(pipes.count(), SPARE_MAX);
    }
}
