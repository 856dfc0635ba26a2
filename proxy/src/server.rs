//! The data path: accept, and for each request parse, permit, resolve, vet, dial, relay.
//!
//! One reader ([`head`], [`body`]) decides where every message ends, for CONNECT, for forwarded requests and for their
//! answers alike. Two parsers in front of each other could disagree about where a message ends, and that disagreement is
//! request smuggling.

pub mod body;
mod connect;
mod connection;
mod forward;
pub mod head;
mod held;
pub mod hop;
pub mod id;
mod kept;
mod listener;
mod origin;
mod pool;
pub mod reason;
mod relay;
pub mod reply;
mod request;
mod route;
mod sni;
mod terms;
mod timer;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::connection::Connection;
use self::id::Ids;
use self::listener::Source;
use self::pool::Pool;
use self::terms::Makers;
use crate::access_log::AccessLog;
use crate::dial;
pub use crate::limits::Limits;
use crate::limits::descriptors::Descriptors;
use crate::limits::places::{Destinations, Places};
use crate::limits::rate::Rates;
use crate::metrics::Metrics;
use crate::resolve::Resolver;
use crate::state::{InForce, State};
use crate::tunnel::Counters;
use crate::tunnel::live::{Live, TunnelInfo};
use crate::tunnel::pipe::{PIPES_MAX, Pipes};
use crate::upstream_tls::Roots;

/// Pause after the kernel could not hand over a connection (EMFILE, mostly): long enough not to spin, short enough
/// that nobody notices when one descriptor is free again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Refusals written at one time past the limit of connections; past this a connection is closed without a word.
const REFUSALS_MAX: usize = 64;

/// The data path; one for all threads that accept, so that its bounds are those of the process.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    resolver: Resolver,
    metrics: Arc<Metrics>,
    log: AccessLog,
    limits: Limits,
    name: String,
    own_ports: Vec<u16>,
    ids: Ids,
    pool: Pool,
    makers: Makers,
    counters: Counters,
    pipes: Arc<Pipes>,
    live: Live,
    connections: TaskTracker,
    descriptors: Descriptors,
    places: Places,
    tunnels: Places,
    destinations: Destinations,
    rates: Rates,
    /// Requests that wait for their source to be listed as a client pod.
    waiting: Places,
    refusals: Arc<Semaphore>,
}

impl Server {
    /// A data path; `name` stands in `Proxy-Status` and `Via`, `own_ports` are never dialled on this machine.
    #[must_use]
    pub fn new(
        state: Arc<State>,
        resolver: Resolver,
        metrics: Arc<Metrics>,
        log: AccessLog,
        limits: Limits,
        name: String,
        own_ports: Vec<u16>,
    ) -> Self {
        let counters = Counters {
            sent: metrics.bytes_sent.clone(),
            received: metrics.bytes_received.clone(),
        };
        Self {
            counters,
            pipes: Pipes::new(PIPES_MAX),
            live: Live::default(),
            state,
            resolver,
            metrics,
            log,
            limits,
            name,
            own_ports,
            ids: Ids::new(),
            pool: Pool::new(Descriptors::default().idle),
            makers: Makers::new(Roots::built_in()),
            connections: TaskTracker::new(),
            descriptors: Descriptors::default(),
            places: Places::default(),
            tunnels: Places::default(),
            destinations: Destinations::default(),
            rates: Rates::default(),
            waiting: Places::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// The same with other roots for destinations.
    #[must_use]
    pub fn with_roots(self, roots: Arc<Roots>) -> Self {
        Self {
            makers: Makers::new(roots),
            ..self
        }
    }

    /// The same within shares of descriptors.
    #[must_use]
    pub fn with_descriptors(self, descriptors: Descriptors) -> Self {
        Self {
            pool: Pool::new(descriptors.idle),
            descriptors,
            ..self
        }
    }

    /// The bounds of a connection that begins now, or of the head that it waits for.
    fn limits_in_force(&self) -> Limits {
        self.limits_of(&self.state.in_force())
    }

    /// The bounds that documents set.
    fn limits_of(&self, documents: &InForce) -> Limits {
        documents
            .policy()
            .map_or(self.limits, |policy| self.limits.with(policy))
    }

    /// The tunnels that are open right now, the oldest first.
    #[must_use]
    pub fn tunnels(&self) -> Vec<TunnelInfo> {
        self.live.tunnels()
    }

    /// Serves until everything has ended after `stop` (nothing new, and what is idle ends) or `kill` (everything is cut), on
    /// this listener and on all others of this server.
    ///
    /// The listener stays open after `stop`, so that late clients read a refusal instead of a reset.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
        kill: CancellationToken,
    ) {
        // Accepted sockets inherit it (Linux), which saves five system calls each.
        if let Err(error) = dial::tune(&listener) {
            warn!(
                error = &error as &dyn std::error::Error,
                "failed to tune the listener"
            );
        }
        let (mut ended, mut killed) = (pin!(self.ended(&stop)), pin!(kill.cancelled()));
        loop {
            let accepted = tokio::select! {
                // Not at random: it costs more than asking, and a flood of connections must not keep a kill waiting.
                biased;
                () = &mut killed => break,
                accepted = listener.accept() => accepted,
                () = &mut ended => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let source = Source::peer(peer, self.state.lets_in());
                    let connection = Connection::new(stream, source, stop.clone(), kill.clone());
                    self.take(connection);
                }
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to accept a connection"
                    );
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
        self.connections.close();
        self.connections.wait().await;
    }

    /// Serves a connection on this thread if there is a place, else says that there is none, else drops it.
    fn take(self: &Arc<Self>, connection: Connection) {
        let server = Arc::clone(self);
        if let Some(place) = self.places.take(self.limits_in_force().connections) {
            self.connections.spawn(async move {
                let _open = server.metrics.connection();
                connection.run(&server).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.connections.spawn(async move {
                connection.turn_away(&server).await;
                drop(place);
            });
        }
    }

    /// Resolves once `stop` was said and no connection is left.
    async fn ended(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        // The tracker only reports emptiness once closed; new tasks may still be spawned on it.
        self.connections.close();
        self.connections.wait().await;
    }
}
