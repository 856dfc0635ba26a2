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
use std::path::Path;

use anyhow::Context as _;
use egressway_core::manifest::{PolicySpec, PoolSpec};

use self::keys::Keys;
use crate::args::{ConvertArgs, From};

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
        let name = file.display();
        let converted =
            convert(args.from, args.service.as_deref(), &read(file)?).with_context(|| name.to_string())?;
        for note in &converted.notes {
            eprintln!("{name}: {note}");
        }
        let separator = if n > 0 { "---\n" } else { "" };
        write!(
            out,
            "{separator}{}",
            output::yaml(&name.to_string(), args.from, &converted)?
        )?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let name = file.display();
    let open = std::fs::File::open(file).with_context(|| format!("failed to read {name}"))?;
    open.take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("failed to read {name}"))?;
    anyhow::ensure!(
        text.len() as u64 <= BYTES_MAX,
        "{name} is larger than {BYTES_MAX} bytes"
    );
    Ok(text)
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
