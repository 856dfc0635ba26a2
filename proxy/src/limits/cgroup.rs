//! How much memory this process may use, and how much it uses, as the kernel counts it.
//!
//! A container's limit is that of its cgroup or of one above it, whichever is less; version 1 and 2 differ in names only.
//! Where there is none, the machine's memory counts. Files of the kernel are read and nothing is decided.

use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 says "none" with the largest page-aligned number; nobody's limit is near it.
const NONE_FROM: usize = 1 << 60;

/// A cgroup that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
    version: Version,
    /// The process is in it, and not in one below.
    own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Files that hold a limit.
    const fn limits(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            // Past `high` the kernel slows the process down, which is as good as an end.
            Self::Two => &["memory.max", "memory.high"],
        }
    }

    const fn used(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// What of it the kernel takes back before it kills anybody: pages of files, which are all on a disk as well.
    const fn reclaimable(self) -> [&'static str; 2] {
        match self {
            Self::One => ["total_inactive_file ", "total_active_file "],
            Self::Two => ["inactive_file ", "active_file "],
        }
    }
}

impl Cgroup {
    /// Those of this process that have a limit, itself and those above it.
    #[must_use]
    pub fn of_process() -> Vec<Self> {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let all = dirs(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        all.into_iter()
            .filter(|cgroup| cgroup.limit().is_some())
            .collect()
    }

    /// Whether it may hold a lot that is not this process's.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !self.own
    }

    /// Its limit in bytes.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        let limits = self.version.limits().iter();
        limits.filter_map(|file| number(&self.dir.join(file))).min()
    }

    /// What it uses of it, without what the kernel would take back.
    #[must_use]
    pub fn used(&self) -> Option<usize> {
        let used = number(&self.dir.join(self.version.used()))?;
        let stat = fs::read_to_string(self.dir.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().filter_map(|line| {
            let mut keys = self.version.reclaimable().into_iter();
            let bytes = keys.find_map(|key| line.strip_prefix(key))?;
            bytes.parse::<usize>().ok()
        });
        Some(used.saturating_sub(reclaimable.sum()))
    }
}

/// All memory of the machine, in bytes.
#[must_use]
pub fn machine() -> Option<usize> {
    kib("/proc/meminfo", "MemTotal:")
}

/// What of it this process has in use.
#[must_use]
pub fn resident() -> Option<usize> {
    kib("/proc/self/status", "VmRSS:")
}

fn kib(file: &str, key: &str) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A number of bytes; `None` for what means that there is no limit.
fn number(file: &Path) -> Option<usize> {
    let number = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (number < NONE_FROM).then_some(number)
}

/// The directories of a process's memory cgroups, from its own to the top of what it can see.
fn dirs(cgroup: &str, mountinfo: &str) -> Vec<Cgroup> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let version = match id {
            "0" => Version::Two,
            _ if controllers.split(',').any(|name| name == "memory") => Version::One,
            _ => continue,
        };
        let mounts = mountinfo.lines().filter_map(|line| mounted(line, version));
        for (root, point) in mounts {
            // In a container the path may be the host's, of which only the end is mounted, as the whole.
            let below = Path::new(path)
                .strip_prefix(root)
                .unwrap_or_else(|_| Path::new(""));
            for above in below.ancestors() {
                found.push(Cgroup {
                    dir: Path::new(point).join(above),
                    version,
                    own: above == below,
                });
            }
        }
    }
    found
}

/// Root and mount point of a line of mountinfo, if it mounts the hierarchy that memory is counted in.
fn mounted(line: &str, version: Version) -> Option<(&str, &str)> {
    let (mount, source) = line.split_once(" - ")?;
    let (mut mount, mut source) = (mount.split(' ').skip(3), source.split(' '));
    let (root, point) = (mount.next()?, mount.next()?);
    let (kind, options) = (source.next()?, source.nth(1)?);
    let is_it = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::Two => kind == "cgroup2",
    };
    is_it.then_some((root, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_found_in_both_versions_in_containers_too() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let v2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let v1_inside = "30 25 0:26 /kubepods/a/b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let one = "5:cpu:/x\n4:memory:/kubepods/a\n0::/y\n";
        for (cgroup, mounts, expected) in [
            (one, v1, &["memory/kubepods/a", "memory/kubepods", "memory"][..]),
            ("0::/user/app\n", v2, &["user/app", "user", ""]),
            ("0::/\n", v2, &[""]),
            ("4:memory:/kubepods/a/b\n", v1_inside, &["memory"]),
            ("4:memory:/kubepods/a/b/c\n", v1_inside, &["memory/c", "memory"]),
            ("4:memory:/elsewhere\n", v1_inside, &["memory"]),
            ("", v2, &[]),
            ("0::/\n", "", &[]),
        ] {
            let found = dirs(cgroup, mounts);
            let dirs: Vec<_> = found.iter().map(|cgroup| cgroup.dir.clone()).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|dir| Path::new("/sys/fs/cgroup").join(dir))
                .collect();
            assert_eq!(dirs, expected, "{cgroup:?}");
        }
    }

    #[test]
    fn limits_and_use_are_read_in_both_versions() {
        for (version, files, limit, used) in [
            (
                Version::One,
                &[
                    ("memory.limit_in_bytes", "268435456\n"),
                    ("memory.usage_in_bytes", "1000\n"),
                    (
                        "memory.stat",
                        "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 100\n",
                    ),
                ][..],
                Some(268_435_456),
                Some(700),
            ),
            (
                Version::One,
                &[("memory.limit_in_bytes", "9223372036854771712\n")],
                None,
                None,
            ),
            (
                Version::Two,
                &[
                    ("memory.max", "max\n"),
                    ("memory.high", "5000\n"),
                    ("memory.current", "1000\n"),
                    ("memory.stat", "anon 5\ninactive_file 1\nactive_file 2\n"),
                ],
                Some(5000),
                Some(997),
            ),
            (
                Version::Two,
                &[
                    ("memory.max", "4000\n"),
                    ("memory.high", "max\n"),
                    ("memory.current", "7\n"),
                ],
                Some(4000),
                Some(7),
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let cgroup = Cgroup {
                dir: dir.path().to_owned(),
                version,
                own: true,
            };
            assert_eq!((cgroup.limit(), cgroup.used()), (limit, used), "{files:?}");
        }
    }

    #[test]
    fn the_machine_has_memory_and_this_process_some_of_it() {
        assert!(resident().unwrap() < machine().unwrap());
    }
}
