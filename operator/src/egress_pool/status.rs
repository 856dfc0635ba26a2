//! Pure: a pool's status, the sum of its policies' statuses.
//!
//! The best state that any policy has for an address counts: one fleet that saw it is proof enough that it is in use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::acl::compile::Problems;
use egressway_core::wire::names;
use egressway_crds::{Cell, CellStatus, EgressPolicy, EgressPool, EgressPoolStatus, PoolEgressIp};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::runtime::events::Event;

use super::validate::{CellState, Promise, ValidPool};
use crate::egress_policy::condition::{Kind, Reason, Truth, Verdict, find};
use crate::egress_policy::status::outstanding;
use crate::egress_policy::status::verdicts::words::{addresses, name, promised};
use crate::events;

/// States from the best to the worst.
const STATES: [&str; 6] = [
    "Verified",
    "Unconfirmed",
    "Stale",
    "Declared",
    "Retiring",
    "Planned",
];

/// Everything that a pool's status follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The pool, with its present status.
    pub pool: &'a EgressPool,
    /// What it means, or what is wrong with it.
    pub valid: Result<ValidPool, Problems>,
    /// Policies that name it.
    pub policies: &'a [&'a EgressPolicy],
    /// Every node.
    pub nodes: &'a [Arc<Node>],
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// The clock.
    pub now: Timestamp,
}

/// The next status.
#[must_use]
pub fn next(facts: &Facts<'_>) -> EgressPoolStatus {
    let previous = facts.pool.status.clone().unwrap_or_default();
    let generation = facts.pool.metadata.generation;
    let now = Timestamp::from_second(facts.now.as_second()).unwrap_or(facts.now);
    let egress_ips = match &facts.valid {
        Ok(valid) => egress_ips(facts, valid),
        Err(_) => previous.egress_ips.clone(),
    };
    let mut unexpected: Vec<&str> = statuses(facts)
        .flat_map(|s| &s.unexpected_ips)
        .map(|e| e.ip.as_str())
        .collect();
    unexpected.sort_unstable();
    unexpected.dedup();
    let cells = cells(facts);
    let verdicts = verdicts(facts, &egress_ips, &cells);
    let reason = outstanding(&verdicts).map(|reason| reason.as_str().to_owned());
    let conditions = verdicts
        .into_iter()
        .map(|verdict| verdict.condition(&previous.conditions, generation, now))
        .collect();
    let join = |texts: &[&str]| (!texts.is_empty()).then(|| texts.join(","));
    EgressPoolStatus {
        observed_generation: generation,
        reason,
        policies: count(facts.policies.len()),
        egress_ip_summary: join(
            &egress_ips
                .iter()
                .map(|entry| entry.ip.as_str())
                .collect::<Vec<_>>(),
        ),
        unexpected_ip_summary: join(&unexpected),
        egress_ips,
        cells,
        conditions,
    }
}

fn statuses<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a egressway_crds::EgressPolicyStatus> {
    facts.policies.iter().filter_map(|policy| policy.status.as_ref())
}

fn egress_ips(facts: &Facts<'_>, valid: &ValidPool) -> Vec<PoolEgressIp> {
    let mut best: BTreeMap<(bool, Option<IpAddr>, String), (usize, PoolEgressIp)> = BTreeMap::new();
    let mut offer = |ip: &str, family: &str, cell: &str, state: &str| {
        let rank = STATES
            .iter()
            .position(|known| *known == state)
            .unwrap_or(STATES.len());
        let address = ip.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok());
        let key = (address.is_some_and(|ip| ip.is_ipv6()), address, ip.to_owned());
        let entry = PoolEgressIp {
            ip: ip.to_owned(),
            family: family.to_owned(),
            cell: cell.to_owned(),
            state: state.to_owned(),
        };
        match best.get(&key) {
            Some((known, _)) if *known <= rank => {}
            Some(_) | None => {
                best.insert(key, (rank, entry));
            }
        }
    };
    for cell in &valid.cells {
        for promise in cell
            .promises
            .iter()
            .flatten()
            .filter(|promise| !promise.over(facts.now))
        {
            let family = if promise.net.addr().is_ipv6() {
                "IPv6"
            } else {
                "IPv4"
            };
            offer(
                &promise.text(),
                family,
                &cell.name,
                promised_state(promise, facts.now),
            );
        }
    }
    for entry in statuses(facts).flat_map(|status| &status.egress_ips) {
        if valid.cells.iter().any(|cell| cell.name == entry.cell) {
            offer(&entry.ip, &entry.family, &entry.cell, &entry.state);
        }
    }
    best.into_values().map(|(_, entry)| entry).collect()
}

fn promised_state(promise: &Promise, now: Timestamp) -> &'static str {
    if promise.not_before.is_some_and(|time| time > now) {
        "Planned"
    } else if promise.not_after.is_some() {
        "Retiring"
    } else {
        "Declared"
    }
}

fn cells(facts: &Facts<'_>) -> Vec<CellStatus> {
    let mut cells: Vec<CellStatus> = facts
        .pool
        .spec
        .cells
        .iter()
        .map(|cell| {
            let fits = |node: &&Arc<Node>| fits(cell, node);
            // A node that has lost the cell's labels keeps its pods, and they count for no cell.
            let stands = |pod: &Pod| {
                let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
                let node = facts.nodes.iter().find(|node| Some(&*node.name_any()) == name);
                node.is_none_or(|node| fits(&node))
            };
            let ready = |pod: &&Arc<Pod>| {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                pod.labels().get(names::CELL_LABEL) == Some(&cell.name)
                    && stands(pod)
                    && conditions
                        .into_iter()
                        .flatten()
                        .any(|c| c.type_ == "Ready" && c.status == "True")
            };
            CellStatus {
                name: cell.name.clone(),
                state: if cell.state.is_empty() {
                    "Active".to_owned()
                } else {
                    cell.state.clone()
                },
                nodes: count(facts.nodes.iter().filter(fits).count()),
                ready_pods: count(facts.pods.iter().filter(ready).count()),
            }
        })
        .collect();
    cells.sort_by(|a, b| a.name.cmp(&b.name));
    cells
}

/// Whether a node is one of a cell's.
fn fits(cell: &Cell, node: &Node) -> bool {
    let mut wanted = cell.node_selector.iter();
    wanted.all(|(key, value)| node.labels().get(key) == Some(value))
}

/// Nodes that several cells in use take for theirs, in words. One NAT is behind a node, so the pods of the other cell leave
/// from an address that is not promised for it.
fn shared(facts: &Facts<'_>) -> Vec<String> {
    let in_use: Vec<&Cell> = facts
        .pool
        .spec
        .cells
        .iter()
        .filter(|cell| cell.state != "Disabled")
        .collect();
    let mut shared: Vec<String> = facts
        .nodes
        .iter()
        .filter_map(|node| {
            let of: Vec<&str> = in_use
                .iter()
                .filter(|cell| fits(cell, node))
                .map(|cell| cell.name.as_str())
                .collect();
            (of.len() > 1).then(|| {
                format!(
                    "node {} has the labels of cells {}",
                    node.name_any(),
                    of.join(" and ")
                )
            })
        })
        .collect();
    shared.sort_unstable();
    shared
}

/// What is to be told of cells whose state has moved.
#[must_use]
pub fn moved(before: Option<&EgressPoolStatus>, after: &EgressPoolStatus) -> Vec<Event> {
    let before = before.map_or(&[][..], |status| &status.cells);
    let moved = after.cells.iter().filter_map(|now| {
        let old = before.iter().find(|old| old.name == now.name)?;
        (!old.state.is_empty() && old.state != now.state).then_some(now)
    });
    moved
        .map(|cell| {
            let what = match cell.state.as_str() {
                "Draining" => "its pods take no new requests and finish what is open",
                "Disabled" => "its pods go",
                _ => "its pods serve again",
            };
            events::normal(
                &events::cell_event(&cell.state),
                &format!("cell {} is {}: {what}", cell.name, cell.state),
            )
        })
        .collect()
}

fn verdicts(facts: &Facts<'_>, egress_ips: &[PoolEgressIp], cells: &[CellStatus]) -> Vec<Verdict> {
    let accepted = match &facts.valid {
        Ok(valid) => accepted(&valid.warnings(facts.now)),
        Err(problems) => Verdict::new(Kind::Accepted, false, Reason::InvalidPool, problems.to_string()),
    };
    let verified = verified(facts, egress_ips);
    // A cell that is out of use may well have lost its nodes.
    let disabled = |name: &str| {
        let mut valid = facts.valid.iter().flat_map(|valid| &valid.cells);
        valid.any(|cell| cell.name == name && cell.state == CellState::Disabled)
    };
    let empty: Vec<&str> = cells
        .iter()
        .filter(|cell| cell.nodes == 0 && !disabled(&cell.name))
        .map(|cell| cell.name.as_str())
        .collect();
    let shared = shared(facts);
    let ready = if facts.valid.is_err() {
        Verdict::new(Kind::Ready, false, Reason::NotAccepted, accepted.message.clone())
    } else if !shared.is_empty() {
        let next = "one NAT is behind a node, so give each node the labels of one cell";
        let message = format!("{}: {next}", name(shared.iter().map(String::as_str)));
        Verdict::new(Kind::Ready, false, Reason::CellsOverlap, message)
    } else if empty.is_empty() {
        Verdict::new(
            Kind::Ready,
            true,
            Reason::AsExpected,
            "every cell in use has nodes",
        )
    } else {
        let message = format!(
            "no node has the labels of cell {}: label nodes, or correct nodeSelector",
            empty.join(", ")
        );
        Verdict::new(Kind::Ready, false, Reason::Unschedulable, message)
    };
    vec![accepted, verified, ready]
}

fn accepted(warnings: &[String]) -> Verdict {
    if warnings.is_empty() {
        return Verdict::new(Kind::Accepted, true, Reason::Accepted, "the pool means something");
    }
    let message = format!("the pool is in force; {}", warnings.join("; "));
    Verdict::new(Kind::Accepted, true, Reason::AcceptedWithWarnings, message)
}

/// The worst of the policies' verdicts; a pool without policies has nobody to see its addresses.
fn verified(facts: &Facts<'_>, egress_ips: &[PoolEgressIp]) -> Verdict {
    let verdict =
        |truth: Truth, reason, message: String| Verdict::new(Kind::EgressIpsVerified, truth, reason, message);
    let conditions = facts.policies.iter().filter_map(|policy| {
        let conditions = &policy.status.as_ref()?.conditions;
        Some((policy, find(conditions, Kind::EgressIpsVerified)?))
    });
    for (policy, condition) in conditions {
        if condition.status == Truth::False.as_str() {
            let name = format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any());
            return verdict(
                Truth::False,
                Reason::UnexpectedIp,
                format!("EgressPolicy {name}: {}", condition.message),
            );
        }
    }
    let seen = |state: &str| egress_ips.iter().filter(|entry| entry.state == state).count();
    let (verified, unconfirmed) = (seen("Verified"), seen("Unconfirmed"));
    // As a policy counts: promised now, no prefix, and somebody is there to be seen.
    let observed = |cell: &str| {
        let mut pods = facts.pods.iter();
        pods.any(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.labels().get(names::CELL_LABEL).is_some_and(|own| own == cell)
        })
    };
    let expected = |entry: &&PoolEgressIp| {
        matches!(entry.state.as_str(), "Declared" | "Stale")
            && !entry.ip.contains('/')
            && observed(&entry.cell)
    };
    let unseen = egress_ips.iter().filter(expected).map(|entry| entry.ip.as_str());
    let unseen = name(unseen);
    match (verified, unconfirmed) {
        (0, 0) if facts.policies.is_empty() => verdict(
            Truth::Unknown,
            Reason::NotYetObserved,
            "no policy uses the pool, so no pod observes it".to_owned(),
        ),
        (0, 0) => verdict(
            Truth::Unknown,
            Reason::NotYetObserved,
            "no address has been seen by a quorum".to_owned(),
        ),
        (0, count) => verdict(
            Truth::True,
            Reason::Unconfirmed,
            format!("{} seen; none is promised", addresses(count)),
        ),
        (count, _) if unseen.is_empty() => verdict(
            Truth::True,
            Reason::AllVerified,
            format!("{} seen", promised(count)),
        ),
        (count, _) => verdict(
            Truth::True,
            Reason::ExpectedIpNotSeen,
            format!("{} seen; not seen: {unseen}", promised(count)),
        ),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
