//! The credential: a file, read each time it is needed, because a kubelet replaces tokens as it likes.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest credential: tokens of ServiceAccounts have one to two kilobytes.
const BYTES_MAX: u64 = 16 * 1024;

/// Where the credential is, and the name beside it.
pub(super) struct CredentialFile {
    file: PathBuf,
    user: String,
}

impl std::fmt::Debug for CredentialFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CredentialFile").field(&self.file).finish()
    }
}

impl CredentialFile {
    pub(super) fn new(file: PathBuf, user: String) -> Self {
        Self { file, user }
    }

    /// The value of `Proxy-Authorization` (RFC 7617).
    pub(super) fn field(&self) -> anyhow::Result<String> {
        let name = self.file.display();
        let mut secret = Vec::new();
        let read = File::open(&self.file).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut secret));
        read.with_context(|| format!("failed to read {name}"))?;
        while secret.last().is_some_and(u8::is_ascii_whitespace) {
            secret.pop();
        }
        if secret.is_empty() {
            bail!("{name} is empty");
        }
        if secret.len() as u64 > BYTES_MAX {
            bail!("{name} is longer than any credential");
        }
        let mut pair = format!("{}:", self.user).into_bytes();
        pair.append(&mut secret);
        Ok(format!("Basic {}", STANDARD.encode(pair)))
    }
}
