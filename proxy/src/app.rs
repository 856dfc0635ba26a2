//! The order of start and stop: bind everything, say where, then serve; drain at the first signal, abort at the second.
//!
//! It only puts parts together; each part lives in its own file.

use std::future::Future;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use egressway_core::wire::names::PROXY_APP_NAME;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access_log::{AccessLog, Place};
use crate::admin::Admin;
use crate::args::FleetArgs;
use crate::control_metrics::ControlMetrics;
use crate::documents::Documents;
use crate::drain::{self, Times};
use crate::egress_ip::EgressIp;
use crate::listen;
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::resolve::Resolver;
use crate::server::{Limits, Server};
use crate::state::State;
use crate::workers::{self, Workers};

/// Descriptors kept for everything that is not a client connection: health checks, report, look-ups (512), probes (64),
/// pipes (16), files. Where a process may open few, a quarter of them.
const DESCRIPTORS_RESERVED: u64 = 1024;

/// How long the process waits at its end for the reader of its log; a stuck one must not keep it.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Listeners are bound; nothing is served yet.
#[derive(Debug)]
pub struct App {
    args: FleetArgs,
    proxy: Vec<net::TcpListener>,
    addresses: Addresses,
    admin: TcpListener,
    report: TcpListener,
}

/// Where a bound app listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Clients.
    pub proxy: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// The operator.
    pub report: SocketAddr,
}

impl App {
    /// Binds everything that listens.
    ///
    /// # Errors
    /// Which one could not be bound.
    pub fn bind(args: FleetArgs) -> anyhow::Result<Self> {
        let bind = |what: &str, addr: SocketAddr| {
            listen::bind(addr).with_context(|| format!("failed to listen on {addr} for {what}"))
        };
        let proxy = listen::bind_each(args.listen, workers::count())
            .with_context(|| format!("failed to listen on {} for clients", args.listen))?;
        let admin = bind("health and metrics", args.admin)?;
        let report = bind("the report", args.report)?;
        let first = proxy.first().context("no thread accepts clients")?;
        let addresses = Addresses {
            proxy: first.local_addr()?,
            admin: admin.local_addr()?,
            report: report.local_addr()?,
        };
        Ok(Self {
            args,
            addresses,
            proxy,
            admin,
            report,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `first` (then drains) or `second` (then aborts the drain).
    ///
    /// # Errors
    /// What could not be started.
    pub async fn run(
        self,
        first: impl Future<Output = ()>,
        second: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self {
            args,
            addresses,
            proxy,
            admin,
            report,
        } = self;
        let identity = args.identity.clone();
        let limits = limits();
        info!(version = env!("CARGO_PKG_VERSION"), ?addresses, ?identity, ?limits, acl_dir = %args.acl_dir.display(), "starting");
        if !args.insecure_allow.is_empty() {
            warn!(ranges = ?args.insecure_allow, "--insecure-allow opens the SSRF floor: for tests and benchmarks only");
        }

        let state = State::new();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let control = registry.sub_registry_with_prefix("egressway_proxy");
        let control = ControlMetrics::register(control, Arc::clone(&state));
        let resolver = if args.resolver.is_empty() {
            Resolver::from_system()
        } else {
            Resolver::with_nameservers(args.resolver.clone())
        }
        .context("failed to set up the resolver")?;
        let place = Place {
            pod: some(&identity.pod_name),
            node: some(&identity.node_name),
        };
        let log = AccessLog::stdout(place).context("failed to start the access log")?;

        let (stop, kill, end) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(Admin::new(Arc::clone(&state), registry).serve(admin, end.clone()));
        let documents = Documents::new(
            args.acl_dir,
            identity.cell.clone(),
            args.insecure_allow,
            Arc::clone(&state),
            Arc::clone(&control),
        );
        tasks.spawn(documents.follow(end.clone()));
        let egress = EgressIp::new(
            identity.cell.clone(),
            resolver.clone(),
            Arc::clone(&state),
            control,
        );
        tasks.spawn(egress.run(end.clone()));
        tasks.spawn(drain::follow_cell(
            Arc::clone(&state),
            identity.cell.clone(),
            args.drain_delay,
            end.clone(),
        ));
        let reporter = Reporter::new(identity, args.report_key_file.clone(), Arc::clone(&state));
        if !reporter.has_key() {
            warn!(file = %args.report_key_file.display(), "no report key yet: the operator cannot be answered");
        }
        tasks.spawn(reporter.serve(report, end.clone()));

        let own_ports = [addresses.proxy, addresses.admin, addresses.report]
            .map(|addr| addr.port())
            .to_vec();
        let server = Arc::new(Server::new(
            Arc::clone(&state),
            resolver,
            metrics,
            log.clone(),
            limits,
            PROXY_APP_NAME.to_owned(),
            own_ports,
        ));
        let workers =
            Workers::start(&server, proxy, &stop, &kill).context("failed to start the data path")?;
        let served = workers.ended();
        tokio::pin!(served);
        let outcome = tokio::select! {
            () = &mut served => return Err(anyhow!("the data path ended by itself")),
            // Without the loader a pod would enforce yesterday's policy and look well: better to be replaced.
            Some(_) = tasks.join_next() => Err(anyhow!("a task of the control side ended by itself")),
            () = first => Ok(()),
        };
        let abort = CancellationToken::new();
        let times = Times {
            announce: args.drain_delay,
            tunnels: args.drain,
        };
        let drained = drain::process(&state, times, &stop, &kill, &abort, served);
        tokio::pin!(drained);
        tokio::select! {
            () = &mut drained => {}
            () = second => {
                warn!("second signal, the drain is aborted");
                abort.cancel();
                drained.await;
            }
        }
        end.cancel();
        while tasks.join_next().await.is_some() {}
        log.flush(LOG_PATIENCE);
        outcome
    }
}

/// The defaults, within what the process may open: a tunnel takes two descriptors.
fn limits() -> Limits {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Raising the soft limit to the hard one needs no right; where it fails the soft one counts.
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .is_ok();
    let descriptors = if raised { limit.maximum } else { limit.current };
    let defaults = Limits::default();
    let connections = descriptors.map_or(defaults.connections, connections);
    Limits {
        connections: defaults.connections.min(connections),
        ..defaults
    }
}

fn connections(descriptors: u64) -> usize {
    let reserved = DESCRIPTORS_RESERVED.min(descriptors / 4);
    usize::try_from(descriptors.saturating_sub(reserved) / 2).unwrap_or(usize::MAX)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (descriptors, expected) in [
            (1_048_576, 523_776),
            (20_480, 9_728),
            (4096, 1536),
            (1024, 384),
            (256, 96),
        ] {
            assert_eq!(connections(descriptors), expected, "{descriptors}");
        }
    }
}
