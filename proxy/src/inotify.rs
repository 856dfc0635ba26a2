//! What the kernel tells about files and directories; where it tells nothing, nobody waits for it.
//!
//! It hands events over and means nothing by them.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

/// Room for a burst of events; what does not fit is read in the next turn of the loop.
const BUFFER_BYTES: usize = 4096;

/// An inotify instance, where the user has one left (128 by default, shared by all pods of that user ID).
#[derive(Debug)]
pub(crate) struct Inotify(Option<AsyncFd<OwnedFd>>);

impl Inotify {
    /// Watches nothing yet. It belongs to the runtime that it is made in.
    pub(crate) fn new() -> Self {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(register);
        if let Err(error) = &fd {
            debug!(
                error = error as &dyn std::error::Error,
                "no inotify, files are polled"
            );
        }
        Self(fd.ok())
    }

    /// Watches what has this name now; what is watched already keeps its number. `None` where it cannot be watched.
    pub(crate) fn add(&self, path: &Path, flags: WatchFlags) -> Option<i32> {
        let fd = self.0.as_ref()?;
        inotify::add_watch(fd, path, flags).ok()
    }

    /// Ends a watch.
    pub(crate) fn remove(&self, watch: i32) {
        if let Some(fd) = &self.0 {
            // It may have ended by itself, with what it watched.
            let _ = inotify::remove_watch(fd, watch);
        }
    }

    /// Returns when there may be events; never, where nothing can be watched.
    pub(crate) async fn readable(&self) {
        let Some(fd) = &self.0 else { return pending().await };
        match fd.readable().await {
            // Whoever waits takes all events before the next wait.
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }

    /// Hands over every event that waits: the watch, what happened, and the name in a directory.
    pub(crate) fn take(&self, mut each: impl FnMut(i32, ReadFlags, Option<&[u8]>)) {
        let Some(fd) = &self.0 else { return };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = Reader::new(fd.get_ref(), &mut buffer);
        // Ends with EAGAIN once the queue is empty.
        while let Ok(event) = events.next() {
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            each(event.wd(), event.events(), name);
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
