//! Where documents come from: a mounted directory, or the manifest of a proxy that runs alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use egressway_core::wire::document::{self, Content};

use super::compile::{self, Settings};
use super::read::{self, Raw};
use super::watch::Watch;
use super::{Error, POLL, POLL_UNWATCHED};
use crate::alone;
use crate::followed::Followed;
use crate::state::InForce;

/// Where documents come from.
#[derive(Debug)]
pub enum Source {
    /// A directory that an operator writes.
    Mount(Box<Mount>),
    /// A file that people write.
    Manifest(Box<Manifest>),
}

/// A directory, and what tells that it changed.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    /// Made when it is first needed, because it belongs to a runtime.
    watch: Option<Watch>,
}

/// A manifest, and what is known of it.
#[derive(Debug)]
pub struct Manifest {
    source: alone::Source,
    /// What the file last said that meant something: it names the Secrets to follow.
    content: Option<Content>,
    /// What was warned of last.
    idle: Vec<String>,
    /// The same of what has no effect anywhere.
    warnings: Vec<String>,
    files: Followed,
    /// Whether the Secrets of the content were followed when they were read.
    complete: bool,
}

impl From<PathBuf> for Source {
    fn from(dir: PathBuf) -> Self {
        Self::Mount(Box::new(Mount { dir, watch: None }))
    }
}

impl From<alone::Source> for Source {
    fn from(source: alone::Source) -> Self {
        Self::Manifest(Box::new(Manifest {
            source,
            content: None,
            idle: Vec::new(),
            warnings: Vec::new(),
            files: Followed::default(),
            complete: false,
        }))
    }
}

impl Source {
    pub(super) fn read(&mut self, in_force: &InForce) -> Result<Raw, Error> {
        match self {
            Self::Mount(mount) => read::read(&mount.dir),
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

    /// Has changes told from now on; whether all of them will be.
    pub(super) fn arm(&mut self) -> bool {
        match self {
            Self::Mount(mount) => mount.watch.get_or_insert_with(Watch::new).arm(&mount.dir),
            Self::Manifest(manifest) => {
                let (files, dirs) = manifest.source.followed(manifest.content.as_ref());
                manifest.files.arm(&files, &dirs)
            }
        }
    }

    /// Returns after a change was told.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Mount(mount) => match &mount.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            },
            Self::Manifest(manifest) => manifest.files.changed().await,
        }
    }

    /// Whether there is nothing new, as far as can be told without reading.
    pub(super) fn is_unchanged(&self) -> bool {
        match self {
            Self::Mount(_) => false,
            Self::Manifest(manifest) => manifest.complete && manifest.files.is_unchanged(),
        }
    }

    /// When to look even though nothing was told. A link far above the file, or a file system of another machine, sends
    /// no event: a manifest is looked at every second.
    pub(super) fn next_look(&self, armed: bool) -> Duration {
        match self {
            Self::Mount(_) if armed => POLL,
            Self::Mount(_) => POLL_UNWATCHED,
            Self::Manifest(manifest) => manifest.files.next_look(POLL_UNWATCHED),
        }
    }

    /// A file that should have been read by now.
    pub(super) fn late(&self) -> Option<String> {
        match self {
            Self::Mount(_) => None,
            Self::Manifest(manifest) => manifest.files.late(),
        }
    }
}

impl Manifest {
    fn read(&mut self, in_force: &InForce) -> Result<Raw, Error> {
        let before = in_force
            .policy()
            .map(|policy| (policy.hash(), policy.generation()));
        let files = &mut self.files;
        let read = self
            .source
            .read_with(before, &mut |path, bytes_max| files.read(path, bytes_max));
        let documents = read.map_err(Error::Manifest)?;
        let content = documents
            .policies
            .policies
            .first()
            .map(|policy| policy.content.clone());
        // Of Secrets that are new to it nothing was told while they were read: they are looked at once more.
        self.complete = content == self.content;
        self.content = content;
        if documents.idle != self.idle {
            if !documents.idle.is_empty() {
                tracing::warn!(
                    fields = documents.idle.join(", "),
                    "fields without any effect outside of a cluster"
                );
            }
            self.idle.clone_from(&documents.idle);
        }
        if documents.warnings != self.warnings {
            for warning in &documents.warnings {
                tracing::warn!(warning, "something in the policy has no effect");
            }
            self.warnings.clone_from(&documents.warnings);
        }
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
        own: BTreeSet::new(),
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
