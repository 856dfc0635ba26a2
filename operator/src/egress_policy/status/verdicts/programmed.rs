//! Pure: whether the newest generation is in force everywhere.

use egressway_core::wire::names::REPORT_PORT;

use super::stuck::Why;
use super::words::name;
use super::{PROPAGATION, counted};
use crate::egress_policy::condition::{Kind, Reason, Verdict};
use crate::egress_policy::status::{Facts, PodView, in_force, in_sync};
use crate::egress_policy::validate::ValidPolicy;

/// Whether the newest generation is in force in every pod that runs: a pod that does not serves nobody, and reads what is in
/// force when it starts.
pub(super) fn programmed(facts: &Facts<'_>, why: &Why) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(Kind::Programmed, truth, reason, message);
    let Some(valid) = in_force(facts) else {
        return verdict(
            false,
            Reason::NotAccepted,
            "there is no fleet, see Accepted".to_owned(),
        );
    };
    let long = facts
        .programmed_since
        .is_some_and(|since| facts.now.duration_since(since) > PROPAGATION);
    let waited_for = |pod: &&PodView| pod.running || !(long || pod.is_stuck());
    let pods: Vec<&PodView> = counted(facts).filter(waited_for).collect();
    let all = pods.len();
    if all == 0 {
        return verdict(
            false,
            Reason::NoPods,
            format!("no pod of the fleet runs{}", why.behind(Kind::Programmed)),
        );
    }
    let lagging: Vec<&PodView> = pods.into_iter().filter(|pod| !in_sync(facts, pod)).collect();
    if lagging.is_empty() {
        let does = match (all, valid.document.content.lets_nothing_through()) {
            (1, false) => "the only pod enforces the ACL in force".to_owned(),
            (_, false) => format!("all {all} pods enforce the ACL in force"),
            (1, true) => "the only pod refuses every new request".to_owned(),
            (_, true) => format!("all {all} pods refuse every new request"),
        };
        if facts.validated.accepted {
            return verdict(true, Reason::InSync, does);
        }
        return verdict(
            false,
            Reason::NotAccepted,
            format!("{}; {does}", not_accepted(facts, valid)),
        );
    }
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
    let (reason, mut message) = if long {
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
    if lagging.iter().any(|pod| pod.is_stuck()) {
        message.push_str(&why.behind(Kind::Programmed));
    }
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
    if !facts.validated.accepted {
        message.push_str(&format!(". Besides, {}", not_accepted(facts, valid)));
    }
    verdict(false, reason, message)
}

/// Which generation is refused, and which is in force.
fn not_accepted(facts: &Facts<'_>, valid: &ValidPolicy) -> String {
    let (now, last) = (facts.policy.metadata.generation, valid.document.generation);
    match now {
        Some(now) if now != last && last > 0 => {
            format!("generation {now} is refused, see Accepted: generation {last} is in force")
        }
        Some(now) => format!("generation {now} is not accepted any more, see Accepted"),
        None => "the spec is refused, see Accepted".to_owned(),
    }
}
