//! Wakes when the directory of the documents changes.
//!
//! It only says that something happened: what is there is read by name each time, so a lost, merged or surplus event
//! can do no harm.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use egressway_core::wire::names::{CLIENTS_KEY, FLOOR_KEY, POLICIES_KEY, POOL_KEY, SECRETS_KEY};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

use super::read::DATA_LINK;

/// Room for a burst of events; what does not fit is read in the next turn of the loop.
const BUFFER_BYTES: usize = 4096;

/// A watch on directories, which may come and go.
#[derive(Debug)]
pub(super) struct Watch {
    heed: Heed,
    /// Absent where the user has no inotify instance left (128 by default, shared by all pods of that user ID).
    inotify: Option<AsyncFd<OwnedFd>>,
    armed: bool,
}

/// Which names in them matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heed {
    /// Those of mounted documents.
    Documents,
    /// Every one: an editor writes under names of its own.
    Everything,
}

impl Watch {
    pub(super) fn new(heed: Heed) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(register);
        if let Err(error) = &inotify {
            debug!(
                error = error as &dyn std::error::Error,
                "no inotify, documents are polled"
            );
        }
        Self {
            heed,
            inotify: inotify.ok(),
            armed: false,
        }
    }

    /// Watches the directories that have these names now; on those that are watched already this changes nothing.
    /// Whether all of them are.
    pub(super) fn arm(&mut self, dirs: &[PathBuf]) -> bool {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let Some(fd) = &self.inotify else { return false };
        let armed = dirs
            .iter()
            .filter(|dir| inotify::add_watch(fd, dir.as_path(), flags).is_ok())
            .count();
        self.armed = armed > 0;
        armed == dirs.len()
    }

    /// Returns after something happened to the documents; never, where nothing can be watched.
    pub(super) async fn changed(&self) {
        let Some(fd) = self.inotify.as_ref().filter(|_| self.armed) else {
            return pending().await;
        };
        loop {
            let Ok(mut ready) = fd.readable().await else {
                return pending().await;
            };
            let relevant = drain(fd.get_ref(), self.heed);
            ready.clear_ready();
            if relevant {
                return;
            }
        }
    }
}

#[allow(
    deprecated,
    reason = "its successor is unsafe because a descriptor could be closed or replaced under tokio; an OwnedFd that \
              only the AsyncFd holds cannot"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Takes all events; whether one matters.
fn drain(fd: &OwnedFd, heed: Heed) -> bool {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut events = Reader::new(fd, &mut buffer);
    let mut relevant = false;
    // Ends with EAGAIN once the queue is empty.
    while let Ok(event) = events.next() {
        let name = event.file_name().map(std::ffi::CStr::to_bytes);
        relevant |= event.events().contains(ReadFlags::QUEUE_OVERFLOW)
            || heed == Heed::Everything
            || name.is_none_or(|name| {
                [
                    DATA_LINK,
                    POLICIES_KEY,
                    FLOOR_KEY,
                    POOL_KEY,
                    CLIENTS_KEY,
                    SECRETS_KEY,
                ]
                .iter()
                .any(|own| own.as_bytes() == name)
            });
    }
    relevant
}
