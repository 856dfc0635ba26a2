//! The process: client, caches, poller, two controllers, admin port; and their end.
//!
//! It only puts parts together; each part lives in its own file.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::Client;
use kube::runtime::controller::{Config, Controller};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::args::OperatorArgs;
use crate::cluster::caches::{Caches, Writers, caches};
use crate::cluster::client_pods::{self, ClientPods};
use crate::cluster::health::Health;
use crate::cluster::issuer::Issuers;
use crate::cluster::memory::Memory;
use crate::cluster::watching::LASTS;
use crate::cluster::{discover, orphans};
use crate::context::{Context, Wakes};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::reports::Reports;
use crate::reports::poll::Poller;
use crate::{egress_policy, egress_pool, name_servers};

/// Objects reconciled at one time; each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Between two looks for fleets whose policy is gone.
const ORPHANS: Duration = Duration::from_secs(60);
/// Time for discovery's caches to be filled.
const DISCOVERY: Duration = Duration::from_secs(5);
/// Time for a connection to the API server, which is in the same cluster.
const CONNECT: Duration = Duration::from_secs(5);
/// For the end of a watch to arrive after its time.
const MARGIN: Duration = Duration::from_secs(5);
/// Time for runs under way to end after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Is the operator until `stop` resolves.
///
/// # Errors
/// What could not be started.
pub async fn run(args: OperatorArgs, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let listener = admin::bind(args.admin)
        .await
        .with_context(|| format!("failed to listen on {}", args.admin))?;
    let client = client().await?;
    let found = name_servers::read(Path::new(name_servers::RESOLV_CONF));
    let settings = args.settings(client.default_namespace(), &found);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %args.admin,
        fleet_namespace = settings.fleet_namespace,
        operator_namespace = settings.operator_namespace,
        proxy_image = settings.proxy_image,
        cluster_domain = settings.cluster_domain,
        internal_cidrs = settings.internal_cidrs.join(","),
        never_cidrs = settings.never_cidrs.join(","),
        name_servers = settings.name_servers.join(","),
        "starting"
    );
    if settings.name_servers.is_empty() {
        tracing::warn!(
            "no name server is known: where network policies are enforced, fleets look no name up; give --name-server"
        );
    }

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (caches, writers): (Caches, Writers) = caches();
    let wakes = Arc::new(Wakes::new(&caches));
    let health = Arc::new(Health::new(metrics.clone(), Arc::clone(&wakes)));
    let admin = Arc::new(Admin {
        ready: AtomicBool::new(false),
        health: Arc::clone(&health),
        registry,
    });
    let reports = Arc::new(Reports::default());
    let (end, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(Arc::clone(&admin).serve(listener, end.clone()));
    writers.watch(&client, &settings.fleet_namespace, &wakes, &health, &mut tasks);
    let (client_pods, issuers) = (Arc::new(ClientPods::default()), Arc::new(Issuers::default()));
    tasks.spawn(Arc::clone(&client_pods).watch(client.clone(), health));
    tasks.spawn(client_pods::pace::run(
        Arc::clone(&client_pods),
        Arc::clone(&wakes),
    ));
    tokio::pin!(stop);
    let ready = async { futures::join!(caches.ready(), client_pods.ready(), issuers.start(&client)) };
    tokio::select! {
        _ = ready => {}
        () = &mut stop => return Ok(()),
    }
    // A floor without ranges that are about to be found would be written, and written again a moment later. Not for
    // ever: a cluster may lack the kind.
    if tokio::time::timeout(DISCOVERY, caches.discovered())
        .await
        .is_err()
    {
        tracing::warn!("not everything about the cluster's own ranges could be read; going on without");
    }
    let known = discover::knows_pod_ranges(&caches, &settings);
    metrics.pod_ranges(known);
    if !known {
        let next = "name the ranges of pods in the chart's value operator.internalCIDRs";
        tracing::warn!(
            next,
            "no range of pods was found: pods on public-looking addresses are not part of the floor"
        );
    }
    admin.ready.store(true, Ordering::Relaxed);

    let poller = Poller {
        client: client.clone(),
        caches: caches.clone(),
        fleet_namespace: settings.fleet_namespace.clone(),
        reports: Arc::clone(&reports),
        wakes: Arc::clone(&wakes),
        metrics: metrics.clone(),
    };
    tasks.spawn(poller.run(end.clone()));
    tasks.spawn(Arc::clone(&issuers).keep(client.clone(), Arc::clone(&wakes)));
    let ctx = Arc::new(Context {
        client: client.clone(),
        caches,
        client_pods,
        issuers,
        memory: Memory::default(),
        reports,
        wakes,
        settings,
        metrics,
        events: Events::new(client, std::env::var("HOSTNAME").ok()),
        now: Timestamp::now,
        since: Timestamp::now(),
    });
    ctx.wakes.everything();
    tasks.spawn(collect_orphans(Arc::clone(&ctx)));
    let controllers = controllers(&ctx, &end);
    tokio::pin!(controllers);
    tokio::select! {
        () = &mut controllers => anyhow::bail!("the controllers ended"),
        () = &mut stop => {}
    }
    tracing::info!("stopping; fleets serve on");
    end.cancel();
    if tokio::time::timeout(GRACE, controllers).await.is_err() {
        tracing::warn!("runs under way did not end in time");
    }
    tasks.abort_all();
    Ok(())
}

/// The client of the whole process. What is not answered for longer than a watch lasts comes from a connection that is dead.
async fn client() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer()
        .await
        .context("failed to configure the Kubernetes client")?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(LASTS + MARGIN);
    config.write_timeout = Some(LASTS);
    Client::try_from(config).context("failed to configure the Kubernetes client")
}

/// Rare by nature, so seldom; not at once, so that a restart has better things to do first.
async fn collect_orphans(ctx: Arc<Context>) {
    loop {
        tokio::time::sleep(ORPHANS).await;
        if let Err(error) = egress_policy::within(orphans::collect(&ctx)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "failed to delete a fleet whose policy is gone"
            );
        }
    }
}

async fn controllers(ctx: &Arc<Context>, end: &CancellationToken) {
    let config = || Config::default().concurrency(CONCURRENCY);
    let policies = Controller::for_stream(stream::pending(), ctx.caches.policies.clone())
        .with_config(config())
        .reconcile_on(Arc::clone(&ctx.wakes.policies).stream())
        .graceful_shutdown_on(end.clone().cancelled_owned())
        .run(
            egress_policy::reconcile,
            egress_policy::error_policy,
            Arc::clone(ctx),
        )
        .for_each(|_| async {});
    let pools = Controller::for_stream(stream::pending(), ctx.caches.pools.clone())
        .with_config(config())
        .reconcile_on(Arc::clone(&ctx.wakes.pools).stream())
        .graceful_shutdown_on(end.clone().cancelled_owned())
        .run(egress_pool::reconcile, egress_pool::error_policy, Arc::clone(ctx))
        .for_each(|_| async {});
    // Errors were logged and counted by each error_policy.
    futures::join!(policies, pools);
}
