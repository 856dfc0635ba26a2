//! Files that somebody writes while the process runs: each is read once its writer is done.
//!
//! Done is what the kernel tells: the writer closed it, or moved or linked it into place. Where nothing is told (a file
//! system of another machine, no inotify instance left), done is a second without a change. Until then the last whole
//! content stands, of this file alone: the others do not wait for it. What a file means, and what follows from one that
//! is missing, is decided by who reads.

mod events;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use self::events::parent;
use self::events::{Events, Key};

/// Without a change for so long a file is whole, where the kernel does not tell. Writers that pause between two blocks
/// of one file for longer are few; file systems that store whole seconds as times change at least that often.
const QUIET: Duration = Duration::from_secs(1);
/// The same for a file that is met for the first time, as at the start: whoever wrote it may still be about to go on,
/// and whoever starts a proxy wants to use it.
const FRESH: Duration = Duration::from_millis(300);
/// A file that is met while it changes all the time is refused after this.
const RESTLESS: Duration = Duration::from_secs(10);
/// A writer that holds a file for longer is worth a word: nobody may know that the process waits.
const LATE: Duration = Duration::from_secs(10);
/// Reads of a file whose writers finish one after the other while it is read.
const ATTEMPTS: usize = 3;

/// Files that are followed, each with its last whole content.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    events: Events,
    files: BTreeMap<PathBuf, Known>,
}

/// No `Debug` of its content: there are secrets in it.
#[derive(Default)]
struct Known {
    whole: Option<(Signature, Vec<u8>)>,
    /// Found changed, and nobody told who did it: since when it looks like this.
    unexplained: Option<(Signature, Instant)>,
    /// Something was moved or linked since it was read last, so that its name may lead to another file by now.
    moved: bool,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Known").field(&self.unexplained).finish()
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Followed {
    /// Follows these files from now on, and what happens in these directories. Whether the kernel tells of all of them.
    pub(crate) fn arm(&mut self, files: &[PathBuf], dirs: &[PathBuf]) -> bool {
        self.files.retain(|path, _| files.contains(path));
        let armed = self.events.arm(files, dirs);
        self.notice();
        self.events.noticed = false;
        armed
    }

    /// Returns once there may be something to read; never, where the kernel tells nothing.
    pub(crate) async fn changed(&mut self) {
        while !self.events.noticed {
            self.events.readable().await;
            self.notice();
        }
    }

    fn notice(&mut self) {
        let told = self.events.take();
        for known in self.files.values_mut() {
            known.moved |= told.moved;
            if told.lost {
                known.unexplained = None;
            }
        }
    }

    /// The last whole content, which is the present one unless somebody writes it.
    ///
    /// # Errors
    /// It cannot be read, or is larger than the bound; [`ErrorKind::WouldBlock`] while its first writer is at work.
    pub(crate) fn read(&mut self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        for _ in 0..ATTEMPTS {
            self.notice();
            let found = fs::metadata(path).map(|metadata| Signature::of(&metadata));
            let (events, known) = (&mut self.events, self.files.entry(path.to_owned()).or_default());
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    *known = Known::default();
                    return Err(error);
                }
            };
            let keys = Key::of(path, found.inode);
            let done = events.is_done(&keys);
            if events.is_written(&keys) || (known.is_read(found) && !done) {
                (known.unexplained, known.moved) = (None, false);
                return known.last();
            }
            if !known.is_settled(found, done) {
                return known.last();
            }
            events.forget_done(&keys);
            let (read, bytes) = read(path, bytes_max)?;
            self.notice();
            let (events, known) = (&mut self.events, self.files.entry(path.to_owned()).or_default());
            // Somebody came in between: what was read may be half of one and half of the other.
            if events.is_written(&keys) || events.is_done(&keys) || read != found {
                continue;
            }
            *known = Known {
                whole: Some((found, bytes)),
                ..Known::default()
            };
            return known.last();
        }
        self.files.entry(path.to_owned()).or_default().last()
    }

    /// Whether a look at the files, without reading them, finds something that was not read yet.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.files.iter().all(|(path, known)| {
            let found = fs::metadata(path).ok().map(|metadata| Signature::of(&metadata));
            known.unexplained.is_none() && found == known.whole.as_ref().map(|(signature, _)| *signature)
        })
    }

    /// The next look that is worth it, within this time.
    pub(crate) fn next_look(&self, within: Duration) -> Duration {
        let since = self.files.values().filter_map(|known| known.unexplained);
        let due = since.map(|(_, since)| QUIET.saturating_sub(since.elapsed()));
        due.min().map_or(within, |due| due.min(within))
    }

    /// A file that is being written for so long that somebody should know.
    pub(crate) fn late(&self) -> Option<String> {
        let late = self.files.keys().find(|path| {
            let inode = fs::metadata(path).map(|metadata| Signature::of(&metadata).inode);
            inode.is_ok_and(|inode| self.events.is_written_for(&Key::of(path, inode), LATE))
        })?;
        Some(format!(
            "{} is held open by whoever writes it: it is read when that one closes it",
            late.display()
        ))
    }
}

impl Known {
    fn is_read(&self, found: Signature) -> bool {
        self.whole
            .as_ref()
            .is_some_and(|(signature, _)| *signature == found)
    }

    /// Whether what stands there now is whole.
    fn is_settled(&mut self, found: Signature, done: bool) -> bool {
        let explained = match &self.whole {
            Some((before, _)) => done || (self.moved && before.inode != found.inode),
            None => done || self.moved || age(found.modified).is_none_or(|age| age >= FRESH),
        };
        if explained {
            self.unexplained = None;
            return true;
        }
        match self.unexplained {
            Some((before, since)) if before == found => since.elapsed() >= QUIET,
            Some(_) | None => {
                self.unexplained = Some((found, Instant::now()));
                false
            }
        }
    }

    fn last(&self) -> io::Result<Vec<u8>> {
        match &self.whole {
            Some((_, bytes)) => Ok(bytes.clone()),
            None => Err(io::Error::new(
                ErrorKind::WouldBlock,
                "it is being written, and read when its writer is done",
            )),
        }
    }
}

/// Time since a file was written; `None` where its clock is ahead of ours.
fn age((seconds, nanoseconds): (i64, i64)) -> Option<Duration> {
    let (seconds, nanoseconds) = (u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
    let written = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))?;
    SystemTime::now().duration_since(written).ok()
}

/// Waits until a file that is read at the start, before anybody follows it, is left alone. One that is missing or no
/// file is not waited for.
///
/// # Errors
/// It changes all the time.
pub(crate) fn rested(path: &Path) -> io::Result<()> {
    let started = Instant::now();
    while started.elapsed() < RESTLESS {
        let written = fs::metadata(path)
            .ok()
            .filter(Metadata::is_file)
            .map(|metadata| Signature::of(&metadata).modified);
        match written.and_then(age) {
            Some(age) if age < FRESH => std::thread::sleep(FRESH - age),
            Some(_) | None => return Ok(()),
        }
    }
    Err(io::Error::new(
        ErrorKind::WouldBlock,
        "it is being written all the time",
    ))
}

/// Reads what is there now, and what it looked like.
fn read(path: &Path, bytes_max: u64) -> io::Result<(Signature, Vec<u8>)> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    (&file)
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok((Signature::of(&file.metadata()?), bytes))
}

#[cfg(test)]
mod tests;
