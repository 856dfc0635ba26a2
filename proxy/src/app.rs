//! The order of start and stop: bind everything, say where, then serve; drain at the first signal, abort at the second.
//!
//! It only puts parts together; each part lives in its own file.

use std::future::Future;
use std::io::Write;
use std::net::{self, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use egressway_core::wire::names::PROXY_APP_NAME;
use egressway_core::wire::report::Phase;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::access_log::{AccessLog, LogFile, Place};
use crate::admin::{Admin, Control, LogLevel};
use crate::alone;
use crate::args::FleetArgs;
use crate::control_metrics::ControlMetrics;
use crate::documents::{Documents, Settings, Source, compile_with_secrets};
use crate::drain::{self, Times};
use crate::egress_ip::EgressIp;
use crate::hangup::Hangups;
use crate::input;
use crate::limits::descriptors::Descriptors;
use crate::limits::gauges::Gauges;
use crate::limits::governor::Governor;
use crate::limits::memory::Memory;
use crate::listen;
use crate::metrics::Metrics;
use crate::own_addresses::{self, OwnAddresses};
use crate::own_log::OwnLog;
use crate::report::Reporter;
use crate::resolve::Resolver;
use crate::server::{Limits, Server};
use crate::state::State;
use crate::upstream_tls::Roots;
use crate::workers::{self, Workers};

/// How long clients wait in the listener's queue for the documents to be read and the first phase to be known, so that
/// whoever connects in the first milliseconds is served and not told that the pod is starting.
const FIRST_WORD: Duration = Duration::from_millis(500);
/// How long the process waits at its end for the reader of its log; a stuck one must not keep it.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Listeners are bound; nothing is served yet.
#[derive(Debug)]
pub struct App {
    args: FleetArgs,
    proxy: Vec<net::TcpListener>,
    addresses: Addresses,
    admin: TcpListener,
    /// None without an operator that could ask.
    report: Option<TcpListener>,
    source: Source,
    log_level: LogLevel,
    /// Absent where somebody else writes to standard error.
    own_log: Option<OwnLog>,
}

/// Where a bound app listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Clients.
    pub proxy: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// The operator; absent alone.
    pub report: Option<SocketAddr>,
}

impl App {
    /// Binds everything that listens; alone, after it has read the policy, because there is no older one to go on with.
    ///
    /// # Errors
    /// Which one could not be bound, or why the policy cannot be enforced.
    pub fn bind(args: FleetArgs) -> anyhow::Result<Self> {
        let bind = |what: &str, addr: SocketAddr| {
            listen::bind(addr).with_context(|| format!("failed to listen on {addr} for {what}"))
        };
        for file in [&args.roots, &args.admin_token_file].into_iter().flatten() {
            input::must_last(file)?;
        }
        if args.policy.is_some() {
            OwnAddresses::can_be_asked().context(
                "failed to list the addresses of this machine, which clients must not reach (AF_NETLINK has to be allowed)",
            )?;
        }
        let source = source(&args)?;
        let proxy = listen::bind_each(args.listen, workers::count())
            .with_context(|| format!("failed to listen on {} for clients", args.listen))?;
        let admin = bind("health and metrics", args.admin)?;
        let report = match args.policy {
            None => Some(bind("the report", args.report)?),
            Some(_) => None,
        };
        let first = proxy.first().context("no thread accepts clients")?;
        let addresses = Addresses {
            proxy: first.local_addr()?,
            admin: admin.local_addr()?,
            report: report.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        Ok(Self {
            args,
            addresses,
            proxy,
            admin,
            report,
            source,
            log_level: LogLevel::fixed(),
            own_log: None,
        })
    }

    /// With a way to change what the process logs about itself.
    #[must_use]
    pub fn with_log_level(mut self, log_level: LogLevel) -> Self {
        self.log_level = log_level;
        self
    }

    /// With the way to standard error that the process has.
    #[must_use]
    pub fn with_own_log(mut self, own_log: OwnLog) -> Self {
        self.own_log = Some(own_log);
        self
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
            source,
            log_level,
            own_log,
        } = self;
        let identity = args.identity.clone();
        let descriptors = descriptors();
        let limits = limits(&descriptors);
        let governor = Governor::new(args.memory_limit);
        let memory = Memory::of(governor.limit());
        info!(
            version = env!("CARGO_PKG_VERSION"),
            proxy = %addresses.proxy,
            admin = %addresses.admin,
            report = addresses.report.map(tracing::field::display),
            pod = identity.pod_name,
            pod_uid = identity.pod_uid,
            node = identity.node_name,
            cell = identity.cell,
            connections = limits.connections,
            connections_max = limits.connections_max,
            memory = governor.limit(),
            from = %args.policy.as_ref().unwrap_or(&args.acl_dir).display(),
            "starting"
        );
        if !args.insecure_allow.is_empty() {
            warn!(ranges = ?args.insecure_allow, "--insecure-allow opens the SSRF floor: for tests and benchmarks only");
        }

        let hangups = Hangups::new().context("failed to listen for signals")?;
        let state = State::new();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let roots = match args.roots {
            Some(file) => Roots::from_file(file).context("failed to use --roots")?,
            None => Roots::built_in(),
        };
        let control = registry.sub_registry_with_prefix("egressway_proxy");
        roots.register(control);
        if let Some(own_log) = &own_log {
            let help = "Lines about the process itself, lost because nobody read standard error";
            control.register("own_log_lines_dropped", help, own_log.dropped());
        }
        governor.register(control);
        let resolver = if args.resolver.is_empty() {
            Resolver::from_system()
        } else {
            Resolver::with_nameservers(args.resolver.clone()).context("failed to set up the resolver")?
        };
        let resolver = resolver.within(descriptors.lookups);
        resolver.register(control);
        let control = ControlMetrics::register(control, Arc::clone(&state));
        let place = Place {
            pod: some(&identity.pod_name),
            node: some(&identity.node_name),
        };
        let writer: Box<dyn Write + Send> = match &args.log_file {
            None => Box::new(std::io::stdout()),
            Some(file) => Box::new(
                LogFile::open(file.clone(), hangups.reopen())
                    .with_context(|| format!("failed to open {}", file.display()))?,
            ),
        };
        let log = AccessLog::new(writer, place, args.log_format, metrics.log_lines_dropped.clone())
            .context("failed to start the access log")?;

        let (stop, kill, end) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let mut tasks = JoinSet::new();
        let own = own_addresses::Known {
            given: args.own_address,
            opened: args.allow_own_address,
        };
        let seen = args.policy.is_some().then(|| state.watch_egress());
        let own = OwnAddresses::new(own, seen);
        let documents = Documents::new(
            source,
            identity.cell.clone(),
            args.insecure_allow,
            Arc::clone(&state),
            Arc::clone(&control),
        )
        .with_own_addresses(own)
        .woken_by(hangups.reload());
        tasks.spawn(documents.follow(end.clone()));
        tasks.spawn(Arc::clone(&roots).follow(end.clone()));
        tasks.spawn(hangups.follow(end.clone()));
        let egress = EgressIp::new(
            identity.cell.clone(),
            resolver.clone(),
            Arc::clone(&state),
            control,
        )
        .with_roots(Arc::clone(&roots));
        tasks.spawn(egress.run(end.clone()));
        tasks.spawn(drain::follow_cell(
            Arc::clone(&state),
            identity.cell.clone(),
            args.drain_delay,
            end.clone(),
        ));
        if let Some(listener) = report {
            let reporter = Reporter::new(identity, args.report_key_file.clone(), Arc::clone(&state));
            if !reporter.has_key() {
                warn!(
                    file = %args.report_key_file.display(),
                    "no report key yet: the operator cannot be answered; outside of a fleet --policy FILE runs alone"
                );
            }
            tasks.spawn(reporter.serve(listener, end.clone()));
        }

        let own_ports = [Some(addresses.proxy), Some(addresses.admin), addresses.report];
        let own_ports = own_ports.iter().flatten().map(SocketAddr::port).collect();
        let server = Server::new(
            Arc::clone(&state),
            resolver,
            metrics,
            log.clone(),
            limits,
            PROXY_APP_NAME.to_owned(),
            own_ports,
        );
        let server = server.with_roots(roots).with_descriptors(descriptors);
        let server = Arc::new(server.with_memory(memory.clone()));
        registry
            .sub_registry_with_prefix("egressway_proxy")
            .register_collector(Box::new(Gauges::new(
                memory.clone(),
                Arc::clone(server.strangers()),
                log.clone(),
            )));
        let relieve = {
            let server = Arc::clone(&server);
            move || server.relieve()
        };
        tasks.spawn(governor.run(memory, relieve, end.clone()));
        let mut health = Admin::new(Arc::clone(&state), registry);
        if let Some(file) = args.admin_token_file.clone() {
            let server = Arc::clone(&server);
            let seen = move || server.tunnels();
            let control = Control::new(file, seen, log_level).context("failed to read the admin token")?;
            health = health.with_control(control);
        }
        tasks.spawn(Arc::new(health).serve(admin, end.clone()));
        let mut phase = state.watch_phase();
        let known = phase.wait_for(|phase| *phase != Phase::Starting);
        // Late is not wrong: what is accepted by then is refused with the reason.
        let _ = tokio::time::timeout(FIRST_WORD, known).await;
        let workers =
            Workers::start(&server, proxy, &stop, &kill).context("failed to start the data path")?;
        let served = workers.ended();
        tokio::pin!(served);
        let _announcement = args.policy.zip(own_log).map(|(file, own_log)| {
            let greeting = greet(Arc::clone(&state), file, addresses, own_log);
            AbortOnDropHandle::new(tokio::spawn(greeting))
        });
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

/// Where the documents come from. A manifest that cannot be enforced is refused here, with every problem.
fn source(args: &FleetArgs) -> anyhow::Result<Source> {
    let Some(file) = &args.policy else {
        anyhow::ensure!(
            !args.has_nothing_to_enforce(),
            "there is nothing to enforce: name a policy with --policy FILE (egressway-proxy --help says the rest); without \
             one this is a pod of a fleet, whose documents stand in {}, which does not exist",
            args.acl_dir.display()
        );
        return Ok(args.acl_dir.clone().into());
    };
    let source = alone::Source::open(file.clone(), args.secrets_dir.clone())?;
    let documents = source.read()?;
    let settings = Settings {
        insecure_allow: args.insecure_allow.clone(),
        ..Settings::default()
    };
    compile_with_secrets(&documents, &settings)?;
    Ok(source.into())
}

/// Says what is enforced and where, once it is: for the person who started it.
async fn greet(state: Arc<State>, file: PathBuf, addresses: Addresses, own_log: OwnLog) {
    let mut phase = state.watch_phase();
    if phase.wait_for(|phase| *phase == Phase::Serving).await.is_err() {
        return;
    }
    let in_force = state.in_force();
    let Some(policy) = in_force.policy() else { return };
    let clients = match policy.clients().len() {
        0 if !addresses.proxy.ip().is_loopback() => {
            "whoever reaches it may use it: the policy names no clients"
        }
        0 => "every user of this machine may use it",
        _ => "clients need a credential",
    };
    own_log.say(format_args!(
        "egressway-proxy {} enforces {}/{} of {} (mode {:?}, {} rules); proxy on {}, health and metrics on {}; {clients}",
        env!("CARGO_PKG_VERSION"),
        policy.namespace(),
        policy.name(),
        input::name(&file),
        in_force.wall.caps.mode(policy.mode()),
        policy.rule_settings().count(),
        addresses.proxy,
        addresses.admin,
    ));
}

/// The defaults, within what the process may open: a tunnel takes two descriptors.
fn limits(descriptors: &Descriptors) -> Limits {
    let defaults = Limits::default();
    Limits {
        connections: defaults.connections.min(descriptors.connections_max),
        connections_max: descriptors.connections_max,
        ..defaults
    }
}

/// What the process may open, once it has asked for as much as it can have.
fn descriptors() -> Descriptors {
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
    Descriptors::of(if raised { limit.maximum } else { limit.current })
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
