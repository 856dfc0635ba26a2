//! Names to addresses: the only DNS in the process.
//!
//! Names are absolute, so there is no search list; no hosts file, no mDNS. It decides nothing about addresses: every
//! one of them goes through `Permit::vet` before anything can be dialled, and a request resolves its name once.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest a look-up takes in all: Smokescreen's figure, and below what clients wait for a proxy.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one answer; two attempts and a change of server fit into [`LOOKUP_TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// After one family answered, how long the other may still take: a server that drops AAAA must not cost seconds
/// (RFC 8305 waits 50 ms; resolvers two hops away need more).
const OTHER_FAMILY_GRACE: Duration = Duration::from_millis(250);
/// Shortest that an answer is kept, so that a TTL of 0 does not turn each request into a query.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest that an answer is kept: an address taken out of service is dialled no longer than this.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Longest that a missing name is remembered: whoever just created it retries within seconds.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(10);
/// Answers kept, a few hundred bytes each.
const CACHE_ANSWERS_MAX: u64 = 8192;
/// Look-ups at one time; more wait for their turn within their own deadline. Each holds a socket or two.
const IN_FLIGHT_MAX: usize = 512;
/// Most addresses taken from one answer; the largest CDN answers have 16 per family.
const ADDRESSES_MAX: usize = 64;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has neither A nor AAAA.
    #[error("the name has no address")]
    NotFound,
    /// No answer in [`LOOKUP_TIMEOUT`].
    #[error("the name was not resolved in time")]
    Timeout,
    /// An error from every server.
    #[error("failed to resolve the name")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `/etc/resolv.conf` cannot be read.
    #[error("failed to read the system's resolver configuration")]
    SystemConfig(#[source] Box<NetError>),
    /// It lists no server.
    #[error("the resolver configuration lists no name server")]
    NoNameServers,
    /// The resolver refused its own configuration.
    #[error("failed to build the resolver")]
    Build(#[source] Box<NetError>),
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send>>;
type Script = dyn Fn(String) -> Answer + Send + Sync;

/// Names to addresses.
#[derive(Clone)]
pub struct Resolver(Kind);

#[derive(Clone)]
enum Kind {
    Dns(Arc<Dns>),
    Scripted(Arc<Script>),
}

struct Dns {
    resolver: TokioResolver,
    in_flight: Semaphore,
}

impl Resolver {
    /// Asks the name servers of `/etc/resolv.conf`; its search list and options are left aside.
    ///
    /// # Errors
    /// The file is not readable, or lists no server.
    pub fn from_system() -> Result<Self, SetupError> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| SetupError::SystemConfig(Box::new(error)))?;
        Self::build(config.name_servers().to_vec())
    }

    /// Asks these name servers.
    ///
    /// # Errors
    /// The list is empty.
    pub fn with_nameservers(servers: Vec<SocketAddr>) -> Result<Self, SetupError> {
        Self::build(servers.into_iter().map(name_server).collect())
    }

    /// Asks a function; for tests and benchmarks.
    pub fn scripted<F, A>(answer: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'static,
    {
        Self(Kind::Scripted(Arc::new(move |name| Box::pin(answer(name)))))
    }

    fn build(servers: Vec<NameServerConfig>) -> Result<Self, SetupError> {
        if servers.is_empty() {
            return Err(SetupError::NoNameServers);
        }
        let config = ResolverConfig::from_name_servers(servers);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options())
            .build()
            .map_err(|error| SetupError::Build(Box::new(error)))?;
        Ok(Self(Kind::Dns(Arc::new(Dns {
            resolver,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        }))))
    }

    /// The addresses of a name (in normal form, without the trailing dot), both families, never empty.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let answer = async {
            match &self.0 {
                Kind::Dns(dns) => dns.both_families(name).await,
                Kind::Scripted(script) => script(name.to_owned()).await,
            }
        };
        let mut addresses = timeout(LOOKUP_TIMEOUT, answer)
            .await
            .map_err(|_| ResolveError::Timeout)??;
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(ResolveError::NotFound);
        }
        Ok(addresses)
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

impl Dns {
    async fn both_families(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        // The semaphore is never closed, so waiting for it cannot fail; the caller's deadline bounds the wait.
        let _turn = self.in_flight.acquire().await;
        // The dot makes it absolute: no search list, whatever ndots says.
        let name =
            Name::from_ascii(format!("{name}.")).map_err(|error| ResolveError::Failed(Box::new(error)))?;
        let (v6, v4) = (
            self.query(name.clone(), RecordType::AAAA),
            self.query(name, RecordType::A),
        );
        let (v6, v4) = (std::pin::pin!(v6), std::pin::pin!(v4));
        // Whichever family answers first with addresses gives the other a moment; without addresses it waits it out.
        match futures::future::select(v6, v4).await {
            futures::future::Either::Left((first, second)) => other(first, second).await,
            futures::future::Either::Right((first, second)) => other(first, second).await,
        }
    }

    async fn query(&self, name: Name, kind: RecordType) -> Result<Vec<IpAddr>, ResolveError> {
        match self.resolver.lookup(name, kind).await {
            Ok(answer) => Ok(answer
                .answers()
                .iter()
                .filter_map(|record| address(&record.data))
                .collect()),
            Err(error) if error.is_no_records_found() => Err(ResolveError::NotFound),
            Err(NetError::Timeout) => Err(ResolveError::Timeout),
            Err(error) => Err(ResolveError::Failed(Box::new(error))),
        }
    }
}

async fn other(
    first: Result<Vec<IpAddr>, ResolveError>,
    second: impl Future<Output = Result<Vec<IpAddr>, ResolveError>>,
) -> Result<Vec<IpAddr>, ResolveError> {
    let second = match &first {
        Ok(addresses) if !addresses.is_empty() => timeout_at(Instant::now() + OTHER_FAMILY_GRACE, second)
            .await
            .unwrap_or(Err(ResolveError::Timeout)),
        Ok(_) | Err(_) => second.await,
    };
    match (first, second) {
        (Ok(mut addresses), Ok(more)) => {
            addresses.extend(more);
            Ok(addresses)
        }
        (Ok(addresses), Err(_)) | (Err(_), Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        // A family without records says nothing about the other's failure, which is the news.
        (Err(ResolveError::NotFound) | Ok(_), Err(error)) | (Err(error), Err(_) | Ok(_)) => Err(error),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .collect();
    NameServerConfig::new(address.ip(), true, connections)
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = ATTEMPT_TIMEOUT;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = CACHE_ANSWERS_MAX;
    options.use_hosts_file = ResolveHosts::Never;
    options.positive_min_ttl = Some(TTL_MIN);
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_min_ttl = Some(TTL_MIN);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.max_active_requests = IN_FLIGHT_MAX * 2;
    options
}
