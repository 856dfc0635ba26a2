//! Rows for status: pods and what they report in, the contract and the conditions out. Here is the fleet that all of them
//! begin with, and what the whole status must be like.

mod addresses;
mod programmed;
mod progressing;
mod ready;
mod secrets;
mod would_deny;

mod stuck;

use egressway_core::wire::document::{self, Closed};
use egressway_core::wire::report::{Egress, PolicyInForce, Seen, VERSION};
use serde_json::{Value, json};

use super::super::condition::{Kind, Reason, find};
use super::super::validate::tests::{policy, pool};
use super::*;
use crate::desired::{Identity, document::content};
use crate::egress_pool::validate::validate;

const T0: i64 = 1_790_000_040;
const PROMISED: &str = "192.31.196.10";
const ODD: &str = "192.31.196.110";

/// A fleet, one `next` away from its status.
#[derive(Clone)]
struct World {
    policy: EgressPolicy,
    pool: Option<ValidPool>,
    validated: Validated,
    hashes: Hashes,
    pods: Vec<PodView>,
    cells: Vec<CellView>,
    secrets: Resolution,
    failure: Option<(Reason, String)>,
    contested: Vec<String>,
    now: i64,
}

fn seen(ip: &str, observers: &[&str], confirmed: bool) -> Seen {
    let observers = observers.iter().map(|name| (*name).to_owned()).collect();
    Seen {
        ip: ip.parse().unwrap(),
        observers,
        confirmed,
        last_seen: u64::try_from(T0).unwrap(),
    }
}

/// Seen by two of two observers.
fn confirmed(ip: &str) -> Seen {
    seen(ip, &["one", "two"], true)
}

fn pod(name: &str, cell: &str, hash: &str, seen: Vec<Seen>) -> PodView {
    let in_force = PolicyInForce {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        generation: 7,
        hash: hash.to_owned(),
        would_deny: Vec::new(),
    };
    PodView {
        name: name.to_owned(),
        node: Some(format!("node-of-{name}")),
        zone: Some("z".to_owned()),
        cell: cell.to_owned(),
        running: true,
        ready: true,
        terminating: false,
        unschedulable: None,
        trouble: None,
        report: Some(Report {
            version: VERSION,
            build: "test".to_owned(),
            pod: name.to_owned(),
            uid: name.to_owned(),
            cell: cell.to_owned(),
            phase: Phase::Serving,
            policies: vec![in_force],
            floor_hash: String::new(),
            pool_hash: String::new(),
            clients_hash: String::new(),
            secrets_hash: String::new(),
            load_error: None,
            egress: Egress {
                rounds: 5,
                seen,
                observers: vec![],
            },
            active: 0,
        }),
        unreachable: false,
        asked: true,
        follows: true,
        started: None,
        misplaced: None,
    }
}

fn cell(name: &str, wanted: i32) -> CellView {
    CellView {
        name: name.to_owned(),
        wanted,
        settled: true,
        rolls: false,
        refused: None,
    }
}

fn valid_pool(spec: Value) -> ValidPool {
    validate(&pool(spec)).unwrap()
}

/// A pool with one cell and these addresses.
fn promising(addresses: &Value) -> ValidPool {
    valid_pool(json!({"cells": [
        {"name": "a", "nodeSelector": {"pool": "edge"}, "addresses": addresses},
    ]}))
}

fn identity() -> Identity {
    Identity {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        uid: "uid-1".to_owned(),
        pool: "edge".to_owned(),
        edition: 0,
    }
}

/// One cell, one promised address, one pod that was seen there by two of two observers.
fn settled() -> World {
    let policy = policy(json!({}));
    let document = document::Policy::seal(
        "payments",
        "webhooks",
        7,
        content(&policy.spec, "payments").unwrap(),
    );
    let hash = document.hash.clone();
    World {
        policy,
        pool: Some(valid_pool(json!({}))),
        validated: Validated {
            valid: Some(ValidPolicy {
                id: identity(),
                document,
                fleet: None,
                closed: None,
                shape: None,
            }),
            accepted: true,
            reason: Reason::Accepted,
            message: "generation 7 is in force".to_owned(),
        },
        pods: vec![pod("p1", "a", &hash, vec![confirmed(PROMISED)])],
        hashes: Hashes {
            policy: hash,
            ..Hashes::default()
        },
        cells: vec![cell("a", 1)],
        secrets: Resolution::default(),
        failure: None,
        contested: Vec::new(),
        now: T0,
    }
}

impl World {
    fn next(&self) -> EgressPolicyStatus {
        next(&self.facts())
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            clients_left_out: false,
            policy: &self.policy,
            validated: &self.validated,
            hashes: Some(&self.hashes),
            secrets: Some(&self.secrets),
            pool: self.pool.as_ref(),
            pods: &self.pods,
            cells: &self.cells,
            proxy_url: Some("http://proxy:4750".to_owned()),
            failure: self.failure.clone(),
            contested: self.contested.clone(),
            programmed_since: Some(Timestamp::from_second(T0).unwrap()),
            now: Timestamp::from_second(self.now).unwrap(),
        }
    }

    /// Writes the next status, then lets time pass.
    fn publish(&mut self, seconds: i64) -> EgressPolicyStatus {
        let status = self.next();
        self.policy.status = Some(status.clone());
        self.now += seconds;
        status
    }

    fn report(&mut self) -> &mut Report {
        self.pods[0].report.as_mut().unwrap()
    }

    /// Another pod, which enforces what is in force.
    fn joined_by(&mut self, name: &str, cell: &str) {
        let hash = self.hashes.policy.clone();
        self.pods.push(pod(name, cell, &hash, vec![]));
    }

    fn sees(&mut self, seen: Vec<Seen>) {
        self.report().egress.seen = seen;
    }
}

fn states(status: &EgressPolicyStatus) -> Vec<String> {
    status
        .egress_ips
        .iter()
        .map(|entry| format!("{} {}", entry.ip, entry.state))
        .collect()
}

fn truths(status: &EgressPolicyStatus) -> Vec<String> {
    status
        .conditions
        .iter()
        .map(|c| format!("{}={}", c.type_, c.status))
        .collect()
}

#[track_caller]
fn check(status: &EgressPolicyStatus, kind: Kind, truth: &str, reason: Reason, words: &[&str]) {
    let found = find(&status.conditions, kind).unwrap();
    assert_eq!(
        (&*found.status, &*found.reason),
        (truth, reason.as_str()),
        "{}",
        found.message
    );
    for word in words {
        assert!(
            found.message.contains(word),
            "{:?} says nothing of {word:?}",
            found.message
        );
    }
}

/// Something that happens.
type Change = fn(&mut World);

/// One change after the other, and what a condition says after each.
#[track_caller]
fn steps(world: &mut World, kind: Kind, rows: &[(Change, &str, Reason, &[&str])]) {
    for (change, truth, reason, words) in rows {
        change(world);
        check(&world.next(), kind, truth, *reason, words);
    }
}

#[test]
fn a_settled_fleet_is_ready_and_its_status_stands_still() {
    let mut world = settled();
    let status = world.publish(3600);
    assert_eq!(
        truths(&status),
        [
            "Accepted=True",
            "ResolvedRefs=True",
            "Programmed=True",
            "EgressIPsVerified=True",
            "Ready=True",
            "Progressing=False",
            "Degraded=False"
        ]
    );
    assert_eq!(states(&status), ["192.31.196.10 Verified"]);
    assert_eq!(status.egress_ip_summary.as_deref(), Some(PROMISED));
    assert_eq!((status.replicas, status.ready_replicas), (1, 1));
    let config = status.config.as_ref().unwrap();
    assert_eq!((config.generation, config.pods_in_sync, config.pods), (7, 1, 1));
    assert_eq!(
        (&*status.pods[0].phase, &status.pods[0].egress_ips),
        ("Serving", &vec![PROMISED.to_owned()])
    );
    // An hour later, the same address seen again: nothing to write.
    world.report().egress.seen[0].last_seen += 3600;
    world.report().egress.rounds += 60;
    assert_eq!(world.next(), status);
}

#[test]
fn lists_are_sorted_by_number_and_bounded() {
    let mut world = settled();
    let hash = world.hashes.policy.clone();
    let odd = |n: usize| confirmed(&format!("192.31.197.{n}"));
    world.pods = (0..150)
        .map(|n| pod(&format!("p{n:03}"), "a", &hash, (1..=100).map(odd).collect()))
        .collect();
    let status = world.next();
    assert_eq!(
        (
            status.pods.len(),
            status.unexpected_ips.len(),
            status.unexpected_ips[0].pods.len()
        ),
        (100, 32, 10)
    );
    let ips: Vec<&str> = status.unexpected_ips.iter().map(|entry| &*entry.ip).collect();
    assert_eq!(ips[8..11], ["192.31.197.9", "192.31.197.10", "192.31.197.11"]);
    assert_eq!(status.config.unwrap().pods, 150);
    let message = &find(&status.conditions, Kind::EgressIpsVerified).unwrap().message;
    assert!(message.chars().count() <= 1501, "{}", message.len());
}

#[test]
fn it_is_too_early_while_a_running_pod_has_not_been_asked() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut pods = settled().pods;
    assert!(!too_early(&pods, at(T0), at(T0)));
    pods[0].asked = false;
    assert!(too_early(&pods, at(T0), at(T0 + 1)));
    assert!(
        !too_early(&pods, at(T0), at(T0 + 6)),
        "not for ever: it may not be reachable at all"
    );
    pods[0].started = Some(at(T0 + 100));
    assert!(
        too_early(&pods, at(T0), at(T0 + 101)),
        "a new pod gets its time too"
    );
    pods[0].running = false;
    assert!(!too_early(&pods, at(T0), at(T0 + 101)));
}
