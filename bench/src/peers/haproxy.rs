//! HAProxy with fixed servers: it has no CONNECT, so tunnels are plain TCP to it and spare it a round trip.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Service, Speech};

/// Descriptors for 9,500 tunnels fit into 20,000.
const CONNECTIONS_MAX: u32 = 9_600;

pub(super) fn command(dir: &Path, service: &Service) -> Result<Command> {
    let (mode, log) = match service.speech {
        Speech::Tunnels => ("tcp", "option tcplog"),
        Speech::Requests => ("http", "option httplog"),
    };
    let mut config = format!(
        "global
  maxconn {CONNECTIONS_MAX}
  log stdout format raw local0 info
defaults
  mode {mode}
  log global
  {log}
  timeout connect 10s
  timeout client 180s
  timeout server 180s
listen bench
  bind {}
  balance roundrobin
",
        service.listen
    );
    for (n, target) in service.targets.iter().enumerate() {
        writeln!(config, "  server origin{n} {target}")?;
    }
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    // -db: no fork into the background.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
