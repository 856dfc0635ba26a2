//! A memory cgroup for a child process, where this process may make one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where version 1 counts memory, on most machines that have it.
const VERSION_1: &str = "/sys/fs/cgroup/memory";

pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// With this limit; `None` where none can be made.
    pub(crate) fn new(limit: usize) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let above = Path::new(VERSION_1).join(path.trim_start_matches('/'));
        let dir = above.join(format!("egressway-test-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let made = Self(dir);
        fs::write(made.0.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(made)
    }

    /// A command that runs a program in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(program);
        command
    }

    pub(crate) fn used(&self) -> usize {
        self.number("memory.usage_in_bytes")
    }

    /// The most that was ever used.
    pub(crate) fn most(&self) -> usize {
        self.number("memory.max_usage_in_bytes")
    }

    fn number(&self, file: &str) -> usize {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to forget a process that has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
