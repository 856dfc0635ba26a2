//! Rows for pools: each problem with its field and what to write instead, and what defaults and times mean.

mod odd;

use egressway_core::wire::document::OnMismatch;
use serde_json::{Value, json};

use super::*;

fn pool(patch: Value) -> EgressPool {
    let mut pool = json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPool", "metadata": {"name": "edge"},
        "spec": {"allowedNamespaces": {"from": "All"}, "cells": [{"name": "a", "nodeSelector": {"pool": "edge"}}]}});
    for (key, value) in patch.as_object().unwrap() {
        pool["spec"][key] = value.clone();
    }
    serde_json::from_value(pool).unwrap()
}

fn cell(name: &str, addresses: Value) -> Value {
    json!({"name": name, "nodeSelector": {"pool": "edge"}, "addresses": addresses})
}

fn observers(count: usize, rest: Value) -> Value {
    let list: Vec<Value> = (0..count)
        .map(|n| json!({"name": format!("o{n}"), "url": "http://o.example/"}))
        .collect();
    let mut observation = json!({"observers": list});
    for (key, value) in rest.as_object().unwrap() {
        observation[key] = value.clone();
    }
    json!({"observation": observation})
}

#[track_caller]
fn refused(patch: Value, words: &[&str]) {
    let problems = validate(&pool(patch.clone()))
        .expect_err("a pool that means nothing")
        .to_string();
    for word in words {
        assert!(
            problems.contains(word),
            "{patch}: {problems:?} says nothing of {word:?}"
        );
    }
}

#[test]
fn what_a_pool_says_in_vain_is_warned_of() {
    let past = json!([{"cidr": "192.31.196.1/32", "notAfter": "2020-01-01T00:00:00Z"}]);
    let exception =
        |net: &str| json!({"caps": {"internalDestinations": [{"cidr": net, "ports": [{"port": 443}]}]}});
    for (patch, words) in [
        (
            json!({"cells": [cell("a", json!([{"cidr": "10.1.2.3/32"}]))]}),
            "spec.cells[a].addresses: 10.1.2.3/32 is no address",
        ),
        (json!({"cells": [cell("a", past)]}), "every promise has ended"),
        (
            exception("127.0.0.0/8"),
            "spec.caps.internalDestinations[0]: 127.0.0.0/8 opens nothing",
        ),
        (
            exception("169.254.169.254/32"),
            "169.254.169.254/32 opens nothing",
        ),
    ] {
        let said = validate(&pool(patch.clone())).unwrap().warnings(Timestamp::now());
        assert!(said.join("; ").contains(words), "{patch}: {said:?}");
    }
    let good = json!({"cells": [cell("a", json!([{"cidr": "192.31.196.1/32"}]))]});
    assert!(
        validate(&pool(good))
            .unwrap()
            .warnings(Timestamp::now())
            .is_empty()
    );
    assert!(
        validate(&pool(exception("10.0.0.0/8")))
            .unwrap()
            .warnings(Timestamp::now())
            .is_empty()
    );
}

#[test]
fn an_exception_of_any_width_is_no_exception() {
    let exception = |entry: Value| json!({"caps": {"internalDestinations": [entry]}});
    let ports = json!([{"port": 443}]);
    for entry in [
        json!({"cidr": "0.0.0.0/0", "ports": ports}),
        json!({"cidr": "::/0", "ports": ports}),
        json!({"host": "a.corp.example", "cidrs": ["0.0.0.0/0"], "ports": ports}),
    ] {
        refused(
            exception(entry),
            &[
                "spec.caps.internalDestinations[0]",
                "wider than private networks",
                "write the range that is meant",
            ],
        );
    }
}

#[test]
fn problems_name_the_field_and_what_to_write() {
    let net = |cidr: &str| json!([{"cidr": cidr}]);
    refused(json!({"cells": []}), &["spec.cells", "at least one"]);
    refused(
        json!({"cells": [cell("a", net("192.31.196.1/24"))]}),
        &["spec.cells[a].addresses[0].cidr", "192.31.196.0/24"],
    );
    refused(
        json!({"cells": [cell("a", net("192.31.196.300/32"))]}),
        &["spec.cells[a].addresses[0].cidr"],
    );
    refused(
        json!({"cells": [cell("a", Value::Null), cell("a", Value::Null)]}),
        &["spec.cells[a]", "stands twice"],
    );
    refused(
        json!({"cells": [{"name": "a", "nodeSelector": {}}]}),
        &["spec.cells[a].nodeSelector"],
    );
    refused(
        json!({"cells": [{"name": "a", "nodeSelector": {"p": "e"}, "state": "Off"}]}),
        &["spec.cells[a].state", "Active, Draining or Disabled"],
    );
    refused(
        json!({"allowedNamespaces": {"from": "Selector"}}),
        &["spec.allowedNamespaces", "selector"],
    );
    refused(
        json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}),
        &["spec.allowedNamespaces"],
    );
    refused(
        json!({"allowedNamespaces": {"from": "Some"}}),
        &["spec.allowedNamespaces", "All, Selector or Names"],
    );
    refused(json!({"fleet": {"drain": "2h"}}), &["spec.fleet.drain", "1h"]);
    refused(json!({"fleet": {"drain": "soon"}}), &["spec.fleet.drain", "300s"]);
    refused(
        json!({"fleet": {"replicasPerCell": 0}}),
        &["spec.fleet.replicasPerCell"],
    );
    refused(
        observers(2, json!({"interval": "often"})),
        &["spec.observation.interval"],
    );
    refused(
        observers(2, json!({"quorum": 3})),
        &["spec.observation.quorum", "1 to 2"],
    );
    refused(
        observers(2, json!({"onMismatch": "Panic"})),
        &["spec.observation.onMismatch"],
    );
}

#[test]
fn times_are_read_and_must_make_sense() {
    let with = |times: Value| {
        let mut address = times;
        address["cidr"] = json!("192.31.196.10/32");
        json!({"cells": [cell("a", json!([address]))]})
    };
    refused(
        with(json!({"notBefore": "tomorrow"})),
        &["spec.cells[a].addresses[0].notBefore", "2027-03-01T00:00:00Z"],
    );
    refused(
        with(json!({"notAfter": "2027-13-01T00:00:00Z"})),
        &["addresses[0].notAfter"],
    );
    refused(
        with(json!({"notBefore": "2027-03-01T00:00:00Z", "notAfter": "2027-03-01T00:00:00Z"})),
        &["not after notBefore"],
    );
    let valid = validate(&pool(with(
        json!({"notBefore": "2027-03-01T00:00:00Z", "notAfter": "2027-04-01T00:00:00+02:00"}),
    )))
    .unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let promise = &valid.cells[0].promises.as_ref().unwrap()[0];
    for (time, in_force, over) in [
        ("2027-02-28T23:59:59Z", false, false),
        ("2027-03-01T00:00:00Z", true, false),
        ("2027-03-31T21:59:59Z", true, false),
        ("2027-03-31T22:00:00Z", false, true),
    ] {
        assert_eq!(
            (promise.in_force(at(time)), promise.over(at(time))),
            (in_force, over),
            "{time}"
        );
    }
    assert_eq!(
        valid.next_change(at("2027-01-01T00:00:00Z")),
        Some(at("2027-03-01T00:00:00Z"))
    );
    assert_eq!(
        valid.next_change(at("2027-03-01T00:00:00Z")),
        Some(at("2027-03-31T22:00:00Z"))
    );
    assert_eq!(valid.next_change(at("2027-04-02T00:00:00Z")), None);
}

#[test]
fn an_address_behind_two_nats_is_a_mistake() {
    let two = |a: &str, b: &str| json!({"cells": [cell("a", json!([{"cidr": a}])), cell("b", json!([{"cidr": b}]))]});
    for (a, b) in [
        ("192.31.196.10/32", "192.31.196.10/32"),
        ("192.31.196.0/28", "192.31.196.10/32"),
        ("192.31.196.10/32", "192.31.196.0/28"),
        ("2620:4f:8000:2::/64", "2620:4f:8000:2::10/128"),
    ] {
        refused(two(a, b), &["spec.cells[b].addresses", "overlaps", "of cell a"]);
    }
    assert!(validate(&pool(two("192.31.196.0/28", "192.31.196.16/28"))).is_ok());
}

#[test]
fn every_problem_is_told_at_once() {
    let problems = validate(&pool(json!({
        "cells": [cell("a", json!([{"cidr": "192.31.196.1/24"}])), {"name": "b", "nodeSelector": {}}],
        "fleet": {"drain": "soon"},
    })));
    assert_eq!(problems.unwrap_err().list().len(), 3);
}

#[test]
fn defaults() {
    let valid = validate(&pool(json!({}))).unwrap();
    assert_eq!(
        (valid.fleet.replicas_per_cell, valid.fleet.drain),
        (2, Duration::from_secs(300))
    );
    assert!(
        valid.observation.observers.is_empty(),
        "nobody is asked unless somebody is named"
    );
    assert_eq!(valid.cells[0].promises, None, "discovery");
    for (count, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3)] {
        let valid = validate(&pool(observers(count, json!({})))).unwrap();
        assert_eq!(valid.observation.quorum, quorum, "of {count}");
    }
    let mut declared = observers(2, json!({}));
    assert_eq!(
        validate(&pool(declared.clone())).unwrap().observation.on_mismatch,
        OnMismatch::Warn
    );
    declared["cells"] = json!([cell("a", json!([{"cidr": "192.31.196.10/32"}]))]);
    assert_eq!(
        validate(&pool(declared)).unwrap().observation.on_mismatch,
        OnMismatch::Quarantine
    );
}

#[test]
fn the_order_of_cells_means_nothing() {
    let (a, b) = (cell("a", Value::Null), cell("b", Value::Null));
    let order = |cells: Value| validate(&pool(json!({"cells": cells}))).unwrap();
    assert_eq!(order(json!([a, b])), order(json!([b, a])));
}

#[test]
fn namespaces_are_allowed_by_name_or_by_label() {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let not_a = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]});
    for (value, expected) in [
        (json!({"from": "All"}), true),
        (json!({"from": "Names", "names": ["payments"]}), true),
        (
            json!({"from": "Names", "names": ["payment", "payments-2"]}),
            false,
        ),
        (json!({"from": "Names"}), false),
        (
            json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}),
            true,
        ),
        (json!({"from": "Selector", "selector": not_a}), false),
    ] {
        let allowed: AllowedNamespaces = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(allows(&allowed, "payments", &labels), Ok(expected), "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_in_a_pool_panics(state in ".{0,12}", cidr in ".{0,20}", time in ".{0,20}", drain in ".{0,8}") {
        let mut cell = cell("a", json!([{"cidr": cidr, "notBefore": time}]));
        cell["state"] = json!(state);
        let _ = validate(&pool(json!({"cells": [cell], "fleet": {"drain": drain}})));
    }
}

#[test]
fn caps_that_mean_nothing_are_the_pools_problem() {
    let ports = json!([{"port": 443}]);
    for (spec, words) in [
        (
            json!({"caps": {"modes": ["Maybe"]}}),
            "spec.caps.modes: \"Maybe\"",
        ),
        (
            json!({"caps": {"hosts": {"deny": ["a.*"]}}}),
            "spec.caps.hosts.deny: ",
        ),
        (json!({"caps": {"ports": [{"port": 0}]}}), "spec.caps.ports: "),
        (
            json!({"caps": {"internalDestinations": [{"cidr": "10.0.0.1/8", "ports": ports}]}}),
            "spec.caps.internalDestinations[0]: ",
        ),
        (
            json!({"caps": {"internalDestinations": [{"host": "*.corp.example", "cidrs": ["10.0.0.0/8"], "ports": ports}]}}),
            "no wildcard opens the internal tier",
        ),
        (json!({"caps": {"clientAuth": "Maybe"}}), "spec.caps.clientAuth: "),
        (
            json!({"caps": {"maxReplicasPerCell": 101}}),
            "spec.caps.maxReplicasPerCell: 101 is not from 1 to 100",
        ),
        (
            json!({"caps": {"maxRulesPerPolicy": 0}}),
            "spec.caps.maxRulesPerPolicy: 0 is not from 1 to 1000",
        ),
        (
            json!({"caps": {"maxReplicasPerCell": 2}, "fleet": {"replicasPerCell": 3}}),
            "spec.fleet.replicasPerCell: is above spec.caps.maxReplicasPerCell, 2",
        ),
        (json!({"nat64Prefixes": ["192.0.2.0/24"]}), "spec.nat64Prefixes: "),
        (
            json!({"nat64Prefixes": ["2001:db8::/95"]}),
            "spec.nat64Prefixes: ",
        ),
    ] {
        refused(spec, &[words]);
    }
}
