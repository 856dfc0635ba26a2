//! When to ask which pod, and when to nudge: often while something is under way, seldom when all is settled.
//!
//! A kubelet refreshes a mounted ConfigMap after 60 to 90 s by itself, and at once when an annotation of the pod
//! changes. A nudge can outrun the kubelet's own watch of the ConfigMap, so it is repeated while a report is old.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::names;
use egressway_core::wire::report::Report;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::reflector::ObjectRef;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Reports, Wanted, ask};
use crate::cluster::caches::Caches;
use crate::context::Wakes;
use crate::desired::secret;
use crate::metrics::Metrics;

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(25);
/// Between two questions to a pod that has what it should have. A quarantine shows this much later at most.
const SETTLED: Duration = Duration::from_secs(2);
/// Between two questions to a pod that has not.
const PENDING: Duration = Duration::from_millis(60);
/// After so long a pod that still has not is asked as seldom as a settled one.
const PENDING_FOR: Duration = Duration::from_secs(20);
/// From a written ConfigMap to the first nudge: a kubelet that syncs the pod before it has heard of the ConfigMap
/// writes the old one, and the nudge is lost.
const NUDGE_FIRST: Duration = Duration::from_millis(50);
/// Between two nudges at first, and from [`NUDGE_SLOW_AFTER`] on. A kubelet takes 0.2 s from nudge to file.
const NUDGE: Duration = Duration::from_millis(300);
/// See [`NUDGE`].
const NUDGE_SLOW: Duration = Duration::from_secs(10);
/// See [`NUDGE`].
const NUDGE_SLOW_AFTER: Duration = Duration::from_secs(5);
/// While an ACL is on its way, news of single pods waits so long for the rest: one status instead of one per pod.
const TOGETHER: Duration = Duration::from_secs(2);
/// Questions and nudges at one time.
const IN_FLIGHT_MAX: usize = 256;

/// Asks and nudges.
#[allow(missing_debug_implementations)]
pub struct Poller {
    /// The API server, for nudges.
    pub client: Client,
    /// Who there is to ask.
    pub caches: Caches,
    /// Where fleets run.
    pub fleet_namespace: String,
    /// Where answers go.
    pub reports: Arc<Reports>,
    /// Who is woken by news.
    pub wakes: Arc<Wakes>,
    /// Counts and times.
    pub metrics: Metrics,
}

#[derive(Default)]
struct Due {
    asked: Option<Instant>,
    nudged: Option<Instant>,
    asking: bool,
}

enum Done {
    Asked {
        pod: Target,
        outcome: Box<Result<Report, ask::Error>>,
    },
    Nudged,
}

#[derive(Clone)]
struct Target {
    uid: String,
    name: String,
    ip: IpAddr,
    policy: (String, String),
    policy_uid: String,
    key: String,
}

impl Poller {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (mut due, mut running): (HashMap<String, Due>, JoinSet<Done>) = Default::default();
        let mut in_sync: HashSet<String> = HashSet::new();
        let mut held: HashMap<String, (String, String)> = HashMap::new();
        let mut nudges: u64 = 0;
        loop {
            let targets = self.targets();
            held.retain(|policy, (namespace, name)| {
                let wait = self.on_its_way(policy, &targets);
                if !wait {
                    self.wakes.policy(namespace, name);
                }
                wait
            });
            due.retain(|uid, _| targets.iter().any(|target| target.uid == *uid));
            in_sync.retain(|policy| targets.iter().any(|target| target.policy_uid == *policy));
            self.reports
                .retain(|uid| due.contains_key(uid) || targets.iter().any(|target| target.uid == uid));
            let now = Instant::now();
            for target in &targets {
                let wanted = self.reports.wanted(&target.policy_uid);
                let report = self.reports.of(&target.uid).report;
                let synced = wanted
                    .as_ref()
                    .is_none_or(|wanted| has(report.as_ref(), target, wanted));
                let since = wanted.map_or(Duration::ZERO, |wanted| now.duration_since(wanted.at));
                let state = due.entry(target.uid.clone()).or_default();
                let pause = if synced || since > PENDING_FOR {
                    SETTLED
                } else {
                    PENDING
                };
                if running.len() >= IN_FLIGHT_MAX {
                    break;
                }
                if !state.asking && state.asked.is_none_or(|at| now.duration_since(at) >= pause) {
                    (state.asked, state.asking) = (Some(now), true);
                    let pod = target.clone();
                    running.spawn(async move {
                        let outcome = Box::new(ask::ask(pod.ip, &pod.uid, &pod.key).await);
                        Done::Asked { pod, outcome }
                    });
                }
                // A pod that never answered has not started; it mounts what is there when it does.
                let again = if since > NUDGE_SLOW_AFTER {
                    NUDGE_SLOW
                } else {
                    NUDGE
                };
                if !synced
                    && since >= NUDGE_FIRST
                    && report.is_some()
                    && state.nudged.is_none_or(|at| now.duration_since(at) >= again)
                {
                    state.nudged = Some(now);
                    nudges += 1;
                    running.spawn(self.nudge(target, nudges));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = running.join_next() => {
                    if let Ok(Done::Asked { pod, outcome }) = done {
                        if let Some(state) = due.get_mut(&pod.uid) {
                            state.asking = false;
                        }
                        if self.note(&pod, *outcome) {
                            held.insert(pod.policy_uid.clone(), pod.policy.clone());
                        }
                        self.measure(&pod, &mut in_sync);
                    }
                }
                () = self.reports.changed.notified() => {
                    // News for some policy: everybody of it is due at once.
                    for state in due.values_mut() {
                        state.nudged = None;
                    }
                    in_sync.clear();
                }
                () = sleep(TICK) => {}
            }
        }
    }

    /// Pods that run and have an address, each with its fleet's key.
    fn targets(&self) -> Vec<Target> {
        let mut keys: HashMap<String, Option<String>> = HashMap::new();
        let pods = self.caches.pods.state();
        pods.iter()
            .filter_map(|pod| self.target(pod, &mut keys))
            .collect()
    }

    fn target(&self, pod: &Pod, keys: &mut HashMap<String, Option<String>>) -> Option<Target> {
        let status = pod.status.as_ref()?;
        if status.phase.as_deref() != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let label = |key: &str| pod.labels().get(key).cloned();
        let fleet = label(names::FLEET_LABEL)?;
        let key = keys.entry(fleet.clone()).or_insert_with(|| {
            let secret = self
                .caches
                .secrets
                .get(&ObjectRef::<Secret>::new(&fleet).within(&self.fleet_namespace));
            secret.as_deref().and_then(secret::key)
        });
        Some(Target {
            uid: pod.uid()?,
            name: pod.name_any(),
            ip: status.pod_ip.as_ref()?.parse().ok()?,
            policy: (
                label(names::POLICY_NAMESPACE_LABEL)?,
                label(names::POLICY_NAME_LABEL)?,
            ),
            policy_uid: label(names::POLICY_UID_LABEL)?,
            key: key.clone()?,
        })
    }

    /// Whether some pods of a policy are still about to get what they should have.
    fn on_its_way(&self, policy_uid: &str, targets: &[Target]) -> bool {
        let Some(wanted) = self.reports.wanted(policy_uid) else {
            return false;
        };
        let mut fleet = targets.iter().filter(|target| target.policy_uid == policy_uid);
        wanted.at.elapsed() < TOGETHER
            && fleet.any(|target| !has(self.reports.of(&target.uid).report.as_ref(), target, &wanted))
    }

    /// Notes an answer; true when status shows it.
    fn note(&self, pod: &Target, outcome: Result<Report, ask::Error>) -> bool {
        match outcome {
            Ok(report) => self.reports.answered(&pod.uid, report),
            Err(error) => {
                let turned = self.reports.unanswered(&pod.uid);
                if turned {
                    tracing::warn!(
                        pod = pod.name,
                        error = &error as &dyn std::error::Error,
                        "a pod does not report"
                    );
                }
                turned
            }
        }
    }

    /// Once all pods of a policy have what they should have: how long that took.
    fn measure(&self, pod: &Target, in_sync: &mut HashSet<String>) {
        if in_sync.contains(&pod.policy_uid) {
            return;
        }
        let Some(wanted) = self.reports.wanted(&pod.policy_uid) else {
            return;
        };
        let all = self.targets();
        let mut fleet = all.iter().filter(|other| other.policy_uid == pod.policy_uid);
        if fleet.all(|other| has(self.reports.of(&other.uid).report.as_ref(), other, &wanted)) {
            in_sync.insert(pod.policy_uid.clone());
            self.metrics.propagated(wanted.at.elapsed());
        }
    }

    /// Touches an annotation of the pod, with a value that was not there before.
    fn nudge(&self, target: &Target, count: u64) -> impl Future<Output = Done> + Send + use<> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.fleet_namespace);
        let hash = self
            .reports
            .wanted(&target.policy_uid)
            .map(|wanted| wanted.hashes.policy)
            .unwrap_or_default();
        let hash: String = hash.trim_start_matches("sha256:").chars().take(12).collect();
        let value = format!("{hash}-{}-{count}", jiff::Timestamp::now().as_second());
        let (name, uid) = (target.name.clone(), target.uid.clone());
        async move {
            let patch =
                json!({"metadata": {"uid": uid, "annotations": {names::CONFIG_HASH_ANNOTATION: value}}});
            let patched = api
                .patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            match patched {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => {
                    tracing::warn!(
                        pod = name,
                        error = &error as &dyn std::error::Error,
                        "failed to nudge a pod"
                    );
                }
            }
            Done::Nudged
        }
    }
}

fn has(report: Option<&Report>, target: &Target, wanted: &Wanted) -> bool {
    report.is_some_and(|report| {
        let (namespace, name) = &target.policy;
        let policy = report
            .policies
            .iter()
            .find(|p| p.namespace == *namespace && p.name == *name);
        policy.is_some_and(|policy| policy.hash == wanted.hashes.policy)
            && report.floor_hash == wanted.hashes.floor
            && report.pool_hash == wanted.hashes.pool
    })
}
