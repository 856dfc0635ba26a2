//! Wakes when the directory of mounted documents changes.
//!
//! It only says that something happened: what is there is read by name each time, so a lost, merged or surplus event
//! can do no harm.

use std::future::pending;
use std::path::Path;

use egressway_core::wire::names::{CLIENTS_KEY, FLOOR_KEY, POLICIES_KEY, POOL_KEY, SECRETS_KEY};
use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::read::DATA_LINK;
use crate::inotify::Inotify;

/// The names that matter in it.
const OWN: [&str; 6] = [
    DATA_LINK,
    POLICIES_KEY,
    FLOOR_KEY,
    POOL_KEY,
    CLIENTS_KEY,
    SECRETS_KEY,
];

/// A watch on a directory, which may come and go.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    armed: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            inotify: Inotify::new(),
            armed: false,
        }
    }

    /// Watches the directory that has this name now; whether it can be watched.
    pub(super) fn arm(&mut self, dir: &Path) -> bool {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        self.armed = self.inotify.add(dir, flags).is_some();
        self.armed
    }

    /// Returns after something happened to the documents; never, where nothing can be watched.
    pub(super) async fn changed(&self) {
        if !self.armed {
            return pending().await;
        }
        loop {
            self.inotify.readable().await;
            let mut relevant = false;
            self.inotify.take(|_, what, name| {
                relevant |= what.contains(ReadFlags::QUEUE_OVERFLOW)
                    || name.is_none_or(|name| OWN.iter().any(|own| own.as_bytes() == name));
            });
            if relevant {
                return;
            }
        }
    }
}
