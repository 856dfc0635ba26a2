//! Pure: whether the addresses that are seen are those that are promised.

use egressway_core::wire::document::OnMismatch;
use egressway_core::wire::report::Phase;

use super::super::addresses::Addresses;
use super::super::{Facts, PodView, in_force};
use super::counted;
use super::words::{self, name};
use crate::egress_policy::condition::{Kind, Reason, Truth, Verdict};

pub(super) fn verified(facts: &Facts<'_>, addresses: &Addresses) -> Verdict {
    let verdict =
        |truth: Truth, reason, message: String| Verdict::new(Kind::EgressIpsVerified, truth, reason, message);
    let (Some(_), Some(pool)) = (in_force(facts), facts.pool) else {
        return verdict(
            Truth::Unknown,
            Reason::NotYetObserved,
            "there is no fleet to observe".to_owned(),
        );
    };
    let observation = &pool.observation;
    if observation.observers.is_empty() {
        let next = format!("name some in spec.observation of EgressPool {}", pool.name);
        return verdict(
            Truth::Unknown,
            Reason::NoObservers,
            format!("nobody is asked which addresses are used: {next}"),
        );
    }
    let quarantined = |pod: &&PodView| {
        pod.report
            .as_ref()
            .is_some_and(|report| report.phase == Phase::Quarantined)
    };
    if observation.on_mismatch != OnMismatch::Off
        && (addresses.drifts() || counted(facts).any(|pod| quarantined(&pod)))
    {
        return verdict(
            Truth::False,
            Reason::UnexpectedIp,
            drift(facts, &pool.name, addresses),
        );
    }
    let seen = |state: &str| {
        addresses
            .listed
            .iter()
            .filter(|entry| entry.state == state)
            .count()
    };
    let (verified, unconfirmed) = (seen("Verified"), seen("Unconfirmed"));
    let unseen: Vec<&str> = addresses
        .listed
        .iter()
        .filter(|entry| matches!(entry.state.as_str(), "Declared" | "Stale") && !entry.ip.contains('/'))
        .filter(|entry| counted(facts).any(|pod| pod.cell == entry.cell))
        .map(|entry| entry.ip.as_str())
        .collect();
    match (verified, unconfirmed) {
        (0, 0) if counted(facts).next().is_none() => verdict(
            Truth::Unknown,
            Reason::NotYetObserved,
            "there is no pod that could be observed, see Ready".to_owned(),
        ),
        (0, 0) => {
            let rounds = counted(facts)
                .filter_map(|pod| pod.report.as_ref())
                .map(|report| report.egress.rounds)
                .max();
            let before = addresses.listed.iter().any(|entry| entry.state == "Stale");
            if before || rounds.is_some_and(|rounds| rounds >= 3) {
                let next = "look at spec.observation of the pool, and at the observers; pods that were verified serve on";
                return verdict(
                    Truth::Unknown,
                    Reason::ObserversUnreachable,
                    format!("no quorum of observers answers: {next}"),
                );
            }
            verdict(
                Truth::Unknown,
                Reason::NotYetObserved,
                "no pod has been observed yet".to_owned(),
            )
        }
        (0, count) => verdict(
            Truth::True,
            Reason::Unconfirmed,
            format!(
                "{} seen by a quorum; the pool declares none, so none is promised",
                words::addresses(count)
            ),
        ),
        (count, _) if unseen.is_empty() => verdict(
            Truth::True,
            Reason::AllVerified,
            format!("{} seen by a quorum of observers", words::promised(count)),
        ),
        (count, _) => verdict(
            Truth::True,
            Reason::ExpectedIpNotSeen,
            format!(
                "{} seen; not seen: {}",
                words::promised(count),
                name(unseen.into_iter())
            ),
        ),
    }
}

/// Names pod, node and address for each pod that leaves from an address that nobody promised.
pub(super) fn drift(facts: &Facts<'_>, pool: &str, addresses: &Addresses) -> String {
    let mut lines = Vec::new();
    for pod in counted(facts) {
        let ips: Vec<&str> = addresses
            .unexpected
            .iter()
            .filter(|entry| entry.confirmed && entry.pods.contains(&pod.name))
            .map(|entry| entry.ip.as_str())
            .collect();
        if !ips.is_empty() {
            let node = pod.node.as_deref().unwrap_or("unknown");
            lines.push(format!(
                "pod {} on node {node} (cell {}) leaves from {}",
                pod.name,
                pod.cell,
                name(ips.into_iter())
            ));
        }
    }
    for crossed in addresses.crossed.iter().filter(|crossed| crossed.confirmed) {
        let pod = counted(facts).find(|pod| pod.name == crossed.pod);
        let node = pod.and_then(|pod| pod.node.as_deref()).unwrap_or("unknown");
        let cell = pod.map_or("", |pod| pod.cell.as_str());
        lines.push(format!(
            "pod {} on node {node} (cell {cell}) leaves from {}, which is promised for cell {}: the node has the labels of both, or the other's NAT",
            crossed.pod, crossed.ip, crossed.home
        ));
    }
    if lines.is_empty() {
        lines.push("a pod is quarantined until a quorum sees a promised address again".to_owned());
    }
    let next = format!("put the NAT right, or declare the address in EgressPool {pool}");
    format!("{}: {next}", name(lines.iter().map(String::as_str)))
}
