//! Rows for a pool's status: the sum of its policies' statuses.

use serde_json::{Value, json};

use super::super::validate::validate;
use super::*;

const NOW: &str = "2027-01-01T00:00:00Z";

fn pool(cells: Value) -> EgressPool {
    serde_json::from_value(json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPool",
        "metadata": {"name": "edge", "generation": 3}, "spec": {"allowedNamespaces": {"from": "All"}, "cells": cells}}))
    .unwrap()
}

fn two_cells() -> EgressPool {
    pool(json!([
        {"name": "b", "nodeSelector": {"zone": "b"}, "addresses": [{"cidr": "192.31.196.20/32"}, {"cidr": "192.31.196.9/32", "notAfter": "2028-01-01T00:00:00Z"}]},
        {"name": "a", "nodeSelector": {"zone": "a"}, "addresses": [{"cidr": "192.31.196.10/32"}, {"cidr": "192.31.196.11/32", "notBefore": "2028-01-01T00:00:00Z"}]},
    ]))
}

fn policy(
    name: &str,
    ips: &[(&str, &str, &str)],
    unexpected: &[&str],
    verified: (&str, &str),
) -> EgressPolicy {
    let since = "2026-12-01T00:00:00Z";
    let ips: Vec<Value> = ips
        .iter()
        .map(|(ip, cell, state)| json!({"ip": ip, "family": "IPv4", "cell": cell, "state": state, "since": since}))
        .collect();
    let unexpected: Vec<Value> = unexpected
        .iter()
        .map(|ip| json!({"ip": ip, "family": "IPv4", "confirmed": true, "pods": [], "observers": [], "since": since, "lastSeen": since}))
        .collect();
    let condition = json!({"type": "EgressIPsVerified", "status": verified.0, "reason": "R", "message": verified.1, "lastTransitionTime": since});
    serde_json::from_value(json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": name, "namespace": "payments"}, "spec": {"poolRef": {"name": "edge"}, "rules": []},
        "status": {"egressIPs": ips, "unexpectedIPs": unexpected, "conditions": [condition]}}))
    .unwrap()
}

fn node(zone: &str) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": zone, "labels": {"zone": zone}}})).unwrap())
}

fn pod(cell: &str, ready: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"labels": {"egressway.dev/cell": cell}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap(),
    )
}

fn status(pool: &EgressPool, policies: &[EgressPolicy]) -> EgressPoolStatus {
    let policies: Vec<&EgressPolicy> = policies.iter().collect();
    next(&Facts {
        pool,
        valid: validate(pool),
        policies: &policies,
        nodes: &[node("a"), node("b"), node("elsewhere")],
        pods: &[pod("a", "True"), pod("a", "False"), pod("b", "True")],
        now: NOW.parse().unwrap(),
    })
}

fn states(status: &EgressPoolStatus) -> Vec<String> {
    status
        .egress_ips
        .iter()
        .map(|entry| format!("{} {} {}", entry.ip, entry.cell, entry.state))
        .collect()
}

fn condition(status: &EgressPoolStatus, kind: Kind) -> (&str, &str, &str) {
    let found = find(&status.conditions, kind).unwrap();
    (&found.status, &found.reason, &found.message)
}

#[test]
fn what_a_pool_says_in_vain_stands_in_its_condition() {
    let vain =
        pool(json!([{"name": "a", "nodeSelector": {"zone": "a"}, "addresses": [{"cidr": "10.1.2.3/32"}]}]));
    let status = status(&vain, &[]);
    let (holds, reason, message) = condition(&status, Kind::Accepted);
    assert_eq!((holds, reason), ("True", "AcceptedWithWarnings"));
    assert!(message.contains("10.1.2.3/32"), "{message}");
}

#[test]
fn promises_stand_there_before_anybody_uses_the_pool() {
    let status = status(&two_cells(), &[]);
    assert_eq!(
        states(&status),
        [
            "192.31.196.9 b Retiring",
            "192.31.196.10 a Declared",
            "192.31.196.11 a Planned",
            "192.31.196.20 b Declared"
        ],
        "sorted by number"
    );
    assert_eq!(
        status.egress_ip_summary.as_deref(),
        Some("192.31.196.9,192.31.196.10,192.31.196.11,192.31.196.20")
    );
    assert_eq!(condition(&status, Kind::EgressIpsVerified).0, "Unknown");
    assert_eq!(condition(&status, Kind::Accepted).0, "True");
    let cells: Vec<_> = status
        .cells
        .iter()
        .map(|c| (&*c.name, c.nodes, c.ready_pods))
        .collect();
    assert_eq!(cells, [("a", 1, 1), ("b", 1, 1)]);
    assert_eq!((status.policies, status.observed_generation), (0, Some(3)));
}

#[test]
fn the_best_that_any_policy_saw_counts() {
    let one = policy(
        "one",
        &[
            ("192.31.196.10", "a", "Verified"),
            ("192.31.196.20", "b", "Stale"),
        ],
        &[],
        ("True", ""),
    );
    let two = policy(
        "two",
        &[
            ("192.31.196.10", "a", "Declared"),
            ("192.31.196.20", "b", "Declared"),
        ],
        &[],
        ("True", ""),
    );
    for policies in [[one.clone(), two.clone()], [two, one]] {
        let status = status(&two_cells(), &policies);
        assert!(
            states(&status).contains(&"192.31.196.10 a Verified".to_owned()),
            "{:?}",
            states(&status)
        );
        assert!(
            states(&status).contains(&"192.31.196.20 b Stale".to_owned()),
            "{:?}",
            states(&status)
        );
        assert_eq!(status.policies, 2);
    }
}

#[test]
fn only_what_is_promised_now_is_expected() {
    let both = [
        ("192.31.196.10", "a", "Verified"),
        ("192.31.196.20", "b", "Verified"),
    ];
    let mut pool = two_cells();
    let seen = |pool: &EgressPool, ips: &[(&str, &str, &str)]| {
        let status = status(pool, &[policy("one", ips, &[], ("True", ""))]);
        let (truth, reason, message) = condition(&status, Kind::EgressIpsVerified);
        assert_eq!(truth, "True");
        (reason.to_owned(), message.to_owned())
    };
    // 192.31.196.9 retires, 192.31.196.11 is planned.
    let all = ("AllVerified".to_owned(), "2 promised addresses seen".to_owned());
    assert_eq!(seen(&pool, &both), all);
    let one = "1 promised address seen; not seen: 192.31.196.20".to_owned();
    for state in ["Declared", "Stale"] {
        let ips = [both[0], ("192.31.196.20", "b", state)];
        assert_eq!(
            seen(&pool, &ips),
            ("ExpectedIPNotSeen".to_owned(), one.clone()),
            "{state}"
        );
    }
    // A prefix is never met as such, and a cell without pods meets nothing.
    let prefix = json!({"cidr": "192.31.197.0/24"});
    let promised = pool.spec.cells[0].addresses.as_mut().unwrap();
    promised.push(serde_json::from_value(prefix).unwrap());
    let empty =
        json!({"name": "c", "nodeSelector": {"zone": "c"}, "addresses": [{"cidr": "192.31.196.30/32"}]});
    pool.spec.cells.push(serde_json::from_value(empty).unwrap());
    assert_eq!(seen(&pool, &both), all);
}

#[test]
fn a_policy_adds_nothing_for_a_cell_that_is_gone() {
    let old = policy("one", &[("192.31.196.99", "gone", "Verified")], &[], ("True", ""));
    assert!(
        states(&status(&two_cells(), &[old]))
            .iter()
            .all(|entry| !entry.contains("192.31.196.99"))
    );
}

#[test]
fn drift_of_one_policy_is_drift_of_the_pool_and_names_it() {
    let good = policy("good", &[("192.31.196.10", "a", "Verified")], &[], ("True", ""));
    let bad = policy(
        "bad",
        &[("192.31.196.10", "a", "Verified")],
        &["192.31.196.110"],
        ("False", "pod x leaves from y"),
    );
    let status = status(&two_cells(), &[good, bad]);
    let (truth, reason, message) = condition(&status, Kind::EgressIpsVerified);
    assert_eq!((truth, reason), ("False", "UnexpectedIP"));
    assert!(
        message.contains("payments/bad") && message.contains("pod x leaves from y"),
        "{message}"
    );
    assert_eq!(status.unexpected_ip_summary.as_deref(), Some("192.31.196.110"));
}

#[test]
fn a_pool_that_means_nothing_says_so_and_takes_no_address_back() {
    let mut broken = pool(
        json!([{"name": "a", "nodeSelector": {"zone": "a"}, "addresses": [{"cidr": "192.31.196.1/24"}]}]),
    );
    broken.status = Some(status(&two_cells(), &[]));
    let status = status(&broken, &[]);
    let (truth, reason, message) = condition(&status, Kind::Accepted);
    assert_eq!((truth, reason), ("False", "InvalidPool"));
    assert!(message.contains("192.31.196.0/24"), "{message}");
    assert_eq!(condition(&status, Kind::Ready).1, "NotAccepted");
    assert_eq!(status.egress_ips.len(), 4);
}

#[test]
fn a_cell_without_nodes_is_named() {
    let lonely = pool(json!([{"name": "moon", "nodeSelector": {"zone": "moon"}}]));
    let status = status(&lonely, &[]);
    let (truth, reason, message) = condition(&status, Kind::Ready);
    assert_eq!((truth, reason), ("False", "Unschedulable"));
    assert!(message.contains("moon"), "{message}");
}

#[test]
fn a_cell_out_of_use_needs_no_nodes() {
    for (state, expected) in [("Disabled", "True"), ("Draining", "False"), ("Active", "False")] {
        let pool = pool(json!([
            {"name": "a", "nodeSelector": {"zone": "a"}},
            {"name": "gone", "nodeSelector": {"zone": "gone"}, "state": state},
        ]));
        let status = status(&pool, &[]);
        assert_eq!(condition(&status, Kind::Ready).0, expected, "{state}");
    }
}

#[test]
fn the_same_facts_give_the_same_status() {
    let mut pool = two_cells();
    let first = status(&pool, &[]);
    pool.status = Some(first.clone());
    assert_eq!(status(&pool, &[]), first);
}

#[test]
fn a_cell_that_changes_its_state_is_told_once() {
    let status = |states: [&str; 2]| EgressPoolStatus {
        cells: ["a", "b"]
            .into_iter()
            .zip(states)
            .map(|(name, state)| CellStatus {
                name: name.to_owned(),
                state: state.to_owned(),
                ..CellStatus::default()
            })
            .collect(),
        ..EgressPoolStatus::default()
    };
    let told = |before: [&str; 2], after: [&str; 2]| {
        let events = moved(Some(&status(before)), &status(after));
        events.into_iter().map(|event| event.reason).collect::<Vec<_>>()
    };
    assert_eq!(
        told(["Active", "Active"], ["Draining", "Active"]),
        ["CellDraining"]
    );
    assert_eq!(
        told(["Draining", "Active"], ["Disabled", "Active"]),
        ["CellDisabled"]
    );
    assert_eq!(
        told(["Disabled", "Active"], ["Active", "Draining"]),
        ["CellActive", "CellDraining"]
    );
    assert!(told(["Draining", "Active"], ["Draining", "Active"]).is_empty());
    assert!(
        moved(None, &status(["Draining", "Active"])).is_empty(),
        "what is new has not moved"
    );
}

#[test]
fn a_node_that_two_cells_take_for_theirs_is_named() {
    let overlapping = pool(json!([
        {"name": "a", "nodeSelector": {"zone": "a"}},
        {"name": "b", "nodeSelector": {"zone": "a"}},
    ]));
    let now = status(&overlapping, &[]);
    let (truth, reason, message) = condition(&now, Kind::Ready);
    assert_eq!((truth, reason), ("False", "CellsOverlap"));
    assert!(
        message.contains("node a has the labels of cells a and b"),
        "{message}"
    );
    assert_eq!(now.reason.as_deref(), Some("CellsOverlap"));
    let apart = pool(json!([
        {"name": "a", "nodeSelector": {"zone": "a"}},
        {"name": "b", "nodeSelector": {"zone": "a"}, "state": "Disabled"},
    ]));
    assert_eq!(
        condition(&status(&apart, &[]), Kind::Ready).0,
        "True",
        "a cell out of use has no pods"
    );
}

#[test]
fn a_pool_that_means_something_is_accepted() {
    let now = status(&two_cells(), &[]);
    assert_eq!(condition(&now, Kind::Accepted).1, Reason::Accepted.as_str());
    assert_eq!(condition(&now, Kind::Ready).1, Reason::AsExpected.as_str());
    assert_eq!(now.reason.as_deref(), Some("AsExpected"));
}

#[test]
fn a_pod_on_a_node_that_lost_its_labels_counts_for_no_cell() {
    let pool = two_cells();
    let mut stray = (*pod("a", "True")).clone();
    stray.spec = serde_json::from_value(json!({"containers": [], "nodeName": "elsewhere"})).unwrap();
    let mut home = stray.clone();
    home.spec.as_mut().unwrap().node_name = Some("a".to_owned());
    for (pod, ready) in [(stray, 0), (home, 1)] {
        let status = next(&Facts {
            pool: &pool,
            valid: validate(&pool),
            policies: &[],
            nodes: &[node("a"), node("b"), node("elsewhere")],
            pods: &[Arc::new(pod)],
            now: NOW.parse().unwrap(),
        });
        assert_eq!((&*status.cells[0].name, status.cells[0].ready_pods), ("a", ready));
    }
}
