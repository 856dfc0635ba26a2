//! How soon a change of the ACL is in force, seen by clients through every pod, and how soon status says so.
//!
//! What a rule means is for `acl` to show.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egressway_crds::EgressPolicy;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client_pod::{Answer, ClientPod};
use crate::cluster::{Cluster, condition};
use crate::fixtures;
use crate::wait::eventually;

/// Changes measured; the figures of docs/measurements.md are of this many.
const CHANGES: usize = 50;
/// Pods of a fleet: four in each cell.
const PODS: usize = 8;
/// Rest of a fleet between two of its changes. A kubelet syncs a pod at most once per relist of its containers (1 s), so
/// changes on each other's heels measure that second; EGRESSWAY_E2E_PACE=0 does.
const PACE: Duration = Duration::from_millis(1300);
/// Fleets that are changed in turn: while one rests, the other is measured.
const FLEETS: [&str; 2] = ["changing", "changing-too"];
/// Namespace of the fleets that are changed.
const TENANT: &str = "e2e-changes";

/// One answer of one pod.
struct Sample {
    pod: String,
    answer: Answer,
}

/// A fleet under measurement.
struct Fleet {
    name: &'static str,
    samples: mpsc::UnboundedReceiver<Sample>,
    policies: BoxStream<'static, Result<EgressPolicy, watcher::Error>>,
    denies: bool,
    rested: Instant,
    /// The longest that a request took.
    slowest_ms: i64,
}

/// How long a change took.
struct Took {
    /// Start of the last request that was answered as before.
    before: Duration,
    /// Start of the first request through the last pod that was answered as wanted. When the pod turned lies between the
    /// two: a client that waits for its turn on the machine asks late.
    enforced: Duration,
    programmed: Duration,
}

impl Fleet {
    /// Waits until all pods serve, and sends requests through each of them from now on.
    async fn watched(
        cluster: &Cluster,
        client: &ClientPod,
        name: &'static str,
        loops: &mut JoinSet<()>,
    ) -> Result<Self> {
        let what = format!("{PODS} serving pods of {name}");
        eventually(&what, Duration::from_secs(120), || async {
            let policy = cluster.policies(TENANT).get(name).await?;
            let status = policy.status.unwrap_or_default();
            let serving = status.pods.iter().filter(|p| p.phase == "Serving").count();
            Ok(
                if usize::try_from(status.ready_replicas)? == PODS && serving == PODS {
                    Ok(())
                } else {
                    Err(format!("{} ready, {serving} serving", status.ready_replicas))
                },
            )
        })
        .await?;
        let pods = cluster.fleet_pods(TENANT, name).await?;
        let pods: Vec<Pod> = pods
            .into_iter()
            .filter(|p| p.metadata.deletion_timestamp.is_none())
            .collect();
        ensure!(pods.len() == PODS, "{PODS} pods, found {}", pods.len());
        let (send, samples) = mpsc::unbounded_channel();
        for pod in pods {
            let ip = pod.status.and_then(|s| s.pod_ip).context("no IP")?;
            let proxy = format!("http://{ip}:4750");
            let args = [
                "loop",
                "--proxy",
                &proxy,
                "-seconds",
                "600",
                "-gap",
                "50ms",
                "http://v4.example.test/",
            ];
            let (pod, send) = (pod.metadata.name.context("no name")?, send.clone());
            let mut child = client
                .command(&args)
                .stdout(std::process::Stdio::piped())
                .spawn()?;
            let lines = child.stdout.take().context("no stdout")?;
            loops.spawn(async move {
                let mut lines = BufReader::new(lines).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(answer) = serde_json::from_str(&line) {
                        let pod = pod.clone();
                        let _ = send.send(Sample { pod, answer });
                    }
                }
                drop(child);
            });
        }
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        Ok(Self {
            name,
            samples,
            policies: watcher(cluster.policies(TENANT), only).applied_objects().boxed(),
            denies: false,
            rested: Instant::now(),
            slowest_ms: 0,
        })
    }

    /// Turns the answer around and waits until every pod and the status have followed.
    async fn change(&mut self, cluster: &Cluster) -> Result<Took> {
        self.denies = !self.denies;
        let action = if self.denies { "Deny" } else { "Allow" };
        let rules = json!([{"name": "echo", "action": action, "hosts": ["*.example.test"], "ports": [{"port": 80}, {"port": 443}]}]);
        let applied = cluster
            .patch_policy(TENANT, self.name, json!({"spec": {"rules": rules}}))
            .await?;
        let (start, start_ms) = (Instant::now(), unix_ms());
        let generation = applied.metadata.generation.context("no generation")?;
        let wanted = if self.denies { 403 } else { 200 };
        let (samples, policies, slowest_ms) = (&mut self.samples, &mut self.policies, &mut self.slowest_ms);
        // The last answer of any pod that was still the old one, and the first new one of each after its last.
        let everywhere = async {
            let (mut since, mut before) = (BTreeMap::<String, i64>::new(), 0);
            while since.len() < PODS {
                let Sample { pod, answer } = samples.recv().await.context("the loops ended")?;
                *slowest_ms = (*slowest_ms).max(answer.duration_ms);
                let after = answer.time_ms - start_ms;
                if after < 0 {
                    continue;
                }
                if answer.status == wanted {
                    since.entry(pod).or_insert(after);
                } else {
                    before = before.max(after);
                    since.remove(&pod);
                }
            }
            Ok((before, since.values().copied().max().context("no pods")?))
        };
        let in_status = async {
            loop {
                let policy = policies.next().await.context("the watch ended")??;
                let config = policy.status.as_ref().and_then(|s| s.config.as_ref());
                let in_force = config.is_some_and(|c| c.generation == generation);
                if in_force && condition(&policy, "Programmed").is_some_and(|c| c.status == "True") {
                    return anyhow::Ok(start.elapsed());
                }
            }
        };
        let ((before, enforced), programmed) = timeout(Duration::from_secs(30), async {
            tokio::try_join!(everywhere, in_status)
        })
        .await
        .with_context(|| format!("a change of {} was not in force after 30 s", self.name))??;
        Ok(Took {
            before: Duration::from_millis(u64::try_from(before)?),
            enforced: Duration::from_millis(u64::try_from(enforced)?),
            programmed,
        })
    }
}

pub(super) async fn measured(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    cluster.apply(&fixtures::edge().to_string()).await?;
    // On each other's heels means those of the same fleet.
    let heels = std::env::var("EGRESSWAY_E2E_PACE").is_ok_and(|pace| pace == "0");
    let (names, pace) = if heels {
        (&FLEETS[..1], Duration::ZERO)
    } else {
        (&FLEETS[..], PACE)
    };
    for name in names {
        let mut policy = fixtures::policy(TENANT, name, fixtures::EDGE, &fixtures::allow_echo());
        policy["spec"]["fleet"]["replicasPerCell"] = json!(PODS / 2);
        cluster.apply(&policy.to_string()).await?;
    }
    // A pod of its own: its loops end with it, not with the kubectl that started them.
    let client = ClientPod::start(&cluster, TENANT, "looping").await?;
    let (mut loops, mut fleets) = (JoinSet::new(), Vec::new());
    for name in names {
        fleets.push(Fleet::watched(&cluster, &client, name, &mut loops).await?);
    }
    let (mut before, mut enforced, mut programmed) = (Vec::new(), Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let turn = change % fleets.len();
        let fleet = fleets.get_mut(turn).context("no fleet")?;
        sleep_until(fleet.rested).await;
        let took = fleet.change(&cluster).await?;
        fleet.rested = Instant::now() + pace;
        before.push(took.before);
        enforced.push(took.enforced);
        programmed.push(took.programmed);
    }
    loops.abort_all();
    client.delete().await?;
    let slowest = fleets.iter().map(|fleet| fleet.slowest_ms).max();
    for (what, times) in [
        ("the last request answered as before", &mut before),
        ("every pod seen to enforce", &mut enforced),
        ("Programmed=True", &mut programmed),
    ] {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
        cluster.note(format!(
            "{what}: p50 {} ms, p95 {} ms, max {} ms over {} changes, {PODS} pods",
            at(50),
            at(95),
            at(100),
            times.len()
        ));
    }
    cluster.note(format!(
        "the slowest of the requests that looked took {} ms",
        slowest.unwrap_or(0)
    ));
    // The aim is 1 s and 2 s; a shared machine may miss it for once, so the test's bar is what would mean that the
    // bump does not work (a kubelet left alone takes 60 to 90 s).
    ensure!(
        enforced.last().is_some_and(|t| *t < Duration::from_secs(10)),
        "slowest: {enforced:?}"
    );
    cluster.leave_namespace(TENANT).await
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
