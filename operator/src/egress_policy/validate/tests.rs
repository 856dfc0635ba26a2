//! Tables of validation, and the policy and pool that other tests of this crate begin with.

use serde_json::{Value, json};

use super::*;

pub(crate) fn pool(spec: Value) -> EgressPool {
    let mut pool = json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPool", "metadata": {"name": "edge"},
        "spec": {"allowedNamespaces": {"from": "All"},
                 "cells": [{"name": "a", "nodeSelector": {"pool": "edge"}, "addresses": [{"cidr": "192.31.196.10/32"}]}],
                 "observation": {"observers": [{"name": "one", "url": "http://one.example/"}, {"name": "two", "url": "http://two.example/"}]}}});
    for (key, value) in spec.as_object().unwrap() {
        pool["spec"][key] = value.clone();
    }
    serde_json::from_value(pool).unwrap()
}

pub(crate) fn policy(spec: Value) -> EgressPolicy {
    let mut policy = json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "webhooks", "namespace": "payments", "uid": "uid-1", "generation": 7},
        "spec": {"poolRef": {"name": "edge"}, "rules": [{"name": "echo", "hosts": ["*.example.test"]}]}});
    for (key, value) in spec.as_object().unwrap() {
        policy["spec"][key] = value.clone();
    }
    serde_json::from_value(policy).unwrap()
}

fn last() -> Accepted {
    let rules = content(&policy(json!({})).spec);
    Accepted(document::Policy::seal("payments", "webhooks", 6, rules))
}

fn run(policy: &EgressPolicy, pool: PoolFact<'_>, accepted: Option<Accepted>) -> Validated {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    validate(&Facts {
        policy,
        pool,
        namespace_labels: &labels,
        accepted,
    })
}

#[test]
fn a_good_policy_is_in_force() {
    let outcome = run(&policy(json!({})), PoolFact::Found(&pool(json!({}))), None);
    assert!(outcome.accepted, "{}", outcome.message);
    let valid = outcome.valid.unwrap();
    assert_eq!((valid.document.generation, valid.withdrawn), (7, false));
    assert_eq!(valid.shape.unwrap().fleet.replicas_per_cell, 2);
}

#[test]
fn problems_name_the_field_and_what_to_write() {
    for (spec, reason, words) in [
        (
            json!({"rules": [{"name": "net", "cidrs": ["192.175.48.1/24"]}]}),
            Reason::InvalidRule,
            "spec.rules[net]: \"192.175.48.1/24\" has host bits set: write 192.175.48.0/24",
        ),
        (
            json!({"rules": [{"name": "hex", "hosts": ["a.0x7f"]}]}),
            Reason::InvalidRule,
            "spec.rules[hex]",
        ),
        (
            json!({"rules": [{"name": "p", "hosts": ["a.example"], "ports": [{"port": 9, "endPort": 8}]}]}),
            Reason::InvalidRule,
            "endPort 8",
        ),
        (
            json!({"rules": [{"name": "p", "hosts": ["a.example"], "ports": [{"port": 70000}]}]}),
            Reason::InvalidRule,
            "port 0",
        ),
        (json!({"fleet": {"drain": "soon"}}), Reason::InvalidFleet, "drain"),
        (
            json!({"fleet": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}}),
            Reason::InvalidFleet,
            "limits.cpu",
        ),
    ] {
        let outcome = run(&policy(spec.clone()), PoolFact::Found(&pool(json!({}))), None);
        assert_eq!(
            (outcome.accepted, outcome.reason),
            (false, reason),
            "{spec}: {}",
            outcome.message
        );
        assert!(outcome.message.contains(words), "{spec}: {}", outcome.message);
        assert!(outcome.valid.is_none(), "a bad first version gets no fleet");
    }
}

#[test]
fn a_bad_edit_keeps_what_was_accepted() {
    let bad = policy(json!({"rules": [{"name": "net", "cidrs": ["192.175.48.1/24"]}]}));
    let outcome = run(&bad, PoolFact::Found(&pool(json!({}))), Some(last()));
    assert!(
        !outcome.accepted && outcome.message.contains("Generation 6 stays in force"),
        "{}",
        outcome.message
    );
    assert_eq!(outcome.valid.unwrap().document, last().0);
}

#[test]
fn a_pool_that_withdraws_takes_effect_at_once() {
    let walled = pool(json!({"allowedNamespaces": {"from": "Names", "names": ["other"]}}));
    let outcome = run(&policy(json!({})), PoolFact::Found(&walled), Some(last()));
    assert_eq!(
        (outcome.accepted, outcome.reason),
        (false, Reason::NamespaceNotAllowed)
    );
    let valid = outcome.valid.unwrap();
    assert!(valid.withdrawn && valid.document.content.suspended && valid.shape.is_some());
    assert_ne!(valid.document.hash, last().0.hash);
    assert!(
        run(&policy(json!({})), PoolFact::Found(&walled), None)
            .valid
            .is_none()
    );
}

#[test]
fn a_pool_that_withdraws_and_breaks_in_one_edit_withdraws() {
    let broken = pool(json!({
        "allowedNamespaces": {"from": "Names", "names": ["other"]},
        "cells": [{"name": "a", "nodeSelector": {"p": "e"}, "addresses": [{"cidr": "192.31.196.1/24"}]}],
    }));
    let outcome = run(&policy(json!({})), PoolFact::Found(&broken), Some(last()));
    assert_eq!(outcome.reason, Reason::NamespaceNotAllowed);
    assert!(outcome.valid.unwrap().document.content.suspended);
}

#[test]
fn a_pool_that_is_gone_leaves_the_pods_and_refuses_everything() {
    let outcome = run(&policy(json!({})), PoolFact::NotFound("edge"), Some(last()));
    let valid = outcome.valid.unwrap();
    assert!(valid.withdrawn && valid.shape.is_none());
    assert_eq!(outcome.reason, Reason::PoolNotFound);
}

#[test]
fn a_pool_that_means_nothing_changes_nothing() {
    let broken = pool(
        json!({"cells": [{"name": "a", "nodeSelector": {"p": "e"}, "addresses": [{"cidr": "192.31.196.1/24"}]}]}),
    );
    let outcome = run(&policy(json!({})), PoolFact::Found(&broken), Some(last()));
    assert_eq!(
        (outcome.reason, outcome.accepted),
        (Reason::PoolNotAccepted, false)
    );
    let valid = outcome.valid.unwrap();
    assert!(!valid.withdrawn && valid.shape.is_none());
}

#[test]
fn selectors_are_matched_against_the_namespace() {
    for (team, expected) in [("a", true), ("b", false)] {
        let pool = pool(
            json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": team}}}}),
        );
        assert_eq!(
            run(&policy(json!({})), PoolFact::Found(&pool), None).accepted,
            expected
        );
    }
}
