//! `egressway-proxy forward`: beside a client that cannot hold a changing password, it adds the password to what the
//! client sends to its proxy.
//!
//! It decides nothing and looks into nothing but heads: refusals of the real proxy pass as they are. Each request has
//! an exchange and a connection of its own, so that none can leave without a credential.

mod credential;
mod exchange;
mod head;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::credential::CredentialFile;
use self::upstream::Upstream;
use crate::args::ForwardArgs;
use crate::own_log::OwnLog;
use crate::server::id::Ids;

/// Connections of one client at one time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after the kernel could not hand over a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound helper.
#[derive(Debug)]
pub struct ForwardClient {
    listener: TcpListener,
    drain: Duration,
    own_log: OwnLog,
    shared: Arc<Shared>,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    credential: CredentialFile,
    ids: Ids,
}

impl ForwardClient {
    /// Reads the credential and the certificates once, so that a wrong path is noticed at the start, and binds.
    ///
    /// # Errors
    /// What is wrong.
    pub fn bind(args: &ForwardArgs, own_log: &OwnLog) -> anyhow::Result<Self> {
        if !args.listen.ip().is_loopback() && !args.allow_remote_clients {
            bail!(
                "--listen {} is not loopback: whoever reaches it would use the credential; add --allow-remote-clients if \
                 that is meant",
                args.listen
            );
        }
        let file = args.token_file.as_ref().or(args.password_file.as_ref());
        let file = file.context("neither --token-file nor --password-file")?;
        crate::input::must_last(file)?;
        let credential = CredentialFile::new(file.clone(), args.user.clone());
        credential.field()?;
        let upstream = Upstream::new(&args.proxy, args.ca.as_deref())?;
        let listener = crate::listen::bind(args.listen)
            .with_context(|| format!("failed to listen on {}", args.listen))?;
        Ok(Self {
            listener,
            drain: args.drain,
            own_log: own_log.clone(),
            shared: Arc::new(Shared {
                upstream,
                credential,
                ids: Ids::new(),
            }),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets what is open end, at most for the drain or until `kill`.
    pub async fn run(self, stop: CancellationToken, kill: CancellationToken) {
        if let Ok(address) = self.address() {
            let upstream = &self.shared.upstream;
            self.own_log
                .say(format_args!("egressway-proxy forward: {address} to {upstream}"));
        }
        let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            // The semaphore is never closed.
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place.ok(),
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (shared, kill) = (Arc::clone(&self.shared), kill.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = exchange::serve(&shared, stream) => {}
                            () = kill.cancelled() => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to accept a connection"
                    );
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        if timeout(self.drain, connections.wait()).await.is_err() {
            kill.cancel();
            connections.wait().await;
        }
    }
}
