//! The bare relay of this crate.

use std::process::Command;

use clap::ValueEnum as _;

use super::{Service, Site, Speech};
use crate::relay::Variant;

/// Requests are relayed as bytes: the origin does not mind the absolute form.
pub(super) fn command(site: &Site, service: &Service, variant: Variant) -> Command {
    let mut command = Command::new(&site.bench);
    command.args(["relay", "--listen", &service.listen.to_string()]);
    for target in &service.targets {
        command.args(["--upstream", &target.to_string()]);
    }
    if let Some(variant) = variant.to_possible_value() {
        command.args(["--variant", variant.get_name()]);
    }
    if service.speech != Speech::Tunnels {
        command.arg("--raw");
    }
    command
}
