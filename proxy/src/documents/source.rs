//! Where documents come from: a mounted directory, or the manifest of a proxy that runs alone.

use std::path::PathBuf;
use std::time::Duration;

use egressway_core::wire::document::{self, Content};

use super::compile::{self, Settings};
use super::read::{self, Raw};
use super::watch::Heed;
use super::{Error, POLL, POLL_UNWATCHED};
use crate::alone;
use crate::state::InForce;

/// Where documents come from.
#[derive(Debug)]
pub enum Source {
    /// A directory that an operator writes.
    Mount(PathBuf),
    /// A file that people write.
    Manifest(Box<Manifest>),
}

/// A manifest, and what is known of it.
#[derive(Debug)]
pub struct Manifest {
    source: alone::Source,
    /// What the file last said that meant something: it names the Secrets to watch.
    content: Option<Content>,
    /// What was warned of last.
    idle: Vec<String>,
    /// The files as they were read last.
    read: Vec<Option<alone::Signature>>,
}

impl From<PathBuf> for Source {
    fn from(dir: PathBuf) -> Self {
        Self::Mount(dir)
    }
}

impl From<alone::Source> for Source {
    fn from(source: alone::Source) -> Self {
        Self::Manifest(Box::new(Manifest {
            source,
            content: None,
            idle: Vec::new(),
            read: Vec::new(),
        }))
    }
}

impl Source {
    pub(super) fn read(&mut self, in_force: &InForce) -> Result<Raw, Error> {
        match self {
            Self::Mount(dir) => read::read(dir),
            Self::Manifest(manifest) => manifest.read(in_force),
        }
    }

    /// Whoever writes a manifest is told what is wrong with its Secrets, and the last good ones stay; in a fleet they
    /// are somebody else's, and only what depends on them is refused.
    pub(super) fn accept(&self, in_force: InForce) -> Result<InForce, Error> {
        match self {
            Self::Mount(_) => Ok(in_force),
            Self::Manifest(_) => sound(in_force),
        }
    }

    /// What has to be watched.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        match self {
            Self::Mount(dir) => vec![dir.clone()],
            Self::Manifest(manifest) => manifest.source.watched(manifest.content.as_ref()),
        }
    }

    pub(super) fn heed(&self) -> Heed {
        match self {
            Self::Mount(_) => Heed::Documents,
            Self::Manifest(_) => Heed::Everything,
        }
    }

    /// Whether there is nothing new, as far as can be told without reading.
    pub(super) fn is_unchanged(&self) -> bool {
        match self {
            Self::Mount(_) => false,
            Self::Manifest(manifest) => manifest.read == manifest.source.signature(manifest.content.as_ref()),
        }
    }

    /// A link far above the file, or a file system of another machine, sends no event: a manifest is looked at every
    /// second.
    pub(super) fn poll(&self) -> Duration {
        match self {
            Self::Mount(_) => POLL,
            Self::Manifest(_) => POLL_UNWATCHED,
        }
    }
}

impl Manifest {
    fn read(&mut self, in_force: &InForce) -> Result<Raw, Error> {
        self.read = Vec::new();
        let signature = self.source.signature(self.content.as_ref());
        let before = in_force
            .policy()
            .map(|policy| (policy.hash(), policy.generation()));
        let documents = self.source.read(before).map_err(Error::Manifest)?;
        self.content = documents
            .policies
            .policies
            .first()
            .map(|policy| policy.content.clone());
        if documents.idle != self.idle {
            if !documents.idle.is_empty() {
                tracing::warn!(
                    fields = documents.idle.join(", "),
                    "fields without any effect outside of a cluster"
                );
            }
            self.idle.clone_from(&documents.idle);
        }
        // Before the Secrets were known by name nothing was looked at but the file; then it is read once more.
        self.read = signature;
        Ok(raw(&documents))
    }
}

fn raw(documents: &alone::Documents) -> Raw {
    Raw {
        policies: document::to_json(&documents.policies).into_bytes(),
        floor: document::to_json(&documents.floor).into_bytes(),
        pool: document::to_json(&documents.pool).into_bytes(),
        clients: None,
        secrets: Some(document::to_json(&documents.secrets).into_bytes()),
    }
}

/// What a manifest means, compiled the way it is put in force.
///
/// # Errors
/// Why it cannot be.
pub fn compile_manifest(documents: &alone::Documents, settings: &Settings) -> Result<InForce, Error> {
    compile::compile(&raw(documents), None, settings)
}

/// The same with the Secrets that it refers to.
///
/// # Errors
/// Why it cannot be, or which Secret is of no use.
pub fn compile_with_secrets(documents: &alone::Documents, settings: &Settings) -> Result<InForce, Error> {
    compile_manifest(documents, settings).and_then(sound)
}

fn sound(in_force: InForce) -> Result<InForce, Error> {
    match in_force.secrets.problems() {
        [] => Ok(in_force),
        problems => Err(Error::Manifest(alone::Refused::of(problems))),
    }
}
