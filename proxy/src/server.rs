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
mod who;

use std::net::IpAddr;
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
use self::reason::Fault;
use self::terms::Makers;
use self::who::Who;
use crate::access_log::AccessLog;
use crate::dial;
pub use crate::limits::Limits;
use crate::limits::descriptors::Descriptors;
use crate::limits::memory::Memory;
use crate::limits::places::{Destinations, Each, Place, Places};
use crate::limits::rate::Rates;
use crate::limits::source::Source as From;
use crate::limits::strangers::Strangers;
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
/// Connections past the limit while those that were ended for their sake still say good-bye.
const ENDING_MAX: usize = 64;
/// A reader that takes nothing for so long is stuck: it may be ended where memory is short.
const STUCK: Duration = Duration::from_secs(5);
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
    memory: Memory,
    strangers: Arc<Strangers>,
    /// Connections of each client.
    clients: Each<IpAddr>,
    /// Requests that wait for their source to be listed as a client pod.
    waiting: Places,
    /// The same of each source.
    waiting_of: Each<From>,
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
            strangers: Arc::new(Strangers::new(Memory::default().for_strangers())),
            memory: Memory::default(),
            clients: Each::default(),
            waiting: Places::default(),
            waiting_of: Each::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// The same with other roots for destinations.
    #[must_use]
    pub fn with_roots(self, roots: Arc<Roots>) -> Self {
        Self {
            makers: Makers::new(roots).within(&self.memory),
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

    /// The same within a budget of memory.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self {
            strangers: Arc::new(Strangers::new(memory.for_strangers())),
            makers: self.makers.within(&memory),
            pipes: Pipes::beside(PIPES_MAX, memory.clone()),
            memory,
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

    /// Whoever is connected and has not shown that it is a client.
    #[must_use]
    pub fn strangers(&self) -> &Arc<Strangers> {
        &self.strangers
    }

    /// Ends some of the tunnels that hold memory for a reader which takes nothing.
    pub fn relieve(&self) {
        let ended = self.live.relieve(STUCK);
        self.metrics.shed.inc_by(ended as u64);
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
                    let connection = |who| Connection::new(stream, source, who, stop.clone(), kill.clone());
                    self.take(From::of(peer.ip()), connection);
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
    fn take(self: &Arc<Self>, source: From, connection: impl FnOnce(Who) -> Connection) {
        let server = Arc::clone(self);
        match self.place(source) {
            Ok(place) => {
                let connection = connection(Who::stranger(self, source));
                self.connections.spawn(async move {
                    let _open = server.metrics.connection();
                    connection.run(&server).await;
                    drop(place);
                });
            }
            Err(full) => {
                let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    return;
                };
                let connection = connection(Who::stranger(self, source));
                self.connections.spawn(async move {
                    connection.turn_away(&server, full).await;
                    drop(place);
                });
            }
        }
    }

    /// A place for one more connection: a free one, or that of a stranger that has had it for longer.
    fn place(&self, source: From) -> Result<Place, Fault> {
        let max = self.limits_in_force().connections;
        let full = if self.memory.admits() {
            match self.places.take(max) {
                Some(place) => return Ok(place),
                None => Fault::TooManyConnections,
            }
        } else {
            Fault::MemoryFull
        };
        if !self.strangers.make_room(source) {
            return Err(full);
        }
        self.metrics.shed.inc();
        // It gives its place back as soon as its task has its turn.
        self.places.take(max.saturating_add(ENDING_MAX)).ok_or(full)
    }

    /// Resolves once `stop` was said and no connection is left.
    async fn ended(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        // The tracker only reports emptiness once closed; new tasks may still be spawned on it.
        self.connections.close();
        self.connections.wait().await;
    }
}
