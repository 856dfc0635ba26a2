//! HAProxy with fixed servers: it has no CONNECT, so tunnels are plain TCP to it and spare it a round trip.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Service, Site, Speech};
use crate::certificates::ORIGIN_NAME;

/// Descriptors for 9,500 tunnels fit into 20,000.
const CONNECTIONS_MAX: u32 = 9_600;

pub(super) fn command(site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config(site, service)?)?;
    let mut command = Command::new("haproxy");
    // -db: no fork into the background.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn config(site: &Site, service: &Service) -> Result<String> {
    let (mode, log) = match service.speech {
        Speech::Tunnels => ("tcp", "option tcplog"),
        Speech::Requests | Speech::Origination | Speech::Signing => ("http", "option httplog"),
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
frontend bench
  bind {}
",
        service.listen
    );
    match service.speech {
        Speech::Tunnels | Speech::Requests | Speech::Signing => {
            config += "  default_backend origin\nbackend origin\n  balance roundrobin\n";
            for (n, target) in service.targets.iter().enumerate() {
                writeln!(config, "  server origin{n} {target}")?;
            }
        }
        Speech::Origination => {
            for target in &service.targets {
                let port = target.port();
                writeln!(
                    config,
                    "  use_backend origin{port} if {{ hdr(host) -m end :{port} }}"
                )?;
            }
            let authority = site.certificates.authority.display();
            let tls = format!("ssl verify required ca-file {authority} sni str({ORIGIN_NAME})");
            for target in &service.targets {
                writeln!(
                    config,
                    "backend origin{0}\n  server origin {target} {tls}",
                    target.port()
                )?;
            }
        }
    }
    Ok(config)
}
