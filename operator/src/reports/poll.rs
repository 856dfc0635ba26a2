//! When to ask which pod, and when to nudge: often while something is under way, seldom when all is settled.
//!
//! A kubelet refreshes a mounted ConfigMap after 60 to 90 s by itself, and at once when an annotation of the pod
//! changes. A nudge can outrun the kubelet's own watch of the ConfigMap, so it is repeated while a report is old.

mod has;
mod places;

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
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::has::{Has, has};
use self::places::{Places, turn};
use super::{Reports, Wanted, ask};
use crate::cluster::caches::Caches;
use crate::context::Wakes;
use crate::desired::{Hashes, secret};
use crate::metrics::Metrics;

/// How often it is looked who is due while some pod has not what it should have, and when all have.
const TICK: Duration = Duration::from_millis(25);
/// See [`TICK`]. A tick costs a look at every pod; a thousand settled ones must not cost a core.
const TICK_SETTLED: Duration = Duration::from_millis(200);
/// How often the list of pods is made anew when no watch asks for it: a report key may have changed.
const LIST: Duration = Duration::from_secs(1);
/// Between two questions to a pod that has what it should have. A quarantine shows this much later at most.
const SETTLED: Duration = Duration::from_secs(2);
/// Between two questions to a pod that has not.
const PENDING: Duration = Duration::from_millis(60);
/// The same where only client pods are missing: nobody waits for the answer, except the next nudge.
const PENDING_CLIENTS: Duration = Duration::from_millis(200);
/// After so long a pod that still has not is asked as seldom as a settled one.
const PENDING_FOR: Duration = Duration::from_secs(20);
/// From a written ConfigMap to the first nudge: a kubelet that syncs the pod before it has heard of the ConfigMap
/// writes the old one, and the nudge is lost.
const NUDGE_FIRST: Duration = Duration::from_millis(50);
/// Between two nudges at first. A kubelet takes 0.2 s from nudge to file.
const NUDGE: Duration = Duration::from_millis(300);
/// Time for one nudge: it is repeated anyway, and must not take a place for ever.
const NUDGE_WITHIN: Duration = Duration::from_secs(5);
/// How long a pod is behind at most for a pace of nudges, and the pace. A pod that refuses its documents would be written for
/// ever; a kubelet comes by itself after a minute or two.
const NUDGE_PACES: [(Duration, Duration); 2] = [
    (Duration::from_secs(5), NUDGE),
    (Duration::from_secs(120), Duration::from_secs(10)),
];
/// Between two nudges after that.
const NUDGE_LAST: Duration = Duration::from_secs(600);
/// While an ACL is on its way, news of single pods waits so long for the rest: one status instead of one per pod.
const TOGETHER: Duration = Duration::from_secs(2);
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

/// Where one pod stands.
#[derive(Default)]
struct Due {
    asked: Option<Instant>,
    nudged: Option<Instant>,
    asking: bool,
    /// It left the last question unanswered.
    silent: bool,
    /// The wish that the rest is about.
    wish: Option<Instant>,
    /// Since when it has not what it should have.
    behind: Option<Instant>,
}

impl Due {
    /// For how long the pod has not had what it should have: a new wish begins anew, and so does a new pod under an
    /// old wish.
    fn behind(&mut self, wish: Option<Instant>, synced: bool, now: Instant) -> Duration {
        if self.wish != wish {
            (self.wish, self.behind, self.nudged) = (wish, None, None);
        }
        if synced {
            self.behind = None;
            return Duration::ZERO;
        }
        now.duration_since(*self.behind.get_or_insert(now))
    }
}

/// The wishes of a policy that were measured last.
#[derive(Default)]
struct Measured {
    config: Option<Instant>,
    clients: Option<Instant>,
}

enum Done {
    Asked {
        pod: Arc<Target>,
        outcome: Box<Result<Report, ask::Error>>,
        /// It had left the question before unanswered.
        silent: bool,
    },
    Nudged,
}

#[derive(Debug)]
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
        let mut measured: HashMap<String, Measured> = HashMap::new();
        let mut held: HashMap<String, (String, String)> = HashMap::new();
        let mut targets: Vec<Arc<Target>> = Vec::new();
        let mut listed: Option<Instant> = None;
        let mut nudges: u64 = 0;
        let mut places = Places::default();
        let mut first = 0;
        loop {
            let now = Instant::now();
            if listed.is_none_or(|at| now.duration_since(at) >= LIST) {
                listed = Some(now);
                targets = self.targets();
                let alive: HashSet<&str> = targets.iter().map(|target| target.uid.as_str()).collect();
                let fleets: HashSet<&str> = targets.iter().map(|target| target.policy_uid.as_str()).collect();
                due.retain(|uid, _| alive.contains(uid.as_str()));
                measured.retain(|policy, _| fleets.contains(policy.as_str()));
                self.reports.retain(|uid| alive.contains(uid));
            }
            held.retain(|policy, (namespace, name)| {
                let wait = self.on_its_way(policy, &targets);
                if !wait {
                    self.wakes.policy(namespace, name);
                }
                wait
            });
            let mut tick = TICK_SETTLED;
            let mut turned_away = None;
            for (place, target) in turn(&targets, first) {
                let wanted = self.reports.wanted(&target.policy_uid);
                let (answered, has) = self.has(target, wanted.as_ref());
                let synced = has.config && has.clients;
                let wish = wanted.map(|wanted| wanted.at.max(wanted.clients_at));
                let state = due.entry(target.uid.clone()).or_default();
                let behind = state.behind(wish, synced, now);
                let pending = !synced && behind <= PENDING_FOR;
                let pause = match (pending, has.config) {
                    (false, _) => SETTLED,
                    (true, false) => PENDING,
                    (true, true) => PENDING_CLIENTS,
                };
                if pending || state.asked.is_none() {
                    tick = TICK;
                }
                if places.are_taken() {
                    turned_away.get_or_insert(place);
                    break;
                }
                let is_due = !state.asking && state.asked.is_none_or(|at| now.duration_since(at) >= pause);
                if is_due && !places.ask(state.silent) {
                    turned_away.get_or_insert(place);
                } else if is_due {
                    (state.asked, state.asking) = (Some(now), true);
                    let (pod, silent) = (Arc::clone(target), state.silent);
                    running.spawn(async move {
                        let outcome = Box::new(ask::ask(pod.ip, &pod.uid, &pod.key).await);
                        Done::Asked { pod, outcome, silent }
                    });
                }
                // A pod that never answered has not started; it mounts what is there when it does.
                if !synced
                    && answered
                    && wish.is_some_and(|at| now.duration_since(at) >= NUDGE_FIRST)
                    && state
                        .nudged
                        .is_none_or(|at| now.duration_since(at) >= nudge_pause(behind))
                {
                    state.nudged = Some(now);
                    places.nudge();
                    nudges += 1;
                    running.spawn(self.nudge(target, nudges));
                }
            }
            // Whoever had no turn now is the first to have one.
            first = turned_away.unwrap_or(0);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = running.join_next() => {
                    places.give_back(matches!(&done, Ok(Done::Asked { silent: true, .. })));
                    if let Ok(Done::Asked { pod, outcome, silent: _ }) = done {
                        if let Some(state) = due.get_mut(&pod.uid) {
                            (state.asking, state.silent) = (false, outcome.is_err());
                        }
                        if self.note(&pod, *outcome) {
                            held.insert(pod.policy_uid.clone(), pod.policy.clone());
                        }
                        self.measure(&pod, &targets, &mut measured);
                    }
                }
                () = self.reports.changed.notified() => {}
                () = self.wakes.pods.notified() => listed = None,
                () = sleep(tick) => {}
            }
        }
    }

    /// Pods that run and have an address, each with its fleet's key.
    fn targets(&self) -> Vec<Arc<Target>> {
        let mut keys: HashMap<String, Option<String>> = HashMap::new();
        let pods = self.caches.pods.state();
        pods.iter()
            .filter_map(|pod| self.target(pod, &mut keys).map(Arc::new))
            .collect()
    }

    /// Whether a pod ever answered, and whether it has what it should have.
    fn has(&self, target: &Target, wanted: Option<&Wanted>) -> (bool, Has) {
        self.reports.with(&target.uid, |report| {
            let has = wanted.map_or(Has::ALL, |wanted| has(report, target, wanted));
            (report.is_some(), has)
        })
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
    fn on_its_way(&self, policy_uid: &str, targets: &[Arc<Target>]) -> bool {
        let Some(wanted) = self.reports.wanted(policy_uid) else {
            return false;
        };
        let mut fleet = targets.iter().filter(|target| target.policy_uid == policy_uid);
        let config = wanted.at.elapsed() < TOGETHER;
        let selection = wanted.selected_at.elapsed() < TOGETHER;
        fleet.any(|target| {
            config && !self.has(target, Some(&wanted)).1.config
                || selection && !self.reports.follows(&target.uid, policy_uid)
        })
    }

    /// Notes an answer; true when status shows it.
    fn note(&self, pod: &Target, outcome: Result<Report, ask::Error>) -> bool {
        match outcome {
            Ok(report) => {
                let news = self.reports.answered(&pod.uid, report);
                self.reports.followed(&pod.uid, &pod.policy_uid) || news
            }
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

    /// Once all pods of a policy have what they should have: how long that took, once per wish.
    fn measure(&self, pod: &Target, targets: &[Arc<Target>], measured: &mut HashMap<String, Measured>) {
        let Some(wanted) = self.reports.wanted(&pod.policy_uid) else {
            return;
        };
        let measured = measured.entry(pod.policy_uid.clone()).or_default();
        let all = |has: fn(Has) -> bool| {
            let mut fleet = targets.iter().filter(|other| other.policy_uid == pod.policy_uid);
            fleet.all(|other| has(self.has(other, Some(&wanted)).1))
        };
        if measured.config != Some(wanted.at) && all(|has| has.config) {
            measured.config = Some(wanted.at);
            self.metrics.propagated(wanted.at.elapsed());
        }
        if measured.clients != Some(wanted.clients_at) && all(|has| has.clients) {
            measured.clients = Some(wanted.clients_at);
            self.metrics.clients_propagated(wanted.clients_at.elapsed());
        }
    }

    /// Touches an annotation of the pod, with a value that was not there before.
    fn nudge(&self, target: &Target, count: u64) -> impl Future<Output = Done> + Send + use<> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.fleet_namespace);
        let hashes = self
            .reports
            .wanted(&target.policy_uid)
            .map(|wanted| wanted.hashes);
        let Hashes { policy, clients, .. } = hashes.unwrap_or_default();
        let (policy, clients) = (short(&policy), short(&clients));
        let value = format!(
            "{policy}-{clients}-{}-{count}",
            jiff::Timestamp::now().as_second()
        );
        let (name, uid) = (target.name.clone(), target.uid.clone());
        async move {
            let patch = Patch::Merge(
                json!({"metadata": {"uid": uid, "annotations": {names::CONFIG_HASH_ANNOTATION: value}}}),
            );
            let params = PatchParams::default();
            match timeout(NUDGE_WITHIN, api.patch_metadata(&name, &params, &patch)).await {
                Ok(Ok(_)) => {}
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {}
                Err(_) => tracing::warn!(
                    pod = name,
                    "failed to nudge a pod: the API server does not answer"
                ),
                Ok(Err(error)) => {
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

/// Between two nudges, when a pod has been behind for so long.
fn nudge_pause(since: Duration) -> Duration {
    let pace = NUDGE_PACES.iter().find(|(until, _)| since <= *until);
    pace.map_or(NUDGE_LAST, |(_, pause)| *pause)
}

/// The first digits of a digest, for people.
fn short(hash: &str) -> String {
    hash.trim_start_matches("sha256:").chars().take(12).collect()
}

#[cfg(test)]
mod tests;
