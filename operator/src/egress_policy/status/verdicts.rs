//! Pure: what the conditions say. Ready=False always names the next action.

mod programmed;
mod resolved;
mod stuck;
mod verified;
pub(crate) mod words;

use std::collections::BTreeSet;

use egressway_core::wire::names::REPORT_PORT;
use egressway_core::wire::report::Phase;
use jiff::SignedDuration;

use self::stuck::Why;
use self::words::{name, pods};
use super::addresses::Addresses;
use super::{Facts, Held, Misplaced, PodView, in_force, in_sync};
use crate::desired::clients::PODS_MAX;
use crate::egress_policy::condition::{Kind, Reason, Truth, Verdict, find};

use crate::egress_pool::validate::CellState;

/// After so long a pod that still enforces an older ACL is no longer just about to.
pub const PROPAGATION: SignedDuration = SignedDuration::from_secs(15);

/// After so long a pod that does not serve is not just starting: an image is pulled and a quorum asked in less.
pub const START_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// The verdicts, in the order of status.
#[must_use]
pub fn verdicts(facts: &Facts<'_>, addresses: &Addresses) -> Vec<Verdict> {
    let validated = facts.validated;
    let accepted = Verdict::new(
        Kind::Accepted,
        validated.accepted,
        validated.reason,
        validated.message.clone(),
    );
    let resolved = resolved::resolved(facts);
    let verified = verified::verified(facts, addresses);
    let ready = ready(facts, &verified);
    let why = Why::of(facts, &ready);
    let programmed = programmed::programmed(facts, &why);
    vec![
        accepted,
        resolved,
        programmed,
        verified,
        ready,
        progressing(facts, &why),
        degraded(facts, addresses, &why),
    ]
}

fn counted<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a PodView> {
    facts.pods.iter().filter(|pod| pod.counts())
}

fn ready(facts: &Facts<'_>, verified: &Verdict) -> Verdict {
    let verdict = |truth: bool, reason, message: String| Verdict::new(Kind::Ready, truth, reason, message);
    let Some(valid) = in_force(facts) else {
        return verdict(false, Reason::NotAccepted, facts.validated.message.clone());
    };
    if valid.closed.is_some() {
        return verdict(false, Reason::NotAccepted, facts.validated.message.clone());
    }
    if let Some((reason, message)) = &facts.failure {
        return verdict(false, *reason, message.clone());
    }
    if let Some(problem) = resolved::unresolved(facts).find(|problem| problem.listener) {
        return verdict(false, Reason::UnresolvedRefs, problem.message.clone());
    }
    if valid.document.content.suspended {
        return verdict(
            false,
            Reason::Suspended,
            "every new request is refused: set spec.suspend to false".to_owned(),
        );
    }
    let serving: Vec<&PodView> = counted(facts).filter(|pod| pod.serves()).collect();
    if serving.is_empty() {
        return no_pods(facts, verified);
    }
    let behind = serving.iter().filter(|pod| !in_sync(facts, pod)).count();
    if behind > 0 {
        let message = format!(
            "{behind} of {} serving pods do not enforce the ACL yet, see Programmed",
            serving.len()
        );
        return verdict(false, Reason::NotProgrammed, message);
    }
    let mut message = pods(serving.len(), "serve");
    if !facts.validated.accepted {
        message.push_str(&format!("; {}", facts.validated.message));
    }
    if verified.reason == Reason::NoObservers {
        return verdict(
            true,
            Reason::ServingUnobserved,
            format!("{message}; {}", verified.message),
        );
    }
    verdict(true, Reason::Serving, message)
}

fn no_pods(facts: &Facts<'_>, verified: &Verdict) -> Verdict {
    let verdict = |reason, message: String| Verdict::new(Kind::Ready, false, reason, message);
    // Kubernetes may well send clients there; what they get nobody here can tell.
    if counted(facts).any(|pod| pod.ready && pod.is_lost())
        && let Some(message) = silent(facts)
    {
        return verdict(Reason::PodsUnreachable, message);
    }
    if counted(facts).any(|pod| {
        pod.report
            .as_ref()
            .is_some_and(|report| report.phase == Phase::Quarantined)
    }) {
        return verdict(Reason::Quarantined, verified.message.clone());
    }
    if let Some((reason, why)) = stuck::stuck(facts) {
        return verdict(reason, why);
    }
    if facts
        .pool
        .is_some_and(|pool| pool.cells.iter().all(|cell| cell.state != CellState::Active))
    {
        return verdict(
            Reason::NoReadyPods,
            "no cell of the pool is Active: set one to Active".to_owned(),
        );
    }
    let reason = if starts(facts) {
        Reason::Starting
    } else {
        Reason::NoReadyPods
    };
    if counted(facts).next().is_none() {
        let next =
            "if this lasts, look at the Deployments of the fleet and at the Events in the fleet namespace";
        return verdict(reason, format!("Kubernetes has made no pods yet: {next}"));
    }
    let waiting = counted(facts).filter(|pod| pod.running).count();
    let next = "pods are starting; if this lasts, look at their logs in the fleet namespace";
    verdict(reason, format!("no pod serves yet ({waiting} run): {next}"))
}

/// Whether that nobody serves is how every fleet begins: it has not served before, and no pod is late.
fn starts(facts: &Facts<'_>) -> bool {
    let before = facts.policy.status.as_ref();
    let before = before.and_then(|status| find(&status.conditions, Kind::Ready));
    let served = before.is_some_and(|ready| {
        ready.status == Truth::True.as_str()
            || [Reason::NoReadyPods, Reason::Quarantined]
                .map(Reason::as_str)
                .contains(&&*ready.reason)
    });
    let in_time = |pod: &PodView| {
        pod.started
            .is_none_or(|started| facts.now.duration_since(started) <= START_WITHIN)
    };
    !served && counted(facts).all(in_time)
}

fn progressing(facts: &Facts<'_>, why: &Why) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(Kind::Progressing, truth, reason, message);
    if facts.policy.metadata.deletion_timestamp.is_some() {
        let message = format!("{} before the policy goes", pods(facts.pods.len(), "drain"));
        return verdict(true, Reason::DrainingFleet, message);
    }
    if let Some((reason, message)) = &facts.failure {
        return verdict(true, *reason, message.clone());
    }
    let UnderWay { rolling, draining } = under_way(facts);
    if !rolling.is_empty() {
        let message = format!(
            "pods of cell {} roll out{}",
            name(rolling.into_iter()),
            why.behind(Kind::Progressing)
        );
        return verdict(true, Reason::RollingOut, message);
    }
    if !draining.is_empty() {
        let message = format!(
            "pods of cell {} finish what is open, and take nothing new",
            name(draining.into_iter())
        );
        return verdict(true, Reason::DrainingFleet, message);
    }
    verdict(false, Reason::Complete, "nothing is under way".to_owned())
}

/// Cells in which something goes on.
struct UnderWay<'a> {
    /// Pods are made or replaced.
    rolling: Vec<&'a str>,
    /// Pods finish what is open.
    draining: Vec<&'a str>,
}

fn under_way<'a>(facts: &'a Facts<'_>) -> UnderWay<'a> {
    let (mut rolling, mut draining) = (Vec::new(), Vec::new());
    for cell in facts.cells.iter().filter(|cell| !cell.settled) {
        let waited_for = counted(facts).filter(|pod| pod.cell == cell.name && !pod.ready);
        let (lost, waited_for): (Vec<_>, Vec<_>) = waited_for.partition(|pod| pod.is_lost());
        let held: Vec<Option<Held>> = waited_for.into_iter().map(PodView::held).collect();
        let nobody = held.is_empty() && lost.is_empty();
        if cell.rolls || nobody || held.contains(&None) {
            rolling.push(cell.name.as_str());
        } else if held.contains(&Some(Held::Draining)) {
            draining.push(cell.name.as_str());
        }
    }
    UnderWay { rolling, draining }
}

fn degraded(facts: &Facts<'_>, addresses: &Addresses, why: &Why) -> Verdict {
    let verdict = |truth: bool, reason, message: String| Verdict::new(Kind::Degraded, truth, reason, message);
    if in_force(facts).is_none() {
        return verdict(false, Reason::AsExpected, "there is no fleet".to_owned());
    }
    if let Some(pool) = facts.pool
        && addresses.drifts()
    {
        return verdict(
            true,
            Reason::EgressIpDrift,
            verified::drift(facts, &pool.name, addresses),
        );
    }
    let serving: BTreeSet<&str> = counted(facts)
        .filter(|pod| pod.serves())
        .map(|pod| pod.cell.as_str())
        .collect();
    let active = |name: &str| {
        facts.pool.is_none_or(|pool| {
            pool.cells
                .iter()
                .any(|cell| cell.name == name && cell.state == CellState::Active)
        })
    };
    let wanted = facts
        .cells
        .iter()
        .filter(|cell| cell.wanted > 0 && active(&cell.name));
    let down: Vec<&str> = wanted
        .map(|cell| cell.name.as_str())
        .filter(|cell| !serving.contains(cell))
        .collect();
    if !down.is_empty() && !serving.is_empty() {
        return verdict(
            true,
            Reason::CellDown,
            format!(
                "no pod of cell {} serves{}{}",
                name(down.into_iter()),
                why.behind(Kind::Degraded),
                silent(facts).map_or_else(String::new, |why| format!("; {why}"))
            ),
        );
    }
    if let Some(message) = misplaced(facts) {
        return verdict(true, Reason::PodsMisplaced, message);
    }
    if let Some(message) = silent(facts) {
        return verdict(true, Reason::PodsUnreachable, message);
    }
    if !facts.contested.is_empty() {
        let all = facts.contested.iter().map(String::as_str);
        return verdict(true, Reason::FieldsContested, name(all));
    }
    if facts.clients_left_out {
        // Without their number: it changes with every pod.
        let next = "narrow from.podSelector of spec.clients, or give clients a credential instead";
        return verdict(
            true,
            Reason::ClientPodsLeftOut,
            format!(
                "more pods are clients than the {PODS_MAX} that fit, those started last are refused: {next}"
            ),
        );
    }
    if let Some(problem) = resolved::unresolved(facts).next() {
        let message = format!(
            "what depends on a Secret is denied, see ResolvedRefs: {}",
            problem.message
        );
        return verdict(true, Reason::UnresolvedRefs, message);
    }
    let (ready, wanted) = (
        counted(facts).filter(|pod| pod.ready).count(),
        facts.cells.iter().map(|cell| cell.wanted).sum::<i32>(),
    );
    if i32::try_from(ready).unwrap_or(i32::MAX) < wanted {
        return verdict(
            true,
            Reason::ReducedCapacity,
            format!("{ready} of {wanted} pods are ready{}", why.behind(Kind::Degraded)),
        );
    }
    verdict(
        false,
        Reason::AsExpected,
        "the fleet is as it should be".to_owned(),
    )
}

/// Pods on nodes that are none of their cells' any more: they may leave by another NAT.
fn misplaced(facts: &Facts<'_>) -> Option<String> {
    let text = |pod: &PodView| {
        let node = pod.node.as_deref().unwrap_or("unknown");
        let next = match pod.misplaced? {
            Misplaced::Moves => "it is replaced",
            Misplaced::Stays => "no other node that takes pods has them: label one",
        };
        Some(format!(
            "pod {} runs on node {node}, which has not the labels of cell {} any more: {next}",
            pod.name, pod.cell
        ))
    };
    let all: Vec<String> = counted(facts).filter_map(text).collect();
    (!all.is_empty()).then(|| name(all.iter().map(String::as_str)))
}

/// Pods that have served and are not heard of any more.
fn silent(facts: &Facts<'_>) -> Option<String> {
    let lost = counted(facts).filter(|pod| pod.is_lost());
    let all: Vec<String> = lost
        .map(|pod| {
            format!(
                "pod {} on node {}",
                pod.name,
                pod.node.as_deref().unwrap_or("unknown")
            )
        })
        .collect();
    (!all.is_empty()).then(|| {
        let next = "look at the node, and for a network policy between the operator and the fleets";
        format!(
            "no answer on port {REPORT_PORT} from {}: {next}",
            name(all.iter().map(String::as_str))
        )
    })
}
