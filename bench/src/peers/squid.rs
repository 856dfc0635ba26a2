//! Squid: everything allowed, nothing cached, its usual access log.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Service;
use crate::certificates::ORIGIN_NAME;

pub(super) fn command(dir: &Path, service: &Service) -> Result<Command> {
    let (listen, here) = (service.listen, dir.display());
    // Its setting for name servers takes no port; a name of this file is in the same cache as one from DNS.
    let ip = service.targets.first().context("no target")?.ip();
    fs::write(dir.join("hosts"), format!("{ip} {ORIGIN_NAME}\n"))?;
    let config = format!(
        "http_port {listen}
http_access allow all
cache deny all
access_log daemon:{here}/access.log squid
cache_log {here}/cache.log
cache_store_log none
hosts_file {here}/hosts
pid_filename none
coredump_dir {here}
pinger_enable off
visible_hostname bench
max_filedescriptors 20000
"
    );
    let file = dir.join("squid.conf");
    fs::write(&file, config)?;
    let mut command = Command::new("squid");
    // -N: one process, in the foreground.
    command.arg("-N").arg("-f").arg(file);
    Ok(command)
}
