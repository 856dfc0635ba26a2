//! Pure: what is observed of a policy and its fleet into its status.
//!
//! The same facts give the same status, times included: a time stands in it only where something moved, or where an
//! address is no longer seen. What the addresses mean is in [`addresses`], what the conditions say in [`verdicts`].

pub mod addresses;
pub mod verdicts;
pub mod would_deny;

use egressway_core::wire::report::{Phase, PolicyInForce, Report};
use egressway_crds::{ConfigStatus, EgressPolicy, EgressPolicyStatus, PodStatus};
use jiff::{SignedDuration, Timestamp};

use super::condition::{Kind, Reason, Truth, Verdict};
use super::validate::{ValidPolicy, Validated};
use crate::cluster::trouble::Trouble;
use crate::desired::Hashes;
use crate::desired::secrets::Resolution;
use crate::egress_pool::validate::ValidPool;

/// Most pods that are listed.
const PODS_MAX: usize = 100;

/// One pod as the cache and its report have it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Name.
    pub name: String,
    /// Its node.
    pub node: Option<String>,
    /// Zone of the node.
    pub zone: Option<String>,
    /// Its cell.
    pub cell: String,
    /// Its containers run.
    pub running: bool,
    /// Its Ready condition is True.
    pub ready: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Why the scheduler does not place it.
    pub unschedulable: Option<String>,
    /// Why its container does not run.
    pub trouble: Option<Trouble>,
    /// What it said last, while it answers.
    pub report: Option<Report>,
    /// It ran and answered no question several times in a row.
    pub unreachable: bool,
    /// It was asked at least once, answer or not.
    pub asked: bool,
    /// Its table of client pods was made from the selectors that the policy has now.
    pub follows: bool,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Its node is none of its cell's any more.
    pub misplaced: Option<Misplaced>,
}

/// What becomes of a pod whose node is none of its cell's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// Another takes its place on a node of the cell, and then it goes.
    Moves,
    /// The cell has no node that could take another.
    Stays,
}

/// One Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellView {
    /// Its cell.
    pub name: String,
    /// Pods wanted.
    pub wanted: i32,
    /// The rollout has ended.
    pub settled: bool,
    /// Pods are being made or replaced; without it, those that are there are waited for.
    pub rolls: bool,
    /// Why Kubernetes makes no pods for it.
    pub refused: Option<String>,
}

/// Everything that a status follows from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The policy, with its present status.
    pub policy: &'a EgressPolicy,
    /// What validation said.
    pub validated: &'a Validated,
    /// What the pods should have in force.
    pub hashes: Option<&'a Hashes>,
    /// Not all client pods fit into their ConfigMap.
    pub clients_left_out: bool,
    /// What the policy's Secrets came to.
    pub secrets: Option<&'a Resolution>,
    /// The pool, as far as it means something.
    pub pool: Option<&'a ValidPool>,
    /// The pods, sorted by name.
    pub pods: &'a [PodView],
    /// The Deployments, sorted by cell.
    pub cells: &'a [CellView],
    /// Where clients connect.
    pub proxy_url: Option<String>,
    /// Why the last apply failed.
    pub failure: Option<(Reason, String)>,
    /// Fields of the fleet's objects that somebody else sets: which, who, and what to do.
    pub contested: Vec<String>,
    /// Since when the pods should have what they should have.
    pub programmed_since: Option<Timestamp>,
    /// The clock.
    pub now: Timestamp,
}

/// What keeps a pod from serving, other than itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It left from an address that nobody promised.
    Quarantined,
    /// Its cell drains, and something is open.
    Draining,
    /// Its cell is out of use, and nothing is open.
    Drained,
}

impl PodView {
    /// Whether the pod counts: it is neither leaving nor dead.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.terminating
    }

    /// Whether clients get answers from it, as far as anybody can tell: one that answers nobody serves nobody.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.counts()
            && self.ready
            && !self.unreachable
            && self
                .report
                .as_ref()
                .is_none_or(|report| report.phase == Phase::Serving)
    }

    /// Whether somebody says that it does not come up by itself.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.unschedulable.is_some() || self.trouble.is_some()
    }

    /// Whether it served, and has not been heard of since: its node is gone, or cut off.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let served = self.report.as_ref().map(|report| report.phase) == Some(Phase::Serving);
        self.running && self.unreachable && self.trouble.is_none() && served
    }

    /// Why a pod that could serve does not, if it is kept from it on purpose.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let report = self
            .report
            .as_ref()
            .filter(|_| self.running && !self.unreachable)?;
        match report.phase {
            Phase::Quarantined => Some(Held::Quarantined),
            Phase::Draining if report.active > 0 => Some(Held::Draining),
            Phase::Draining => Some(Held::Drained),
            Phase::Starting | Phase::Serving => None,
        }
    }

    /// What the pod says about a policy.
    fn in_force(&self, policy: &EgressPolicy) -> Option<&PolicyInForce> {
        let (namespace, name) = (
            policy.metadata.namespace.as_deref()?,
            policy.metadata.name.as_deref()?,
        );
        let policies = &self.report.as_ref()?.policies;
        policies
            .iter()
            .find(|p| p.namespace == namespace && p.name == name)
    }

    fn config_hash(&self, policy: &EgressPolicy) -> Option<&str> {
        self.in_force(policy).map(|p| p.hash.as_str())
    }

    fn phase(&self) -> &'static str {
        match (&self.report, self.terminating, self.running, self.unreachable) {
            (_, true, _, _) => "Draining",
            (_, _, false, _) => "Pending",
            (_, _, _, true) => "Unreachable",
            (None, _, true, false) => "Starting",
            (Some(report), _, true, false) => match report.phase {
                Phase::Starting => "Starting",
                Phase::Serving => "Serving",
                Phase::Quarantined => "Quarantined",
                Phase::Draining => "Draining",
            },
        }
    }
}

/// So long after its start a pod that could not even be asked is no longer waited for.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// Whether it is too early to say anything: a pod that runs has not been asked yet, be it new or the operator.
///
/// Without this a restart of the operator would take every address back and give it again. `operator_since` is when
/// this operator began to ask.
#[must_use]
pub fn too_early(pods: &[PodView], operator_since: Timestamp, now: Timestamp) -> bool {
    pods.iter().any(|pod| {
        let since = pod
            .started
            .map_or(operator_since, |started| started.max(operator_since));
        pod.counts() && pod.running && !pod.asked && now.duration_since(since) < ASKED_WITHIN
    })
}

/// The policy in force, if there is one.
fn in_force<'a>(facts: &'a Facts<'_>) -> Option<&'a ValidPolicy> {
    facts.validated.valid.as_ref()
}

/// Whether a pod has exactly what it should have. Of its table of client pods only what selects them counts: the pods
/// themselves come and go.
fn in_sync(facts: &Facts<'_>, pod: &PodView) -> bool {
    !pod.unreachable
        && pod.follows
        && facts.hashes.is_some_and(|hashes| {
            pod.config_hash(facts.policy) == Some(hashes.policy.as_str())
                && pod
                    .report
                    .as_ref()
                    .is_some_and(|report| report.secrets_hash == hashes.secrets)
        })
}

/// The next status.
#[must_use]
pub fn next(facts: &Facts<'_>) -> EgressPolicyStatus {
    let previous = facts.policy.status.clone().unwrap_or_default();
    let generation = facts.policy.metadata.generation;
    let counted: Vec<&PodView> = facts.pods.iter().filter(|pod| pod.counts()).collect();
    let addresses = addresses::addresses(facts, &previous);
    let config = in_force(facts)
        .zip(facts.hashes)
        .map(|(valid, hashes)| ConfigStatus {
            generation: valid.document.generation,
            hash: hashes.policy.clone(),
            pods_in_sync: count(counted.iter().filter(|pod| in_sync(facts, pod)).count()),
            pods: count(counted.len()),
        });
    let (would_deny, would_deny_updated) = would_deny::would_deny(facts, &previous);
    let summary = |texts: Vec<&str>| (!texts.is_empty()).then(|| texts.join(","));
    let verdicts = verdicts::verdicts(facts, &addresses);
    let reason = outstanding(&verdicts).map(|reason| reason.as_str().to_owned());
    let conditions = verdicts
        .into_iter()
        .map(|verdict| {
            let of = served(facts, &verdict);
            verdict.condition(&previous.conditions, of, facts.now)
        })
        .collect();
    EgressPolicyStatus {
        observed_generation: generation,
        reason,
        proxy_url: in_force(facts).and_then(|_| facts.proxy_url.clone()),
        replicas: facts.cells.iter().map(|cell| cell.wanted).sum(),
        ready_replicas: count(counted.iter().filter(|pod| pod.ready).count()),
        config,
        egress_ip_summary: summary(addresses.listed.iter().map(|entry| entry.ip.as_str()).collect()),
        unexpected_ip_summary: summary(
            addresses
                .unexpected
                .iter()
                .map(|entry| entry.ip.as_str())
                .collect(),
        ),
        egress_ips: addresses.listed,
        unexpected_ips: addresses.unexpected,
        pods: facts
            .pods
            .iter()
            .take(PODS_MAX)
            .map(|pod| pod_status(facts, pod))
            .collect(),
        would_deny,
        would_deny_updated,
        conditions,
    }
}

/// The generation that a condition speaks of. Clients that are served while the newest generation is refused are served
/// by an older one, and whoever waits for the newest has to wait on.
fn served(facts: &Facts<'_>, verdict: &Verdict) -> Option<i64> {
    let newest = facts.policy.metadata.generation;
    match (verdict.kind, verdict.truth, in_force(facts)) {
        (Kind::Ready, Truth::True, Some(valid)) if !facts.validated.accepted => {
            newest.map(|newest| newest.min(valid.document.generation))
        }
        _ => newest,
    }
}

/// The reason that stands out: of the first condition, by how much depends on it, that is not as it should be.
pub(crate) fn outstanding(verdicts: &[Verdict]) -> Option<Reason> {
    let amiss = |kind: Kind, verdict: &Verdict| match (kind, verdict.truth) {
        (Kind::Degraded, truth) => truth == Truth::True,
        (Kind::ResolvedRefs, Truth::Unknown) => true,
        (_, truth) => truth == Truth::False,
    };
    let order = [
        Kind::Accepted,
        Kind::ResolvedRefs,
        Kind::Ready,
        Kind::EgressIpsVerified,
        Kind::Programmed,
        Kind::Degraded,
    ];
    let of = |kind: Kind| verdicts.iter().find(move |verdict| verdict.kind == kind);
    let mut found = order.into_iter().filter_map(|kind| Some((kind, of(kind)?)));
    let first = found.find(|(kind, verdict)| amiss(*kind, verdict));
    first
        .map(|(_, verdict)| verdict)
        .or_else(|| of(Kind::Ready))
        .map(|verdict| verdict.reason)
}

fn pod_status(facts: &Facts<'_>, pod: &PodView) -> PodStatus {
    let seen = pod.report.iter().flat_map(|report| &report.egress.seen);
    let message = pod
        .unschedulable
        .clone()
        .or_else(|| Some(pod.trouble?.text().to_owned()))
        .or_else(|| pod.report.as_ref()?.load_error.clone());
    PodStatus {
        name: pod.name.clone(),
        node: pod.node.clone(),
        zone: pod.zone.clone(),
        cell: pod.cell.clone(),
        egress_ips: seen
            .filter(|seen| seen.confirmed)
            .map(|seen| seen.ip.to_string())
            .collect(),
        phase: phase(facts, pod).to_owned(),
        config_hash: pod.config_hash(facts.policy).map(ToOwned::to_owned),
        message,
    }
}

/// The phase of a pod; one that could serve and lets nothing through does not serve.
fn phase(facts: &Facts<'_>, pod: &PodView) -> &'static str {
    let shut = in_force(facts).is_some_and(|valid| valid.document.content.lets_nothing_through());
    match pod.phase() {
        "Serving" if shut && in_sync(facts, pod) => "Refusing",
        phase => phase,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
