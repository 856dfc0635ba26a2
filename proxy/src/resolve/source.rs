//! Which name servers there are: those of a command line, or those of `/etc/resolv.conf` as it is now.
//!
//! The file is looked at as glibc does it, when names are looked up, and not by a task: it may be replaced, mounted over,
//! or a link to somewhere else, and a look costs one system call a second. A list counts once its file has been left
//! alone for a moment, and one without servers never replaces one with some.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::metrics::DnsMetrics;
use super::resolv_conf::{Conf, Options};
use super::servers::{Recoveries, Server, Servers};
use crate::input;

/// Where systems keep their list.
pub(super) const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// Largest file that is read; real ones have a few lines.
const BYTES_MAX: u64 = 64 * 1024;
/// Between looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Between looks while it changes.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a file has to be left alone: an editor or a DHCP client writes it in one go.
const QUIET: Duration = Duration::from_millis(300);

/// The list in force, and where it comes from.
#[derive(Debug)]
pub(super) struct Source {
    file: Option<File>,
    servers: ArcSwap<Servers>,
    metrics: DnsMetrics,
    pub(super) recoveries: Recoveries,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Times are counted from here.
    epoch: Instant,
    /// Milliseconds of the next look.
    look_at: AtomicU64,
    seen: Mutex<Seen>,
}

/// Device, inode, size and time of a file: whoever changes it changes one of them.
type Signature = (u64, u64, u64, (i64, i64));

/// What is known of the file. Pure: signatures and times are values.
#[derive(Debug, Default)]
struct Seen {
    /// Of what was read last.
    read: Option<Signature>,
    /// Of what is there since, and since when.
    changed: Option<(Signature, Instant)>,
}

impl Seen {
    /// Whether it is time to read what is there.
    fn is_due(&mut self, found: Option<Signature>, now: Instant) -> bool {
        let Some(found) = found.filter(|found| Some(*found) != self.read) else {
            self.changed = None;
            return false;
        };
        match self.changed {
            Some((before, since)) if before == found => now.duration_since(since) >= QUIET,
            Some(_) | None => {
                self.changed = Some((found, now));
                false
            }
        }
    }
}

impl Source {
    /// Always these servers.
    pub(super) fn fixed(servers: &[SocketAddr], metrics: DnsMetrics) -> Self {
        Self::new(None, servers, Options::default(), metrics)
    }

    /// Those of a file. Where it names none, glibc's own default counts until it does: a server on this machine.
    pub(super) fn file(path: PathBuf, metrics: DnsMetrics) -> Self {
        let mut seen = Seen::default();
        let (mut servers, mut options) = (Vec::new(), Options::default());
        match read(&path) {
            Ok((signature, conf)) => {
                seen.read = Some(signature);
                (servers, options) = (conf.servers, conf.options);
            }
            Err(error) => debug!(
                error = &error as &dyn std::error::Error,
                "failed to read the list of name servers"
            ),
        }
        if servers.is_empty() {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            warn!(file = %path.display(), server = %local, "no name server is listed: one on this machine is asked until some are");
            servers.push(local);
        }
        let file = File {
            path,
            epoch: Instant::now(),
            look_at: AtomicU64::new(0),
            seen: Mutex::new(seen),
        };
        Self::new(Some(file), &servers, options, metrics)
    }

    fn new(file: Option<File>, servers: &[SocketAddr], options: Options, metrics: DnsMetrics) -> Self {
        let recoveries = Recoveries::default();
        let list = servers
            .iter()
            .map(|address| Arc::new(Server::new(*address, metrics.of(*address), recoveries.clone())))
            .collect();
        Self {
            file,
            servers: ArcSwap::from_pointee(Servers::new(list, options, 0)),
            metrics,
            recoveries,
        }
    }

    /// The servers in force, after a look at the file where one is due.
    pub(super) fn servers(&self, now: Instant) -> Arc<Servers> {
        self.look(now);
        self.servers.load_full()
    }

    /// The number of the list in force, after the same look.
    pub(super) fn generation(&self, now: Instant) -> u64 {
        self.look(now);
        self.servers.load().generation
    }

    /// Whether the file says something else by now that does not count yet.
    pub(super) fn is_changing(&self, now: Instant) -> bool {
        let Some(file) = &self.file else { return false };
        file.look_at.store(0, Ordering::Relaxed);
        self.look(now);
        let seen = file.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.changed.is_some()
    }

    fn look(&self, now: Instant) {
        let Some(file) = &self.file else { return };
        let millis = millis(now.duration_since(file.epoch));
        let due = file.look_at.load(Ordering::Relaxed);
        if millis < due {
            return;
        }
        let next = millis + self::millis(LOOK);
        let claimed = file
            .look_at
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        let mut seen = file.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = signature(&file.path).ok();
        if seen.is_due(found, now) {
            match read(&file.path) {
                Ok((signature, conf)) if Some(signature) == found => {
                    seen.read = found;
                    self.adopt(&file.path, &conf);
                }
                // It changed again, or went away, while it was read.
                Ok(_) | Err(_) => seen.changed = None,
            }
        }
        if seen.changed.is_some() {
            let again = millis + self::millis(LOOK_AGAIN);
            file.look_at.store(again, Ordering::Relaxed);
        }
    }

    fn adopt(&self, path: &Path, conf: &Conf) {
        let before = self.servers.load_full();
        if conf.servers.is_empty() {
            warn!(file = %path.display(), "it lists no name server any more: those it listed last stay");
            return;
        }
        let addresses = before.list.iter().map(|server| server.address);
        if addresses.eq(conf.servers.iter().copied()) && before.options == conf.options {
            return;
        }
        // What is known of a server that stays is still true.
        let list: Vec<_> = conf
            .servers
            .iter()
            .map(|address| {
                let known = before.find(*address).cloned();
                known.unwrap_or_else(|| {
                    let metrics = self.metrics.of(*address);
                    Arc::new(Server::new(*address, metrics, self.recoveries.clone()))
                })
            })
            .collect();
        info!(
            file = %path.display(),
            servers = conf.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            "name servers changed"
        );
        let servers = Servers::new(list, conf.options, before.generation + 1);
        for gone in before
            .list
            .iter()
            .filter(|server| servers.find(server.address).is_none())
        {
            self.metrics.forget(gone.address);
        }
        self.servers.store(Arc::new(servers));
    }
}

fn read(path: &Path) -> io::Result<(Signature, Conf)> {
    let before = signature(path)?;
    let text = input::read(path, BYTES_MAX)?;
    if signature(path)? != before {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok((before, Conf::parse(&text, interface)))
}

fn signature(path: &Path) -> io::Result<Signature> {
    let found = fs::metadata(path)?;
    let changed = (found.mtime(), found.mtime_nsec());
    Ok((found.dev(), found.ino(), found.size(), changed))
}

/// The number of a network interface; absent where there is none of this name.
fn interface(name: &str) -> Option<u32> {
    if name.is_empty() || name.contains(['/', '.']) {
        return None;
    }
    let number = fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    number.trim().parse().ok()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_it_was_left_alone() {
        let start = Instant::now();
        let one = |size| Some((1, 1, size, (0, 0)));
        let mut seen = Seen {
            read: one(10),
            changed: None,
        };
        for (millis, found, due) in [
            (0, one(10), false),
            (100, one(0), false),
            (200, one(4), false),
            (300, one(8), false),
            (500, one(8), false),
            (599, one(8), false),
            (600, one(8), true),
            (601, one(9), false),
            (700, None, false),
            (800, one(9), false),
            (900, one(10), false),
            (1000, one(9), false),
            (1300, one(9), true),
        ] {
            let now = start + Duration::from_millis(millis);
            assert_eq!(seen.is_due(found, now), due, "after {millis} ms");
        }
    }
}
