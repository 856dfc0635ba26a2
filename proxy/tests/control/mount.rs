//! A mounted ConfigMap in a temporary directory, swapped the way a kubelet swaps it.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use egressway_core::wire::document::{
    self, Action, Cell, Content, Floor, Observation, Observer, Policies, Policy, Pool, PortRange, Rule,
};
use egressway_core::wire::names::{FLOOR_KEY, POLICIES_KEY, POOL_KEY};
use tempfile::TempDir;

/// The three files as text.
#[derive(Clone, Debug)]
pub struct Files {
    pub policies: String,
    pub floor: String,
    pub pool: String,
}

impl Files {
    /// One policy that allows `hosts`, an empty floor, a pool without observers.
    pub fn allowing(generation: i64, hosts: &[&str]) -> Self {
        Self {
            policies: document::to_json(&policies(generation, hosts)),
            floor: document::to_json(&Floor {
                version: 1,
                ..Floor::default()
            }),
            pool: document::to_json(&pool(&[], 0, &[])),
        }
    }

    pub fn with_pool(mut self, pool: &Pool) -> Self {
        self.pool = document::to_json(pool);
        self
    }
}

pub fn policies(generation: i64, hosts: &[&str]) -> Policies {
    let rule = Rule {
        name: "partners".to_owned(),
        action: Action::Allow,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        cidrs: vec![],
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        ..Rule::default()
    };
    let content = Content {
        rules: vec![rule],
        ..Content::default()
    };
    Policies {
        version: 1,
        policies: vec![Policy::seal("payments", "webhooks", generation, content)],
    }
}

/// One policy that allows every address and port.
pub fn open_policies() -> Policies {
    let rule = Rule {
        name: "all".to_owned(),
        action: Action::Allow,
        hosts: vec![],
        cidrs: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        ports: vec![PortRange {
            port: 1,
            end_port: Some(65535),
        }],
        ..Rule::default()
    };
    let content = Content {
        rules: vec![rule],
        ..Content::default()
    };
    Policies {
        version: 1,
        policies: vec![Policy::seal("payments", "webhooks", 1, content)],
    }
}

/// A pool with cell `a`; observers are name and URL.
pub fn pool(observers: &[(&str, &str)], quorum: u32, promised: &[&str]) -> Pool {
    Pool {
        version: 1,
        name: "pool".to_owned(),
        observation: Observation {
            observers: observers
                .iter()
                .map(|(name, url)| Observer {
                    name: (*name).to_owned(),
                    url: (*url).to_owned(),
                    ca_bundle: None,
                })
                .collect(),
            quorum,
            interval_ms: 1000,
            on_mismatch: document::OnMismatch::Quarantine,
        },
        cells: vec![Cell {
            name: "a".to_owned(),
            promised: promised
                .iter()
                .map(|net| document::Promised::always(net))
                .collect(),
            declared: !promised.is_empty(),
            draining: false,
        }],
        ..Pool::default()
    }
}

/// The mount.
#[derive(Debug)]
pub struct Mount {
    dir: TempDir,
    versions: AtomicU32,
}

impl Mount {
    pub fn empty() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            versions: AtomicU32::new(0),
        }
    }

    pub fn with(files: &Files) -> Self {
        let mount = Self::empty();
        mount.swap(files);
        mount
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Writes a new version beside the one in place and returns its directory's name.
    pub fn stage(&self, files: &Files) -> String {
        let version = format!("..2026_01_01.{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir.path().join(&version);
        fs::create_dir(&dir).unwrap();
        write(&dir, files);
        version
    }

    /// Makes a staged version the one in place: symlink aside, rename over `..data`, remove the old one.
    pub fn promote(&self, version: &str) {
        let (link, aside) = (self.dir.path().join("..data"), self.dir.path().join("..data_tmp"));
        let old = fs::read_link(&link).ok();
        symlink(version, &aside).unwrap();
        fs::rename(&aside, &link).unwrap();
        for key in [POLICIES_KEY, FLOOR_KEY, POOL_KEY] {
            // As the kubelet does it: file names lead through the link.
            let _ = symlink(Path::new("..data").join(key), self.dir.path().join(key));
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.dir.path().join(old)).unwrap();
        }
    }

    pub fn swap(&self, files: &Files) {
        self.promote(&self.stage(files));
    }

    /// Plain files, without any `..data`.
    pub fn write_plain(&self, files: &Files) {
        write(self.dir.path(), files);
    }
}

fn write(dir: &Path, files: &Files) {
    fs::write(dir.join(POLICIES_KEY), &files.policies).unwrap();
    fs::write(dir.join(FLOOR_KEY), &files.floor).unwrap();
    fs::write(dir.join(POOL_KEY), &files.pool).unwrap();
}
