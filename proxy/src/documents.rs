//! The mounted documents: policies, floor, pool, client pods and secrets, put in force as one or not at all.
//!
//! A broken, missing or newer document never widens access: the last good ones stay in force, and before there are any
//! nothing is let through. It fetches nothing; whoever writes the directory decides when it changes.

mod compile;
mod read;
mod source;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::document;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::compile::Settings;
use self::read::Raw;
pub use self::source::{Source, compile_manifest, compile_with_secrets};
use crate::control_metrics::ControlMetrics;
use crate::error_chain;
use crate::own_addresses::OwnAddresses;
use crate::state::{InForce, State};

/// Largest accepted file. The API server takes objects up to 1.5 MiB, a ConfigMap up to 1 MiB.
pub const BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The safety net under inotify: a lost event costs ten seconds, not for ever.
const POLL: Duration = Duration::from_secs(10);
/// The same while nothing can be watched: no directory yet, or no inotify instance left for this user.
const POLL_UNWATCHED: Duration = Duration::from_secs(1);

/// Why documents were not put in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("failed to read {file}")]
    Read {
        /// The file or directory.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// More than [`BYTES_MAX`].
    #[error("{file} is larger than {BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        file: &'static str,
    },
    /// No JSON, or not of this shape.
    #[error("failed to parse {file}")]
    Parse {
        /// The file.
        file: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The same of the document with secrets: what the parser would quote stays where it is.
    #[error("failed to parse {file} at line {line}, column {column}")]
    ParseSecrets {
        /// The file.
        file: &'static str,
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// Written by a newer operator.
    #[error(
        "{file} has version {found}, this build reads {}: upgrade the proxy first",
        document::VERSION
    )]
    Newer {
        /// The file.
        file: &'static str,
        /// Its version.
        found: u32,
    },
    /// JSON of the right shape that means nothing.
    #[error("{file} is refused")]
    Meaning {
        /// The file.
        file: &'static str,
        /// Every problem.
        #[source]
        source: egressway_core::acl::compile::Problems,
    },
    /// A manifest that is refused, or a Secret that it refers to.
    #[error("the manifest is refused")]
    Manifest(#[source] crate::alone::Refused),
}

/// Loads the documents and follows where they come from.
pub struct Documents {
    origin: Source,
    /// Somebody wants them to be read now.
    wake: Arc<Notify>,
    settings: Settings,
    state: Arc<State>,
    metrics: Arc<ControlMetrics>,
    /// Absent where nobody asks the machine, as in a test.
    own: Option<OwnAddresses>,
    /// What was read last, and what came of it: unchanged bytes are neither compiled nor put in force again.
    tried: Option<(Raw, Result<(), String>)>,
    /// The bytes in force.
    good: Option<Raw>,
}

/// Without the bytes: there are secrets in them.
impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Documents {
    /// Reads nothing yet. `cell` is the pod's own; `insecure_allow` is for tests and benchmarks.
    #[must_use]
    pub fn new(
        origin: impl Into<Source>,
        cell: String,
        insecure_allow: Vec<IpNet>,
        state: Arc<State>,
        metrics: Arc<ControlMetrics>,
    ) -> Self {
        Self {
            origin: origin.into(),
            wake: Arc::default(),
            settings: Settings { cell, insecure_allow },
            state,
            metrics,
            own: None,
            tried: None,
            good: None,
        }
    }

    /// Whoever notifies it has the documents read at once.
    #[must_use]
    pub fn woken_by(mut self, wake: Arc<Notify>) -> Self {
        self.wake = wake;
        self
    }

    /// With the addresses of this machine on the floor.
    #[must_use]
    pub fn with_own_addresses(mut self, own: OwnAddresses) -> Self {
        self.own = Some(own);
        self
    }

    /// Loads at once and again whenever something changes, until `stop`.
    pub async fn follow(mut self, stop: CancellationToken) {
        loop {
            // Armed before it is read, so that no change falls between.
            let armed = self.origin.arm();
            self.load();
            loop {
                let next_look = self.origin.next_look(armed);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.origin.changed() => break,
                    () = self.wake.notified() => break,
                    () = moved(&mut self.own) => break,
                    // Documents that are refused are read again, so that the count of failures tells how long.
                    () = sleep(next_look) => if !self.origin.is_unchanged() || self.state.load_error().is_some() { break },
                }
            }
        }
    }

    /// Reads the documents and puts in force what is new and good.
    pub fn load(&mut self) {
        self.load_whole();
        if let Some(late) = self.origin.late() {
            self.refuse(late);
        }
    }

    fn load_whole(&mut self) {
        let raw = match self.origin.read(&self.state.in_force()) {
            Ok(raw) => Raw {
                own: self.own.as_mut().map(OwnAddresses::now).unwrap_or_default(),
                ..raw
            },
            Err(error) => return self.refuse(error_chain(&error)),
        };
        if let Some((tried, outcome)) = &self.tried
            && *tried == raw
        {
            return match outcome.clone() {
                // A read error may have come between.
                Ok(()) => self.accepted(),
                Err(error) => self.refuse(error),
            };
        }
        let before = self.good.as_ref().map(|good| (good, self.state.in_force()));
        match compile::compile(
            &raw,
            before.as_ref().map(|(raw, old)| (*raw, old.as_ref())),
            &self.settings,
        )
        .and_then(|in_force| self.origin.accept(in_force))
        {
            Ok(in_force) => {
                self.tried = Some((raw.clone(), Ok(())));
                self.good = Some(raw);
                self.accept(in_force);
            }
            Err(error) => {
                let error = error_chain(&error);
                self.tried = Some((raw, Err(error.clone())));
                self.refuse(error);
            }
        }
    }

    fn accept(&self, in_force: InForce) {
        for policy in &in_force.policies {
            info!(
                policy = %format_args!("{}/{}", policy.namespace(), policy.name()),
                generation = policy.generation(),
                hash = policy.hash(),
                "policy in force"
            );
        }
        info!(
            floor_hash = in_force.wall.floor.hash(),
            pool_hash = in_force.pool_hash,
            clients_hash = in_force.clients.hash(),
            secrets_hash = in_force.secrets.hash(),
            "documents in force"
        );
        for problem in in_force.secrets.problems() {
            warn!(problem, "a Secret cannot be used: what depends on it is refused");
        }
        for remark in in_force.secrets.remarks() {
            info!(remark, "a Secret may mean something else to a receiver");
        }
        self.state.set_in_force(in_force);
        self.accepted();
        self.metrics.reloaded();
    }

    /// Unless a file of them is late, which is told until it is there.
    fn accepted(&self) {
        if self.origin.late().is_none() {
            self.state.set_load_error(None);
        }
    }

    /// Counted every time, so that an alert on the rate holds while the trouble lasts; logged when it changes.
    fn refuse(&self, error: String) {
        self.metrics.reload_failed();
        if self.state.load_error().as_ref() != Some(&error) {
            warn!(error, "documents refused, the last good ones stay in force");
            self.state.set_load_error(Some(error));
        }
    }
}

/// Returns when the machine's addresses may have changed.
async fn moved(own: &mut Option<OwnAddresses>) {
    match own {
        Some(own) => own.changed().await,
        None => std::future::pending().await,
    }
}
