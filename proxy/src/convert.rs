//! `egressway-proxy convert`: the configuration of another proxy as an EgressPolicy, and an EgressPool where it needs
//! one.
//!
//! What has no counterpart, or one that somebody has to look at, is named on standard error and on top of the output:
//! nothing is dropped without a word. Nothing but files is read.

mod keys;
mod mole;
mod output;
mod smokescreen_acl;
mod smokescreen_config;
#[cfg(test)]
mod tests;
mod values;
mod webhook_sentry;

use std::io::Write as _;

use anyhow::Context as _;
use egressway_core::manifest::{PolicySpec, PoolSpec};

use self::keys::Keys;
use crate::args::{ConvertArgs, From};
use crate::input;

/// Largest file: far above any that people write.
const BYTES_MAX: u64 = crate::documents::BYTES_MAX;

/// What came of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    policies: Vec<(String, PolicySpec)>,
    pool: Option<(String, PoolSpec)>,
    /// What somebody has to know or to do.
    notes: Vec<String>,
}

/// Writes what comes of each file to standard output.
///
/// # Errors
/// A file cannot be read, or is none of its kind.
pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (n, file) in args.files.iter().enumerate() {
        let name = input::name(file);
        let text = input::read(file, BYTES_MAX).with_context(|| format!("failed to read {name}"))?;
        let converted = convert(args.from, args.service.as_deref(), &text).with_context(|| name.clone())?;
        for note in &converted.notes {
            eprintln!("{name}: {note}");
        }
        let separator = if n > 0 { "---\n" } else { "" };
        write!(out, "{separator}{}", output::yaml(&name, args.from, &converted)?)?;
    }
    Ok(())
}

fn convert(from: From, service: Option<&str>, text: &str) -> anyhow::Result<Converted> {
    let keys = Keys::parse(text)?;
    match from {
        From::SmokescreenAcl => smokescreen_acl::convert(keys, service),
        From::SmokescreenConfig => smokescreen_config::convert(keys),
        From::Mole => mole::convert(keys),
        From::WebhookSentry => webhook_sentry::convert(keys),
    }
}
