//! tinyproxy: defaults, but for more than 100 clients.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Service;

pub(super) fn command(dir: &Path, service: &Service) -> Result<Command> {
    let config = format!(
        "Listen {}
Port {}
MaxClients 9600
Timeout 600
Allow 127.0.0.0/8
LogFile \"{}/tinyproxy.log\"
",
        service.listen.ip(),
        service.listen.port(),
        dir.display()
    );
    let file = dir.join("tinyproxy.conf");
    fs::write(&file, config)?;
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(file);
    Ok(command)
}
