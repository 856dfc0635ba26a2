//! `egressway-proxy verify`: whether a delivery was signed with a key, and why not. For whoever writes a receiver.
//!
//! The body comes in on standard input, byte for byte; what it says goes to standard output in one line.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use egressway_core::duration;
use egressway_core::wire::document::Encoding;

use crate::signing::key::HmacKey;
use crate::signing::verify::{self, Problem, PublicKey};

/// Longest body that is read: the longest that the proxy signs.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Check the signature of a webhook; the body comes in on standard input.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// How it was signed.
    #[arg(long, value_name = "SCHEME")]
    pub scheme: SchemeArg,
    /// File with the shared secret, as it stands in the Kubernetes Secret.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    pub secret_file: Option<PathBuf>,
    /// File with the public key of RSA-SHA256, PEM.
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// A header of the delivery: all of them, or of HMAC-SHA256 and RSA-SHA256 the one with the signature. Repeatable.
    #[arg(long, value_name = "NAME: VALUE", required = true, value_parser = header)]
    pub header: Vec<(String, String)>,
    /// How HMAC-SHA256 and RSA-SHA256 write the signature.
    #[arg(long, value_name = "ENCODING", default_value = "hex")]
    pub encoding: EncodingArg,
    /// How far the time of Standard Webhooks may lie from now.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub tolerance: Duration,
}

/// A scheme, as policies spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemeArg {
    /// Standard Webhooks 1.0.
    #[value(name = "StandardWebhooks")]
    StandardWebhooks,
    /// HMAC-SHA256 over the body.
    #[value(name = "HMAC-SHA256")]
    HmacSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 over the body.
    #[value(name = "RSA-SHA256")]
    RsaSha256,
}

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncodingArg {
    /// Hexadecimal, behind sha256= or not.
    Hex,
    /// Base64.
    Base64,
    /// Hexadecimal behind sha256=, and nothing else.
    PrefixedHex,
}

impl VerifyArgs {
    /// Reads the body, says what it found, and ends with 0 (good), 1 (not good) or 2 (it could not be checked).
    #[must_use]
    pub fn main(&self) -> ExitCode {
        match self.run() {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(_)) => ExitCode::FAILURE,
            Err(error) => {
                // Nobody is left to be told that standard error is gone.
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    fn run(&self) -> anyhow::Result<Result<(), Problem>> {
        let mut body = Vec::new();
        io::stdin()
            .take(BODY_BYTES_MAX + 1)
            .read_to_end(&mut body)
            .context("failed to read the body")?;
        if body.len() as u64 > BODY_BYTES_MAX {
            bail!("the body is longer than {BODY_BYTES_MAX} bytes");
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let checked = self.check(&body, now.as_secs())?;
        let mut out = io::stdout();
        let written = match &checked {
            Ok(()) => writeln!(out, "the signature is good"),
            Err(problem) => writeln!(out, "the signature is not good: {problem}"),
        };
        written.context("failed to write the answer")?;
        Ok(checked)
    }

    /// The outer error is about the arguments, the inner one about the delivery.
    fn check(&self, body: &[u8], now_seconds: u64) -> anyhow::Result<Result<(), Problem>> {
        let headers: Vec<(&str, &str)> = self
            .header
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let encoding = match self.encoding {
            EncodingArg::Hex => Encoding::Hex,
            EncodingArg::Base64 => Encoding::Base64,
            EncodingArg::PrefixedHex => Encoding::PrefixedHex,
        };
        Ok(match (self.scheme, &self.secret_file, &self.public_key) {
            (SchemeArg::StandardWebhooks, Some(file), None) => {
                let key = HmacKey::standard(&read(file)?).context("failed to read --secret-file")?;
                verify::standard_webhooks(&key, &headers, body, now_seconds, self.tolerance.as_secs())
            }
            (SchemeArg::HmacSha256, Some(file), None) => {
                let key = HmacKey::raw(&read(file)?).context("failed to read --secret-file")?;
                verify::hmac_sha256(&key, &headers, encoding, body)
            }
            (SchemeArg::RsaSha256, None, Some(file)) => {
                let key = PublicKey::from_pem(&read(file)?).context("failed to read --public-key")?;
                verify::rsa_sha256(&key, &headers, encoding, body)
            }
            (SchemeArg::StandardWebhooks | SchemeArg::HmacSha256, _, _) => {
                bail!("this scheme needs --secret-file")
            }
            (SchemeArg::RsaSha256, _, _) => bail!("RSA-SHA256 needs --public-key"),
        })
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        verify: VerifyArgs,
    }

    fn check(args: &[&str], body: &[u8], now: u64) -> anyhow::Result<Result<(), Problem>> {
        let cli = Cli::try_parse_from(std::iter::once(&"verify").chain(args))?;
        cli.verify.check(body, now)
    }

    #[test]
    fn a_delivery_is_checked_as_its_scheme_demands() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let file = file.to_str().unwrap();
        let standard = [
            "--scheme",
            "StandardWebhooks",
            "--secret-file",
            file,
            "--header",
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
            "--header",
            "webhook-timestamp:1614265330",
            "--header",
            "Webhook-Signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ];
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(check(&standard, body, 1_614_265_330).unwrap(), Ok(()));
        assert_eq!(
            check(&standard, b"{}", 1_614_265_330).unwrap(),
            Err(Problem::Mismatch)
        );
        assert!(matches!(
            check(&standard, body, 1).unwrap(),
            Err(Problem::Time { .. })
        ));
        let tolerant: Vec<&str> = standard.into_iter().chain(["--tolerance", "24h"]).collect();
        assert_eq!(check(&tolerant, body, 1_614_265_330 + 86_400).unwrap(), Ok(()));
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        for args in [
            &["--scheme", "HMAC-SHA256", "--header", "a: b"][..],
            &["--scheme", "HMAC-SHA256", "--header", "a: b", "--public-key", "k"],
            &["--scheme", "RSA-SHA256", "--header", "a: b", "--secret-file", "k"],
            &[
                "--scheme",
                "RSA-SHA256",
                "--header",
                "a: b",
                "--public-key",
                "/nonexistent",
            ],
            &["--scheme", "MD5withRSA", "--header", "a: b", "--public-key", "k"],
            &["--scheme", "RSA-SHA256", "--public-key", "k"],
            &[
                "--scheme",
                "RSA-SHA256",
                "--header",
                "no colon",
                "--public-key",
                "k",
            ],
        ] {
            assert!(check(args, b"", 0).is_err(), "{args:?}");
        }
    }
}
