//! Our proxy: as a fleet's pod, documents from a directory, the decision log in a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use egressway_core::wire::document::{
    Action, Content, Floor, Observation, Policies, Policy, Pool, PortRange, Rule, VERSION, to_json,
};

use super::{Service, Site};
use crate::net;

/// One policy that allows the origin's addresses, and a pool that observes nothing.
pub(super) fn command(site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let rule = Rule {
        name: "origins".to_owned(),
        action: Action::Allow,
        hosts: Vec::new(),
        cidrs: vec!["127.0.2.0/24".to_owned()],
        ports: vec![PortRange {
            port: 1,
            end_port: Some(u16::MAX),
        }],
    };
    let content = Content {
        suspended: false,
        rules: vec![rule],
    };
    let policies = Policies {
        version: VERSION,
        policies: vec![Policy::seal("bench", "bench", 1, content)],
    };
    let pool = Pool {
        version: VERSION,
        name: "bench".to_owned(),
        observation: Observation {
            quorum: 1,
            interval_ms: 60_000,
            ..Observation::default()
        },
        cells: Vec::new(),
    };
    let floor = Floor {
        version: VERSION,
        ..Floor::default()
    };
    for (file, json) in [
        ("policies.json", to_json(&policies)),
        ("floor.json", to_json(&floor)),
        ("pool.json", to_json(&pool)),
    ] {
        fs::write(dir.join(file), json)?;
    }
    let address = || net::free_proxy_address().map(|address| address.to_string());
    let mut command = Command::new(&site.proxy);
    command.arg("--acl-dir").arg(dir);
    command.args([
        "--listen",
        &service.listen.to_string(),
        "--admin",
        &address()?,
        "--report",
        &address()?,
    ]);
    command.args(["--insecure-allow", "127.0.0.0/8"]);
    Ok(command)
}
