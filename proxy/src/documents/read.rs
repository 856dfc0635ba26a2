//! The files as bytes, all from one version of the directory.
//!
//! A kubelet swaps a mounted ConfigMap by renaming the symlink `..data` to a new directory and removing the old one.
//! So the link is read once and all files come from where it led; reading each through its own link could mix two
//! versions, and a file that is optional would seem absent. A directory of plain files has no such guarantee: a half-written set is either refused or soon replaced.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use egressway_core::wire::names::{CLIENTS_KEY, FLOOR_KEY, POLICIES_KEY, POOL_KEY, SECRETS_KEY};

use super::{BYTES_MAX, Error};

/// The kubelet's link to the version in place.
pub(super) const DATA_LINK: &str = "..data";
/// Two swaps within the microseconds that five small reads take are a broken mount, not bad luck.
const ATTEMPTS: usize = 3;

/// The files. No `Debug`: there are secrets in them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) policies: Vec<u8>,
    pub(super) floor: Vec<u8>,
    pub(super) pool: Vec<u8>,
    /// Absent in a fleet that knows no client by its pod or token.
    pub(super) clients: Option<Vec<u8>>,
    /// Absent in a fleet whose policies refer to no Secret.
    pub(super) secrets: Option<Vec<u8>>,
    /// The machine's own addresses, which stand in no file.
    pub(super) own: BTreeSet<IpAddr>,
}

/// Reads the version in place.
pub(super) fn read(dir: &Path) -> Result<Raw, Error> {
    let mut base = version(dir)?;
    let mut read = read_from(&base);
    for _ in 1..ATTEMPTS {
        // Swapped and removed under our hands, unless the link still leads to the same place.
        let now = version(dir)?;
        if now == base {
            break;
        }
        base = now;
        read = read_from(&base);
    }
    read
}

fn version(dir: &Path) -> Result<PathBuf, Error> {
    let link = dir.join(DATA_LINK);
    match fs::read_link(&link) {
        Ok(target) => Ok(dir.join(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(dir.to_owned()),
        Err(source) => Err(Error::Read {
            file: link.display().to_string(),
            source,
        }),
    }
}

fn read_from(base: &Path) -> Result<Raw, Error> {
    Ok(Raw {
        policies: read_file(base, POLICIES_KEY)?,
        floor: read_file(base, FLOOR_KEY)?,
        pool: read_file(base, POOL_KEY)?,
        clients: optional(read_file(base, CLIENTS_KEY))?,
        secrets: optional(read_file(base, SECRETS_KEY))?,
        own: BTreeSet::new(),
    })
}

fn optional(read: Result<Vec<u8>, Error>) -> Result<Option<Vec<u8>>, Error> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(base: &Path, file: &'static str) -> Result<Vec<u8>, Error> {
    let path = base.join(file);
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|open| open.take(BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| Error::Read {
            file: path.display().to_string(),
            source,
        })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(Error::TooLarge { file });
    }
    Ok(bytes)
}
