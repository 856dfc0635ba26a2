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
    let rules = content(&policy(json!({})).spec, "payments").unwrap();
    Accepted {
        document: document::Policy::seal("payments", "webhooks", 6, rules),
        fleet: Some(PolicyFleet {
            replicas_per_cell: Some(2),
            ..PolicyFleet::default()
        }),
    }
}

fn run(policy: &EgressPolicy, pool: PoolFact<'_>, accepted: Option<Accepted>) -> Validated {
    remembering(policy, pool, accepted, None)
}

/// The same where a pool was accepted before.
fn remembering(
    policy: &EgressPolicy,
    pool: PoolFact<'_>,
    accepted: Option<Accepted>,
    kept: Option<&Kept>,
) -> Validated {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    validate(&Facts {
        policy,
        pool,
        kept,
        namespace_labels: &labels,
        fleet: accepted.is_some(),
        accepted,
        floor: &document::Floor::default(),
    })
}

fn is_closed(valid: &ValidPolicy) -> bool {
    valid.closed == Some(Closed::Unaccepted) && valid.document.content.closed == valid.closed
}

#[test]
fn a_good_policy_is_in_force() {
    let outcome = run(&policy(json!({})), PoolFact::Found(&pool(json!({}))), None);
    assert!(outcome.accepted, "{}", outcome.message);
    let valid = outcome.valid.unwrap();
    assert_eq!((valid.document.generation, valid.closed), (7, None));
    assert_eq!(valid.shape.unwrap().fleet.unwrap().replicas_per_cell, 2);
}

#[test]
fn what_can_never_match_is_in_force_and_named() {
    let rule = |what: Value| {
        let mut rule = json!({"name": "odd"});
        for (key, value) in what.as_object().unwrap() {
            rule[key] = value.clone();
        }
        json!({"rules": [rule]})
    };
    let hosts = json!({"caps": {"hosts": {"allow": ["*.example.com"]}}});
    for (spec, caps, words) in [
        (
            rule(json!({"hosts": ["kubernetes.default.svc"]})),
            json!({}),
            "kubernetes.default.svc is a name inside",
        ),
        (
            rule(json!({"cidrs": ["169.254.169.254/32"]})),
            json!({}),
            "169.254.169.254/32 is never reachable",
        ),
        (
            rule(json!({"cidrs": ["10.1.0.0/16"]})),
            json!({}),
            "10.1.0.0/16 is private",
        ),
        (
            rule(json!({"hosts": ["a.example.org"]})),
            hosts.clone(),
            "a.example.org is outside of what the pool opens",
        ),
        (
            rule(json!({"cidrs": ["0.0.0.0/0"]})),
            hosts,
            "0.0.0.0/0 is outside of what the pool opens",
        ),
    ] {
        let outcome = run(&policy(spec.clone()), PoolFact::Found(&pool(caps)), None);
        let said = (outcome.accepted, outcome.reason);
        assert_eq!(
            said,
            (true, Reason::AcceptedWithWarnings),
            "{spec}: {}",
            outcome.message
        );
        assert!(
            outcome
                .message
                .contains("generation 7 is accepted; spec.rules[odd]: it can never match")
                && outcome.message.contains(words),
            "{spec}: {}",
            outcome.message
        );
    }
    let covered = json!({"rules": [{"name": "a", "hosts": ["a.example"]}, {"name": "no", "action": "Deny", "hosts": ["*.example"]}]});
    for (spec, words) in [
        (
            covered,
            "spec.rules[a]: it can never match: a.example is denied by rule no",
        ),
        (json!({"rules": []}), "spec.rules: no rule allows anything"),
    ] {
        let outcome = run(&policy(spec), PoolFact::Found(&pool(json!({}))), None);
        assert_eq!(outcome.reason, Reason::AcceptedWithWarnings);
        assert!(
            outcome.accepted && outcome.message.contains(words),
            "{}",
            outcome.message
        );
    }
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
            json!({"rules": [{"name": "p", "hosts": ["a.example"], "clients": ["who"]}]}),
            Reason::InvalidRule,
            "spec.rules[p]: clients names \"who\"",
        ),
        (
            json!({"clients": [{"name": "a"}]}),
            Reason::InvalidClient,
            "spec.clients[a]: needs from, auth or both",
        ),
        (
            json!({"clients": [{"name": "a", "auth": {"certificate": {"caRef": {"name": "ca"}, "identities": ["CN=a"]}}}]}),
            Reason::InvalidClient,
            "spec.clients[a]: auth.certificate needs listener.tls",
        ),
        (
            json!({"clients": [{"name": "a", "auth": {}}]}),
            Reason::InvalidClient,
            "auth",
        ),
        (
            json!({"mode": "Maybe"}),
            Reason::InvalidSettings,
            "spec.mode: \"Maybe\" is none of Enforce",
        ),
        (
            json!({"timeouts": {"idle": "25h"}}),
            Reason::InvalidSettings,
            "spec.timeouts.idle: is not between",
        ),
        (
            json!({"timeouts": {"idle": "1 h"}}),
            Reason::InvalidSettings,
            "spec.timeouts.idle: \"1 h\" is no duration",
        ),
        (
            json!({"limits": {"signedBody": "65Mi"}}),
            Reason::InvalidSettings,
            "spec.limits.signedBody",
        ),
        (
            json!({"rules": [
                {"name": "a", "hosts": ["a.example"], "sni": "MustMatch"},
                {"name": "b", "hosts": ["a.example"]},
            ]}),
            Reason::ConflictingRules,
            "spec.rules a and b: both allow a.example",
        ),
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
    assert_eq!(outcome.valid.unwrap().document, last().document);
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
    assert!(is_closed(&valid) && valid.shape.is_some());
    assert_ne!(valid.document.hash, last().document.hash);
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
    assert!(is_closed(&outcome.valid.unwrap()));
}

fn kept(spec: Value) -> Kept {
    let pool = pool(spec);
    Kept {
        allowed: pool.spec.allowed_namespaces.clone(),
        pool: pools::validate(&pool).unwrap(),
    }
}

#[test]
fn a_pool_that_is_gone_takes_nothing_away_and_accepts_nothing_new() {
    let kept = kept(json!({}));
    let gone =
        |policy: &EgressPolicy| remembering(policy, PoolFact::NotFound("edge"), Some(last()), Some(&kept));
    let outcome = gone(&policy(
        json!({"rules": [{"name": "new", "hosts": ["new.example"]}]}),
    ));
    assert_eq!((outcome.accepted, outcome.reason), (false, Reason::PoolNotFound));
    let valid = outcome.valid.unwrap();
    assert_eq!((&valid.document, valid.closed), (&last().document, None));
    assert_eq!(valid.shape.unwrap().pool, kept.pool);
    for word in ["is gone", "accepted last", "Generation 6 stays in force"] {
        assert!(outcome.message.contains(word), "{}", outcome.message);
    }
    let suspended = gone(&policy(json!({"suspend": true}))).valid.unwrap();
    assert_eq!(
        suspended.closed,
        Some(Closed::Suspended),
        "its owner may close it"
    );
}

#[test]
fn a_pool_that_is_gone_and_of_which_nothing_is_known_refuses_everything() {
    let outcome = run(&policy(json!({})), PoolFact::NotFound("edge"), Some(last()));
    let valid = outcome.valid.unwrap();
    assert!(is_closed(&valid) && valid.shape.is_none());
    assert_eq!(outcome.reason, Reason::PoolNotFound);
    // A policy that has no fleet yet may name another one.
    let outcome = run(&policy(json!({})), PoolFact::NotFound("edge"), None);
    assert!(
        outcome.valid.is_none() && outcome.message.contains("correct the name"),
        "{}",
        outcome.message
    );
}

/// Whatever happens to the pool afterwards, what it withdrew stays withdrawn.
#[test]
fn a_permission_that_was_withdrawn_does_not_come_back_by_the_loss_of_the_pool() {
    let before = kept(json!({}));
    let broken = pool(json!({
        "allowedNamespaces": {"from": "Names", "names": ["other"]},
        "cells": [{"name": "a", "nodeSelector": {"p": "e"}, "addresses": [{"cidr": "192.31.196.1/24"}]}],
    }));
    let outcome = remembering(
        &policy(json!({})),
        PoolFact::Found(&broken),
        Some(last()),
        Some(&before),
    );
    let valid = outcome.valid.unwrap();
    assert!(is_closed(&valid));
    let note = valid.shape.unwrap().pool.note;
    assert_eq!(note.allowed_namespaces, broken.spec.allowed_namespaces);
    let after = before.allowing(&note.allowed_namespaces);
    let outcome = remembering(
        &policy(json!({})),
        PoolFact::NotFound("edge"),
        Some(last()),
        Some(&after),
    );
    assert_eq!(outcome.reason, Reason::NamespaceNotAllowed);
    assert!(is_closed(&outcome.valid.unwrap()));
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
    assert!(valid.closed.is_none() && valid.shape.is_none());
    let before = kept(json!({}));
    let outcome = remembering(
        &policy(json!({})),
        PoolFact::Found(&broken),
        Some(last()),
        Some(&before),
    );
    assert_eq!(outcome.valid.unwrap().shape.unwrap().pool, before.pool);
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

/// A row: what to change in the policy and in the pool's caps, the reason, words of the message, and the mode in force
/// where an earlier version was accepted.
#[test]
fn what_a_pool_caps_is_refused_with_what_to_do() {
    for (spec, caps, reason, words) in [
        (
            json!({"mode": "Report"}),
            json!({}),
            Reason::ModeNotAllowed,
            "spec.mode: EgressPool edge allows Enforce",
        ),
        (
            json!({"mode": "Open"}),
            json!({"modes": ["Enforce", "Report"]}),
            Reason::ModeNotAllowed,
            "allows Enforce and Report",
        ),
        (
            json!({}),
            json!({"clientAuth": "Required"}),
            Reason::ClientAuthRequired,
            "spec.clients[namespace]: EgressPool edge demands a credential",
        ),
        (
            json!({"rules": [{"name": "a", "hosts": ["a.example"]}, {"name": "b", "hosts": ["b.example"]}]}),
            json!({"maxRulesPerPolicy": 1}),
            Reason::TooManyRules,
            "spec.rules: there are 2, and EgressPool edge allows 1",
        ),
        (
            json!({"fleet": {"replicasPerCell": 3}}),
            json!({"maxReplicasPerCell": 2}),
            Reason::ReplicasAboveCap,
            "spec.fleet.replicasPerCell: EgressPool edge allows 2",
        ),
    ] {
        let walled = pool(json!({"caps": caps}));
        let outcome = run(&policy(spec.clone()), PoolFact::Found(&walled), Some(last()));
        assert_eq!(
            (outcome.accepted, outcome.reason),
            (false, reason),
            "{spec}: {}",
            outcome.message
        );
        assert!(outcome.message.contains(words), "{spec}: {}", outcome.message);
        let valid = outcome.valid.unwrap();
        assert!(valid.closed.is_none(), "proxies hold to the caps themselves");
        assert_eq!(valid.document, last().document);
        let shape = valid.shape.unwrap();
        assert_eq!(shape.fleet.unwrap().replicas_per_cell, 2);
        assert_eq!(
            shape.pool.caps.client_auth == ClientAuth::Required,
            caps["clientAuth"] == "Required"
        );
    }
}

#[test]
fn what_a_pool_allows_is_accepted() {
    for (spec, caps) in [
        (json!({"mode": "Report"}), json!({"modes": ["Report"]})),
        (
            json!({"mode": "Open", "rules": []}),
            json!({"modes": ["Open", "Enforce"]}),
        ),
        (
            json!({"clients": [{"name": "token", "auth": {"serviceAccounts": ["sender"]}}]}),
            json!({"clientAuth": "Required"}),
        ),
        (
            json!({}),
            json!({"maxRulesPerPolicy": 1, "maxReplicasPerCell": 1}),
        ),
    ] {
        let outcome = run(
            &policy(spec.clone()),
            PoolFact::Found(&pool(json!({"caps": caps}))),
            None,
        );
        assert!(outcome.accepted, "{spec}: {}", outcome.message);
    }
}
