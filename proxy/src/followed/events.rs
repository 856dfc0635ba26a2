//! Who writes, moves and links the files that are followed, as inotify tells it.
//!
//! Directories tell of names: new files, files that are moved into place, links that are swapped. Each file is watched
//! itself as well, since it may be written through another name of it, outside of these directories.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use tokio::time::Instant;

use crate::inotify::Inotify;

/// What is asked about directories. Of files that were removed and that somebody still writes nothing is told.
const OF_DIRS: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);
/// What is asked about files.
const OF_FILES: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::CLOSE_WRITE);

/// What a writer is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A name in a directory that is watched, the directory without links.
    Name(PathBuf),
    /// Device and inode.
    Inode(u64, u64),
}

impl Key {
    /// Of a file: its name, the name that it leads to, and itself.
    pub(super) fn of(path: &Path, (device, inode): (u64, u64)) -> Vec<Self> {
        let mut keys = Self::names(path);
        keys.push(Self::Inode(device, inode));
        keys
    }

    fn names(path: &Path) -> Vec<Self> {
        let own = path.file_name().and_then(|name| {
            let dir = parent(path).canonicalize().ok()?;
            Some(dir.join(name))
        });
        let mut names: Vec<_> = own.into_iter().chain(path.canonicalize().ok()).collect();
        names.dedup();
        names.into_iter().map(Self::Name).collect()
    }
}

/// The directory that a name stands in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Writer {
    /// At work since.
    since: Option<Instant>,
    /// Finished, and what it wrote was not read yet.
    done: bool,
}

/// What was told since it was asked last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Something was moved or linked.
    pub(super) moved: bool,
    /// Something was not told: the queue was full.
    pub(super) lost: bool,
}

/// The watches, and who is at work.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Made when it is first needed, because it belongs to a runtime.
    inotify: Option<Inotify>,
    dirs: HashMap<i32, PathBuf>,
    inodes: HashMap<i32, (u64, u64)>,
    writers: HashMap<Key, Writer>,
    /// Something happened since the last look at the files.
    pub(super) noticed: bool,
}

impl Events {
    /// Watches the directories and files that have these names now, and nothing else. Whether all of them are watched.
    pub(super) fn arm(&mut self, files: &[PathBuf], dirs: &[PathBuf]) -> bool {
        let inotify = self.inotify.get_or_insert_with(Inotify::new);
        let (mut watched, mut complete) = (HashSet::new(), true);
        for dir in dirs {
            let dir = dir.canonicalize().ok();
            let watch = dir.and_then(|dir| Some((inotify.add(&dir, OF_DIRS)?, dir)));
            complete &= watch.is_some();
            if let Some((watch, dir)) = watch {
                watched.insert(watch);
                self.dirs.insert(watch, dir);
            }
        }
        let mut keys = HashSet::new();
        for file in files {
            keys.extend(Key::names(file));
            let Some(watch) = inotify.add(file, OF_FILES) else {
                continue;
            };
            if let Ok(metadata) = fs::metadata(file) {
                keys.insert(Key::Inode(metadata.dev(), metadata.ino()));
                watched.insert(watch);
                self.inodes.insert(watch, (metadata.dev(), metadata.ino()));
            }
        }
        let ended: Vec<_> = self.dirs.keys().chain(self.inodes.keys()).copied().collect();
        for watch in ended.into_iter().filter(|watch| !watched.contains(watch)) {
            inotify.remove(watch);
            self.dirs.remove(&watch);
            self.inodes.remove(&watch);
        }
        self.writers.retain(|key, _| keys.contains(key));
        for key in keys {
            self.writers.entry(key).or_default();
        }
        complete
    }

    /// Returns when there may be events.
    pub(super) async fn readable(&self) {
        match &self.inotify {
            Some(inotify) => inotify.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Takes note of everything that was told.
    pub(super) fn take(&mut self) -> Told {
        let Self {
            inotify,
            dirs,
            inodes,
            writers,
            noticed,
        } = self;
        let mut told = Told::default();
        let Some(inotify) = inotify else { return told };
        inotify.take(|watch, what, name| {
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                writers
                    .values_mut()
                    .for_each(|writer| *writer = Writer::default());
                (told.lost, *noticed) = (true, true);
            } else if what.contains(ReadFlags::IGNORED) {
                dirs.remove(&watch);
                inodes.remove(&watch);
                *noticed = true;
            } else if let Some((device, inode)) = inodes.get(&watch) {
                let writer = writers.get_mut(&Key::Inode(*device, *inode));
                *noticed |= writer.is_some_and(|writer| writer.heard(what));
            } else if let (Some(dir), Some(name)) = (dirs.get(&watch), name) {
                let path = dir.join(OsStr::from_bytes(name));
                let linked = what.contains(ReadFlags::CREATE) && is_link(&path);
                told.moved |= linked || what.contains(ReadFlags::MOVED_TO);
                match writers.get_mut(&Key::Name(path)) {
                    Some(writer) if linked => *writer = Writer::finished(),
                    Some(writer) => {
                        *noticed |= writer.heard(what);
                        return;
                    }
                    // Another name in the same directory; a new directory or link may lead to a file of ours.
                    None if what.intersects(ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE) => return,
                    None => {}
                }
                *noticed = true;
            } else {
                *noticed = true;
            }
        });
        told
    }

    pub(super) fn is_written(&self, keys: &[Key]) -> bool {
        self.is_written_for(keys, Duration::ZERO)
    }

    /// Whether somebody is at work on it for so long.
    pub(super) fn is_written_for(&self, keys: &[Key], time: Duration) -> bool {
        let mut since = keys.iter().filter_map(|key| self.writers.get(key)?.since);
        since.any(|since| since.elapsed() >= time)
    }

    /// Whether somebody finished it since it was read last.
    pub(super) fn is_done(&self, keys: &[Key]) -> bool {
        keys.iter()
            .any(|key| self.writers.get(key).is_some_and(|writer| writer.done))
    }

    /// It is about to be read.
    pub(super) fn forget_done(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(writer) = self.writers.get_mut(key) {
                writer.done = false;
            }
        }
    }
}

impl Writer {
    fn finished() -> Self {
        Self {
            since: None,
            done: true,
        }
    }

    /// Whether there may be something to read now.
    fn heard(&mut self, what: ReadFlags) -> bool {
        if what.contains(ReadFlags::MODIFY) {
            self.since.get_or_insert_with(Instant::now);
            self.done = false;
            return false;
        }
        *self = if what.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            Self::finished()
        } else {
            // Created, and about to be written, or gone: a look at it will tell.
            Self::default()
        };
        true
    }
}

/// Whether a new name is a link to what stood there before: nobody will write it any more and close it.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|new| new.is_symlink() || (new.is_file() && new.nlink() > 1))
}
