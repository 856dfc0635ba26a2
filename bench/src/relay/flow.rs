//! One direction of a relayed tunnel.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::Variant;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that a pipe holds, where the kernel grants it: the default of 64 KiB splices slower than copying.
const PIPE_BYTES: usize = 1024 * 1024;
/// Pipes kept for the next tunnel.
const SPARE_PIPES_MAX: usize = 256;

/// What all tunnels of a loop share.
pub(super) struct Scratch {
    variant: Variant,
    buffer: Vec<u8>,
    spare: Vec<Pipe>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    holds: usize,
}

/// Bytes on their way, and how far the end has come.
#[derive(Default)]
pub(super) struct Flow {
    kept: Vec<u8>,
    pipe: Option<Pipe>,
    /// The sender's end may be behind the bytes that are there: a short read then is not the last one.
    pub(super) may_end: bool,
    ending: bool,
    ended: bool,
}

/// What one step did.
enum Step {
    Moved,
    Blocked,
    End,
}

impl Scratch {
    pub(super) fn new(variant: Variant) -> Self {
        Self {
            variant,
            buffer: vec![0; CHUNK_BYTES],
            spare: Vec::new(),
        }
    }
}

impl Flow {
    /// Bytes that go out before anything else.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Whether bytes wait for the receiver.
    pub(super) fn waits(&self) -> bool {
        !self.kept.is_empty() || self.pipe.is_some()
    }

    /// Whether the end has been passed on.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Moves until one side blocks or the end has been passed on.
    pub(super) fn pump(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        scratch: &mut Scratch,
    ) -> rustix::io::Result<()> {
        while !self.ended {
            if !self.kept.is_empty() {
                match rustix::io::write(to, &self.kept) {
                    Ok(count) => drop(self.kept.drain(..count)),
                    Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(()),
                    Err(error) => return Err(error),
                }
                continue;
            }
            if self.ending {
                rustix::net::shutdown(to, Shutdown::Write)?;
                self.ended = true;
                continue;
            }
            let step = match scratch.variant {
                Variant::Copy => self.copy(from, to, scratch)?,
                Variant::Splice => self.splice(from, to, scratch)?,
            };
            match step {
                Step::Moved => {}
                Step::Blocked => return Ok(()),
                Step::End => self.ending = true,
            }
        }
        Ok(())
    }

    /// Keeps the pipe for others, unless something is left in it.
    pub(super) fn give_back(&mut self, scratch: &mut Scratch) {
        if let Some(pipe) = self.pipe.take()
            && pipe.holds == 0
            && scratch.spare.len() < SPARE_PIPES_MAX
        {
            scratch.spare.push(pipe);
        }
    }

    fn copy(&mut self, from: &OwnedFd, to: &OwnedFd, scratch: &mut Scratch) -> rustix::io::Result<Step> {
        let count = match rustix::io::read(from, &mut scratch.buffer) {
            Ok(0) => return Ok(Step::End),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(Step::Blocked),
            Err(error) => return Err(error),
        };
        let data = scratch.buffer.get(..count).unwrap_or_default();
        let written = match rustix::io::write(to, data) {
            Ok(written) => written,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        self.keep(data.get(written..).unwrap_or_default());
        // The socket is empty: what comes later makes an event, and a read that finds nothing is saved.
        Ok(
            if count < scratch.buffer.len() && self.kept.is_empty() && !self.may_end {
                Step::Blocked
            } else {
                Step::Moved
            },
        )
    }

    fn splice(&mut self, from: &OwnedFd, to: &OwnedFd, scratch: &mut Scratch) -> rustix::io::Result<Step> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let mut pipe = match self.pipe.take().or_else(|| scratch.spare.pop()) {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        if pipe.holds == 0 {
            match rustix::pipe::splice(from, None, &pipe.write, None, PIPE_BYTES, flags) {
                Ok(0) => {
                    scratch.spare.push(pipe);
                    return Ok(Step::End);
                }
                Ok(count) => pipe.holds = count,
                Err(Errno::AGAIN | Errno::NOTCONN) => {
                    // Nothing in it: an idle tunnel needs no pipe.
                    scratch.spare.push(pipe);
                    return Ok(Step::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        let step = match rustix::pipe::splice(&pipe.read, None, to, None, pipe.holds, flags) {
            Ok(count) => {
                pipe.holds = pipe.holds.saturating_sub(count);
                Step::Moved
            }
            Err(Errno::AGAIN) => Step::Blocked,
            Err(error) => return Err(error),
        };
        if pipe.holds > 0 {
            self.pipe = Some(pipe);
        } else {
            scratch.spare.push(pipe);
        }
        Ok(step)
    }
}

impl Pipe {
    fn new() -> rustix::io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // An unprivileged user is refused past his share of pipe pages, and goes on with what he has.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self {
            read,
            write,
            holds: 0,
        })
    }
}
