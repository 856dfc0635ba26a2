//! Processes of a run: started, watched from outside by way of /proc, ended with all that they started.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// A child that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it with its output in `DIR/NAME.out` and `DIR/NAME.err`, as `uid` where one is given.
    pub(crate) fn start(mut command: Command, dir: &Path, name: &str, uid: Option<u32>) -> Result<Self> {
        let log = |kind: &str| File::create(dir.join(format!("{name}.{kind}")));
        command
            .stdin(Stdio::null())
            .stdout(log("out")?)
            .stderr(log("err")?);
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {name}: {command:?}"))?;
        Ok(Self { child })
    }

    /// Whether it has ended already.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time of it and all of its descendants so far.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.tree().into_iter().map(cpu_ns).sum()
    }

    /// Resident memory of it and all of its descendants. Memory of sockets is the kernel's and not in it.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.tree().into_iter().map(rss_kib).sum()
    }

    fn tree(&self) -> Vec<u32> {
        let parents = parents();
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its helpers (Squid's log writer) go with their pipe; nothing here outlives its parent.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?)))
        .collect()
}

/// The larger of two readings that are both too small, never too large: nanoseconds of the threads that are alive,
/// and clock ticks of all threads, the ended ones included. The first is exact for proxies with a pool of threads, the
/// second good to 20 ms for tinyproxy, whose threads live as long as a connection.
fn cpu_ns(pid: u32) -> u64 {
    let alive: u64 = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let ticks: u64 = stat(pid).map_or(0, |fields| {
        let field = |n: usize| fields.get(n).and_then(|text| text.parse().ok()).unwrap_or(0);
        field(11) + field(12)
    });
    alive.max(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// The fields of /proc/PID/stat behind the name, which may hold spaces: state is 0, the parent 1, utime 11, stime 12.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(ToOwned::to_owned).collect())
}

/// Resident memory of one process.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
