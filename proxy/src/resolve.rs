//! Names to addresses: the only DNS in the process.
//!
//! Names are absolute, so there is no search list; no hosts file, no mDNS. It decides nothing about addresses: every
//! one of them goes through `Permit::vet` before anything can be dialled, and a request resolves its name once.
//!
//! An answer that is in its time costs one look into the [`cache`]. Everything else is a [`flights::Dns::look_up`], which
//! asks the servers of [`source`] in their order. When servers fail, an answer past its time is used for a while.

mod cache;
mod course;
mod each;
mod exchange;
mod flights;
mod health;
mod look_up;
mod metrics;
pub mod question;
mod resolv_conf;
mod servers;
mod source;
mod turns;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout};

use self::cache::{Answer, Look};
pub use self::each::ServerAnswer;
use self::flights::{Dns, Purpose, Waiting};
use self::metrics::DnsMetrics;
use self::question::Flaw;
use self::source::Source;

/// Longest a look-up takes in all: Smokescreen's figure, and below what clients wait for a proxy.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a newer answer is waited for before one past its time is used. RFC 8767, 5 says 1.8 s; whoever asks a
/// resolver nearby has it within tens of milliseconds or not at all.
const STALE_PATIENCE: Duration = Duration::from_millis(500);
/// The same where no server has answered for a while.
const STALE_PATIENCE_DOWN: Duration = Duration::from_millis(50);
/// What a look-up may come later than its limit, because its thread is busy.
const OVERTIME: Duration = Duration::from_millis(500);
/// How often a look-up is joined that ends without a word: its thread may be the next to end, too.
const TRIES: usize = 3;
/// Sockets towards name servers at one time, unless told otherwise: 256 look-ups of two questions.
const SOCKETS_MAX: usize = 512;

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has neither A nor AAAA.
    #[error("the name has no address")]
    NotFound,
    /// No answer in [`LOOKUP_TIMEOUT`].
    #[error("the name was not resolved in time")]
    Timeout,
    /// No server gave an answer.
    #[error("failed to resolve the name")]
    Failed(#[source] Failure),
}

/// Why no server gave an answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// What each of them did.
    Servers(Arc<[(SocketAddr, Flaw)]>),
    /// As many look-ups of the domain or the client wait as may.
    Busy,
    /// No message can carry the name: a label of more than 63 bytes, mostly.
    Unaskable,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// None was named.
    #[error("no name server is named")]
    NoNameServers,
}

type Scripted = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send>>;
type Script = dyn Fn(String) -> Scripted + Send + Sync;

/// Names to addresses.
#[derive(Clone)]
pub struct Resolver(Kind);

#[derive(Clone)]
enum Kind {
    Dns(Arc<Dns>),
    Scripted(Arc<Script>),
}

impl ResolveError {
    /// Whether it is an outage (RFC 8767): what the name was before may still be used.
    fn is_outage(&self) -> bool {
        match self {
            Self::NotFound => false,
            Self::Timeout => true,
            Self::Failed(Failure::Servers(said)) => said.iter().any(|(_, flaw)| flaw.is_outage()),
            Self::Failed(Failure::Busy) => true,
            Self::Failed(Failure::Unaskable) => false,
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Servers(said) => {
                let mut separator = "";
                for (server, flaw) in said.iter() {
                    write!(f, "{separator}name server {server} {flaw}")?;
                    separator = ", ";
                }
                Ok(())
            }
            Self::Busy => f.write_str("too many look-ups of this domain or client are waiting already"),
            Self::Unaskable => f.write_str("no question to a name server can carry it"),
        }
    }
}

impl Resolver {
    /// Asks the name servers of `/etc/resolv.conf` as it is at the time, and as its options say; its search list is left
    /// aside. Where it is missing or lists none, a server on this machine, as glibc does.
    #[must_use]
    pub fn from_system() -> Self {
        Self::from_file(source::SYSTEM_FILE.into())
    }

    /// The same with another file.
    #[must_use]
    pub fn from_file(file: PathBuf) -> Self {
        let metrics = DnsMetrics::default();
        let source = Source::file(file, metrics.clone());
        Self(Kind::Dns(Arc::new(Dns::new(source, metrics, SOCKETS_MAX))))
    }

    /// Asks these name servers.
    ///
    /// # Errors
    /// The list is empty.
    pub fn with_nameservers(servers: Vec<SocketAddr>) -> Result<Self, SetupError> {
        if servers.is_empty() {
            return Err(SetupError::NoNameServers);
        }
        let metrics = DnsMetrics::default();
        let source = Source::fixed(&servers, metrics.clone());
        Ok(Self(Kind::Dns(Arc::new(Dns::new(source, metrics, SOCKETS_MAX)))))
    }

    /// Asks a function; for tests and benchmarks.
    pub fn scripted<F, A>(answer: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'static,
    {
        Self(Kind::Scripted(Arc::new(move |name| Box::pin(answer(name)))))
    }

    /// The same with so many sockets towards name servers at one time.
    #[must_use]
    pub fn within(mut self, sockets_max: usize) -> Self {
        match &mut self.0 {
            // Nobody else has it yet: it was just made.
            Kind::Dns(dns) => {
                if let Some(dns) = Arc::get_mut(dns) {
                    dns.within(sockets_max);
                }
            }
            Kind::Scripted(_) => {}
        }
        self
    }

    /// Whether an answer is good for a while: what a script says is for the one who asked.
    pub(crate) fn keeps_answers(&self) -> bool {
        match self.0 {
            Kind::Dns(_) => true,
            Kind::Scripted(_) => false,
        }
    }

    /// What each server says about a name, in the order of their list; nothing is kept.
    pub async fn ask_each(&self, name: &str) -> Vec<ServerAnswer> {
        match &self.0 {
            Kind::Dns(dns) => each::ask_each(&dns.source.servers(Instant::now()), name).await,
            Kind::Scripted(_) => Vec::new(),
        }
    }

    /// Registers what is counted, under the prefix that the registry has.
    pub fn register(&self, registry: &mut Registry) {
        match &self.0 {
            Kind::Dns(dns) => dns.metrics.register(registry),
            Kind::Scripted(_) => {}
        }
    }

    /// The addresses of a name (in normal form, without the trailing dot), both families, never empty.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn resolve(&self, name: &str) -> Result<Arc<[IpAddr]>, ResolveError> {
        self.resolve_for(name, None).await
    }

    /// The same on behalf of a client, whose look-ups have a share of those at one time.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn resolve_for(
        &self,
        name: &str,
        client: Option<IpAddr>,
    ) -> Result<Arc<[IpAddr]>, ResolveError> {
        let dns = match &self.0 {
            Kind::Dns(dns) => dns,
            Kind::Scripted(script) => {
                let answer = timeout(LOOKUP_TIMEOUT, script(name.to_owned())).await;
                let addresses = answer.map_err(|_| ResolveError::Timeout)??;
                return if addresses.is_empty() {
                    Err(ResolveError::NotFound)
                } else {
                    Ok(addresses.into())
                };
            }
        };
        let now = Instant::now();
        match dns.cache.look(name, now, dns.epoch(now)) {
            Look::Kept(answer) => answer,
            Look::Refresh(addresses) => {
                // Nobody waits for it; what it finds is for the next one.
                let _ = dns.look_up(name, client, Purpose::Refresh);
                Ok(addresses)
            }
            Look::StaleForNow(addresses) => {
                dns.metrics.stale.inc();
                Ok(addresses)
            }
            Look::Stale(addresses) => renew(dns, name, client, addresses).await,
            Look::Missing => demand(dns, name, client).await,
        }
    }
}

/// Waits for a look-up as long as it takes.
async fn demand(dns: &Arc<Dns>, name: &str, client: Option<IpAddr>) -> Answer {
    for _ in 0..TRIES {
        let mut waiting = dns.look_up(name, client, Purpose::Demand)?;
        // The look-up ends by itself; a thread that hangs must not keep those of others.
        match timeout(LOOKUP_TIMEOUT + OVERTIME, waiting.outcome()).await {
            Ok(Some(answer)) => return answer,
            // Those who waited before had gone, or their thread ended.
            Ok(None) => {}
            Err(_) => break,
        }
    }
    Err(ResolveError::Timeout)
}

/// Waits for a look-up a moment, and uses what is there if it fails or takes longer.
async fn renew(dns: &Arc<Dns>, name: &str, client: Option<IpAddr>, stale: Arc<[IpAddr]>) -> Answer {
    let mut waiting: Waiting = dns.look_up(name, client, Purpose::Renewal)?;
    let patience = if dns.source.servers(Instant::now()).are_down() {
        STALE_PATIENCE_DOWN
    } else {
        STALE_PATIENCE
    };
    let until = waiting.started + patience;
    match tokio::time::timeout_at(until, waiting.outcome()).await {
        Ok(Some(Err(error))) if !error.is_outage() => Err(error),
        Ok(Some(Ok(addresses))) => Ok(addresses),
        Ok(Some(Err(_)) | None) | Err(_) => {
            dns.metrics.stale.inc();
            Ok(stale)
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Dns(_) => "Resolver(Dns)",
            Kind::Scripted(_) => "Resolver(Scripted)",
        })
    }
}
