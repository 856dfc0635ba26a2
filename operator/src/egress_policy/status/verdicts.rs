//! Pure: what the conditions say. Ready=False always names the next action.

mod resolved;
mod stuck;
mod verified;
pub(crate) mod words;

use std::collections::BTreeSet;

use egressway_core::wire::names::REPORT_PORT;
use egressway_core::wire::report::Phase;
use jiff::SignedDuration;

use self::words::{name, pods};
use super::addresses::Addresses;
use super::{Facts, Held, Misplaced, PodView, in_force, in_sync};
use crate::desired::clients::PODS_MAX;
use crate::egress_policy::condition::{Kind, Reason, Verdict};
use crate::egress_pool::validate::CellState;

/// After so long a pod that still enforces an older ACL is no longer just about to.
pub const PROPAGATION: SignedDuration = SignedDuration::from_secs(15);

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
    let programmed = programmed(facts);
    let verified = verified::verified(facts, addresses);
    let ready = ready(facts, &verified);
    vec![
        accepted,
        resolved,
        programmed,
        verified,
        ready,
        progressing(facts),
        degraded(facts, addresses),
    ]
}

fn counted<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a PodView> {
    facts.pods.iter().filter(|pod| pod.counts())
}

fn programmed(facts: &Facts<'_>) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(Kind::Programmed, truth, reason, message);
    if in_force(facts).is_none() {
        return verdict(
            false,
            Reason::NotAccepted,
            "there is no fleet, see Accepted".to_owned(),
        );
    }
    let all = counted(facts).count();
    if all == 0 {
        return verdict(false, Reason::NoPods, "the fleet has no pods yet".to_owned());
    }
    let lagging: Vec<&PodView> = counted(facts).filter(|pod| !in_sync(facts, pod)).collect();
    if lagging.is_empty() {
        return verdict(
            true,
            Reason::InSync,
            if all == 1 {
                "the only pod enforces the ACL in force".to_owned()
            } else {
                format!("all {all} pods enforce the ACL in force")
            },
        );
    }
    let long = facts
        .programmed_since
        .is_some_and(|since| facts.now.duration_since(since) > PROPAGATION);
    let broken: Vec<String> = lagging
        .iter()
        .filter_map(|pod| {
            Some(format!(
                "{}: {}",
                pod.name,
                pod.report.as_ref()?.load_error.as_ref()?
            ))
        })
        .collect();
    let names = name(lagging.iter().map(|pod| pod.name.as_str()));
    let (reason, mut message) = if long && lagging.iter().any(|pod| pod.running) {
        (
            Reason::PodsLagging,
            format!(
                "{} of {all} pods do not enforce the ACL in force: {names}",
                lagging.len()
            ),
        )
    } else {
        (
            Reason::Propagating,
            format!("{} of {all} pods are about to enforce the ACL", lagging.len()),
        )
    };
    let silent = lagging
        .iter()
        .filter(|pod| pod.unreachable && pod.trouble.is_none());
    let silent = name(silent.map(|pod| pod.name.as_str()));
    message.push_str(&because(facts));
    if reason == Reason::PodsLagging && !silent.is_empty() {
        let next = "look for a network policy between the operator and the fleets, and at the pods' nodes";
        message.push_str(&format!(
            ". No answer on port {REPORT_PORT} from {silent}: {next}"
        ));
    }
    if !broken.is_empty() {
        message.push_str(&format!(
            ". Refused by {}",
            name(broken.iter().map(String::as_str))
        ));
    }
    verdict(false, reason, message)
}

fn ready(facts: &Facts<'_>, verified: &Verdict) -> Verdict {
    let verdict = |truth: bool, reason, message: String| Verdict::new(Kind::Ready, truth, reason, message);
    let Some(valid) = in_force(facts) else {
        return verdict(false, Reason::NotAccepted, facts.validated.message.clone());
    };
    if valid.withdrawn {
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
    if counted(facts).next().is_none() {
        let next =
            "if this lasts, look at the Deployments of the fleet and at the Events in the fleet namespace";
        return verdict(
            Reason::NoReadyPods,
            format!("Kubernetes has made no pods yet: {next}"),
        );
    }
    let waiting = counted(facts).filter(|pod| pod.running).count();
    let next = "pods are starting; if this lasts, look at their logs in the fleet namespace";
    verdict(
        Reason::NoReadyPods,
        format!("no pod serves yet ({waiting} run): {next}"),
    )
}

fn progressing(facts: &Facts<'_>) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(Kind::Progressing, truth, reason, message);
    if facts.policy.metadata.deletion_timestamp.is_some() {
        let message = format!("{} before the policy goes", pods(facts.pods.len(), "drain"));
        return verdict(true, Reason::DrainingFleet, message);
    }
    if let Some((reason, message)) = &facts.failure {
        return verdict(true, *reason, message.clone());
    }
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
    if !rolling.is_empty() {
        let message = format!(
            "pods of cell {} roll out{}",
            name(rolling.into_iter()),
            because(facts)
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

fn degraded(facts: &Facts<'_>, addresses: &Addresses) -> Verdict {
    let verdict = |truth: bool, reason, message: String| Verdict::new(Kind::Degraded, truth, reason, message);
    if in_force(facts).is_none() {
        return verdict(false, Reason::AsExpected, "there is no fleet".to_owned());
    }
    if let Some(pool) = facts.pool
        && addresses.unexpected.iter().any(|entry| entry.confirmed)
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
                because(facts),
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
            format!("{ready} of {wanted} pods are ready{}", because(facts)),
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

/// Behind what is missing: why, if somebody says so.
fn because(facts: &Facts<'_>) -> String {
    stuck::stuck(facts).map_or_else(String::new, |(_, why)| format!("; {why}"))
}
