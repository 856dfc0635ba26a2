//! Rows for status: pods and what they report in, the contract and the conditions out.

use egressway_core::wire::document;
use egressway_core::wire::report::{self, Egress, PolicyInForce, Seen, VERSION};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::condition::{Kind, Reason, find};
use super::super::validate::tests::{policy, pool};
use super::*;
use crate::desired::secrets::Expiry;
use crate::desired::secrets::needs::{Part, Place};
use crate::desired::secrets::problem::{Fault, Problem};
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
    }
}

fn cell(name: &str, wanted: i32) -> CellView {
    CellView {
        name: name.to_owned(),
        wanted,
        settled: true,
    }
}

fn valid_pool(spec: Value) -> ValidPool {
    validate(&pool(spec)).unwrap()
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
    let id = Identity {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        uid: "uid-1".to_owned(),
        pool: "edge".to_owned(),
    };
    World {
        policy,
        pool: Some(valid_pool(json!({}))),
        validated: Validated {
            valid: Some(ValidPolicy {
                id,
                document,
                withdrawn: false,
                suspended: false,
                shape: None,
            }),
            accepted: true,
            reason: Reason::Accepted,
            message: "generation 7 is in force".to_owned(),
        },
        pods: vec![pod("p1", "a", &hash, vec![seen(PROMISED, &["one", "two"], true)])],
        hashes: Hashes {
            policy: hash,
            ..Hashes::default()
        },
        cells: vec![cell("a", 1)],
        secrets: Resolution::default(),
        failure: None,
        now: T0,
    }
}

impl World {
    fn next(&self) -> EgressPolicyStatus {
        next(&Facts {
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
            programmed_since: Some(Timestamp::from_second(T0).unwrap()),
            now: Timestamp::from_second(self.now).unwrap(),
        })
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
fn programmed_waits_for_a_table_made_from_the_selectors() {
    let mut world = settled();
    let hash = world.hashes.policy.clone();
    world.pods.push(PodView {
        follows: false,
        ..pod("p2", "a", &hash, vec![])
    });
    let status = world.next();
    check(
        &status,
        Kind::Programmed,
        "False",
        Reason::Propagating,
        &["1 of 2"],
    );
    assert_eq!(status.config.unwrap().pods_in_sync, 1);
    world.now = T0 + 16;
    check(
        &world.next(),
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p2"],
    );
    world.pods[1].follows = true;
    check(
        &world.next(),
        Kind::Programmed,
        "True",
        Reason::InSync,
        &["all 2"],
    );
}

#[test]
fn programmed_counts_every_pod_that_is_not_leaving() {
    let mut world = settled();
    world.pods.push(pod("p2", "a", "sha256:old", vec![]));
    let propagating = world.next();
    check(
        &propagating,
        Kind::Programmed,
        "False",
        Reason::Propagating,
        &["1 of 2"],
    );
    check(&propagating, Kind::Ready, "False", Reason::NotProgrammed, &[]);
    world.now = T0 + 16;
    check(
        &world.next(),
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p2"],
    );
    world.pods[1].report.as_mut().unwrap().load_error = Some("no such file".to_owned());
    check(
        &world.next(),
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p2: no such file"],
    );
    world.pods[1].terminating = true;
    check(
        &world.next(),
        Kind::Programmed,
        "True",
        Reason::InSync,
        &["all 1"],
    );
    world.pods[0].unreachable = true;
    check(
        &world.next(),
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p1"],
    );
    assert_eq!(world.next().pods[0].phase, "Unreachable");
    world.pods.clear();
    check(&world.next(), Kind::Programmed, "False", Reason::NoPods, &[]);
}

#[test]
fn a_promise_goes_from_declared_to_verified_to_stale_and_back() {
    let mut world = settled();
    world.sees(vec![]);
    assert_eq!(states(&world.publish(10)), ["192.31.196.10 Declared"]);
    world.sees(vec![seen(PROMISED, &["one"], false)]);
    assert_eq!(
        states(&world.publish(10)),
        ["192.31.196.10 Declared"],
        "one observer is no quorum"
    );
    world.sees(vec![seen(PROMISED, &["one", "two"], true)]);
    let verified = world.publish(10);
    assert_eq!(states(&verified), ["192.31.196.10 Verified"]);
    assert_eq!(verified.egress_ips[0].since.0.as_second(), T0 + 20);
    assert_eq!(
        verified.egress_ips[0].last_seen, None,
        "what ticks stands on Stale entries only"
    );
    world.sees(vec![seen(PROMISED, &[], false)]);
    let stale = world.publish(10);
    assert_eq!(states(&stale), ["192.31.196.10 Stale"]);
    assert_eq!(
        stale.egress_ips[0].last_seen.as_ref().map(|t| t.0.as_second()),
        Some(T0)
    );
    assert_eq!(world.publish(10), stale, "and stands still");
    world.sees(vec![seen(PROMISED, &["one", "two"], true)]);
    assert_eq!(states(&world.next()), ["192.31.196.10 Verified"]);
}

#[test]
fn times_of_a_promise_show_as_planned_and_retiring() {
    let at = |seconds: i64| Timestamp::from_second(T0 + seconds).unwrap().to_string();
    let mut world = settled();
    world.pool = Some(valid_pool(
        json!({"cells": [{"name": "a", "nodeSelector": {"pool": "edge"}, "addresses": [
            {"cidr": "192.31.196.9/32", "notAfter": at(100)},
            {"cidr": "192.31.196.10/32"},
            {"cidr": "192.31.196.11/32", "notBefore": at(100)},
        ]}]}),
    ));
    let before = world.next();
    assert_eq!(
        states(&before),
        [
            "192.31.196.9 Retiring",
            "192.31.196.10 Verified",
            "192.31.196.11 Planned"
        ]
    );
    assert!(before.egress_ips[0].not_after.is_some());
    world.sees(vec![
        seen(PROMISED, &["one", "two"], true),
        seen("192.31.196.11", &["one", "two"], true),
    ]);
    let early = world.next();
    assert_eq!(
        states(&early),
        states(&before),
        "seen too early is still only planned"
    );
    assert_eq!(
        early.unexpected_ip_summary.as_deref(),
        Some("192.31.196.11"),
        "and unexpected"
    );
    world.now = T0 + 100;
    let after = world.next();
    assert_eq!(
        states(&after),
        ["192.31.196.10 Verified", "192.31.196.11 Verified"]
    );
    assert_eq!(after.unexpected_ip_summary, None);
}

#[test]
fn drift_is_named_and_never_joins_the_contract() {
    let mut world = settled();
    world.sees(vec![seen(ODD, &["one", "two"], true)]);
    let status = world.next();
    assert_eq!(states(&status), ["192.31.196.10 Declared"]);
    assert_eq!(status.unexpected_ip_summary.as_deref(), Some(ODD));
    assert!(status.unexpected_ips[0].confirmed);
    check(
        &status,
        Kind::EgressIpsVerified,
        "False",
        Reason::UnexpectedIp,
        &["p1", "node-of-p1", ODD, "EgressPool edge"],
    );
    check(&status, Kind::Degraded, "True", Reason::EgressIpDrift, &[ODD]);
    world.report().phase = Phase::Quarantined;
    world.pods[0].ready = false;
    let status = world.next();
    check(&status, Kind::Ready, "False", Reason::Quarantined, &[ODD]);
    assert_eq!(status.pods[0].phase, "Quarantined");
}

#[test]
fn one_lying_observer_makes_an_entry_and_moves_no_condition() {
    let mut world = settled();
    let honest = world.publish(10);
    world.sees(vec![
        seen(PROMISED, &["one", "two"], true),
        seen(ODD, &["three"], false),
    ]);
    let status = world.publish(10);
    assert_eq!(status.conditions, honest.conditions);
    assert_eq!(status.egress_ips, honest.egress_ips);
    let entry = &status.unexpected_ips[0];
    assert_eq!(
        (&*entry.ip, entry.confirmed, &*entry.observers),
        (ODD, false, &["three".to_owned()][..])
    );
    assert_eq!(
        entry.last_seen.0.as_second() % 60,
        0,
        "to the minute, so that it is not written each round"
    );
    // Once only remembered it is gone, and so is the entry.
    world.sees(vec![seen(PROMISED, &["one", "two"], true), seen(ODD, &[], false)]);
    assert_eq!(world.next(), honest);
}

#[test]
fn in_discovery_whatever_a_quorum_sees_is_listed_and_stays_for_a_day() {
    let mut world = settled();
    world.pool = Some(valid_pool(
        json!({"cells": [{"name": "a", "nodeSelector": {"pool": "edge"}}]}),
    ));
    let status = world.publish(10);
    assert_eq!(states(&status), ["192.31.196.10 Unconfirmed"]);
    check(&status, Kind::EgressIpsVerified, "True", Reason::Unconfirmed, &[]);
    world.sees(vec![seen(ODD, &["one", "two"], true)]);
    let both = ["192.31.196.10 Stale", "192.31.196.110 Unconfirmed"];
    assert_eq!(states(&world.publish(3600 * 24)), both);
    assert_eq!(states(&world.publish(1)), both, "a day");
    assert_eq!(
        states(&world.next()),
        ["192.31.196.110 Unconfirmed"],
        "a day and a second"
    );
}

#[test]
fn dead_observers_are_said_and_take_nothing_down() {
    let mut world = settled();
    world.publish(60);
    world.sees(vec![seen(PROMISED, &[], false)]);
    let status = world.next();
    check(
        &status,
        Kind::EgressIpsVerified,
        "Unknown",
        Reason::ObserversUnreachable,
        &["observers"],
    );
    check(&status, Kind::Ready, "True", Reason::Serving, &[]);
    let mut fresh = settled();
    fresh.sees(vec![]);
    fresh.report().egress.rounds = 1;
    check(
        &fresh.next(),
        Kind::EgressIpsVerified,
        "Unknown",
        Reason::NotYetObserved,
        &[],
    );
    let mut unobserved = settled();
    unobserved.sees(vec![]);
    if let Some(pool) = &mut unobserved.pool {
        pool.observation.observers.clear();
    }
    let status = unobserved.next();
    check(
        &status,
        Kind::EgressIpsVerified,
        "Unknown",
        Reason::NoObservers,
        &["spec.observation", "edge"],
    );
    check(&status, Kind::Ready, "True", Reason::ServingUnobserved, &[]);
}

#[test]
fn a_replaced_pod_takes_no_address_back_before_it_has_looked() {
    let mut world = settled();
    let before = world.publish(10);
    world.sees(vec![]);
    world.report().egress.rounds = 0;
    assert_eq!(states(&world.next()), states(&before));
    world.report().egress.rounds = 1;
    assert_eq!(states(&world.next()), ["192.31.196.10 Stale"]);
}

#[test]
fn ready_names_the_next_action() {
    type Change = fn(&mut World);
    let rows: [(Change, Reason, &[&str]); 6] = [
        (|w| w.pods[0].ready = false, Reason::NoReadyPods, &["logs"]),
        (
            |w| {
                w.pods[0] = PodView {
                    running: false,
                    ready: false,
                    report: None,
                    ..w.pods[0].clone()
                };
                w.pods[0].unschedulable = Some("0/5 nodes are available".to_owned());
            },
            Reason::Unschedulable,
            &["0/5 nodes are available", "label"],
        ),
        (
            |w| {
                if let Some(valid) = &mut w.validated.valid {
                    valid.document.content.suspended = true;
                }
            },
            Reason::Suspended,
            &["spec.suspend"],
        ),
        (
            |w| w.failure = Some((Reason::ApplyFailed, "quota exceeded".to_owned())),
            Reason::ApplyFailed,
            &["quota exceeded"],
        ),
        (
            |w| {
                w.validated = Validated {
                    valid: None,
                    accepted: false,
                    reason: Reason::PoolNotFound,
                    message: "there is no EgressPool x: create it".to_owned(),
                };
            },
            Reason::NotAccepted,
            &["there is no EgressPool x: create it"],
        ),
        (
            |w| {
                if let Some(valid) = &mut w.validated.valid {
                    valid.withdrawn = true;
                }
                w.validated.message = "ask its owner".to_owned();
            },
            Reason::NotAccepted,
            &["ask its owner"],
        ),
    ];
    for (change, reason, words) in rows {
        let mut world = settled();
        change(&mut world);
        check(&world.next(), Kind::Ready, "False", reason, words);
    }
}

#[test]
fn a_refused_edit_leaves_a_good_fleet_ready_and_says_so() {
    let mut world = settled();
    world.validated.accepted = false;
    world.validated.reason = Reason::InvalidRule;
    world.validated.message = "generation 8 is refused: x. Generation 7 stays in force".to_owned();
    world.policy.metadata.generation = Some(8);
    let status = world.next();
    check(
        &status,
        Kind::Accepted,
        "False",
        Reason::InvalidRule,
        &["stays in force"],
    );
    check(
        &status,
        Kind::Ready,
        "True",
        Reason::Serving,
        &["generation 8 is refused"],
    );
    assert_eq!(
        (status.observed_generation, status.config.map(|c| c.generation)),
        (Some(8), Some(7))
    );
}

#[test]
fn degraded_tells_a_dead_cell_from_a_missing_pod() {
    let mut world = settled();
    world.pool = Some(valid_pool(json!({"cells": [
        {"name": "a", "nodeSelector": {"zone": "a"}}, {"name": "b", "nodeSelector": {"zone": "b"}},
    ]})));
    world.cells = vec![cell("a", 1), cell("b", 1)];
    check(
        &world.next(),
        Kind::Degraded,
        "True",
        Reason::CellDown,
        &["cell b"],
    );
    world
        .pods
        .push(pod("p2", "b", &world.hashes.policy.clone(), vec![]));
    check(&world.next(), Kind::Degraded, "False", Reason::AsExpected, &[]);
    world.cells[1].wanted = 2;
    world.cells[1].settled = false;
    let status = world.next();
    check(
        &status,
        Kind::Degraded,
        "True",
        Reason::ReducedCapacity,
        &["2 of 3"],
    );
    check(
        &status,
        Kind::Progressing,
        "True",
        Reason::RollingOut,
        &["cell b"],
    );
    // A cell that an admin drains is not down.
    world.pods.pop();
    world.pool = Some(valid_pool(json!({"cells": [
        {"name": "a", "nodeSelector": {"zone": "a"}}, {"name": "b", "nodeSelector": {"zone": "b"}, "state": "Draining"},
    ]})));
    check(
        &world.next(),
        Kind::Degraded,
        "True",
        Reason::ReducedCapacity,
        &[],
    );
}

#[test]
fn lists_are_sorted_by_number_and_bounded() {
    let mut world = settled();
    let hash = world.hashes.policy.clone();
    let odd = |n: usize| seen(&format!("192.31.197.{n}"), &["one", "two"], true);
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

fn sighting() -> impl Strategy<Value = Seen> {
    let observers = prop::collection::vec(prop::sample::select(vec!["one", "two", "three"]), 0..4);
    (0_u8..40, observers, any::<bool>(), 0..u64::MAX).prop_map(|(last, observers, confirmed, last_seen)| {
        Seen {
            last_seen,
            ..seen(&format!("192.31.196.{last}"), &observers, confirmed)
        }
    })
}

proptest! {
    /// Whatever pods say, and whatever status said before: customers read promises, and Verified only what was seen.
    #[test]
    fn no_report_adds_an_address_to_a_contract(
        first in prop::collection::vec(sighting(), 0..6), second in prop::collection::vec(sighting(), 0..6)
    ) {
        let mut world = settled();
        world.pool = Some(valid_pool(json!({"cells": [{"name": "a", "nodeSelector": {"pool": "edge"}, "addresses": [
            {"cidr": "192.31.196.10/32"}, {"cidr": "192.31.196.16/29"},
        ]}]})));
        world.sees(first);
        world.publish(60);
        world.sees(second.clone());
        let status = world.next();
        for entry in &status.egress_ips {
            let last: u8 = entry.ip.split('/').next().unwrap().rsplit('.').next().unwrap().parse().unwrap();
            prop_assert!(last == 10 || (16..24).contains(&last), "{entry:?}");
            let confirmed = second.iter().any(|seen| seen.confirmed && seen.ip.to_string() == entry.ip);
            prop_assert_eq!(entry.state == "Verified", confirmed, "{:?}", entry);
        }
        for entry in &status.unexpected_ips {
            prop_assert!(status.egress_ips.iter().all(|listed| listed.ip != entry.ip), "{entry:?}");
        }
        prop_assert_eq!(&world.publish(0), &world.next(), "what was written is not written again");
    }
}

fn problem(place: Part, fault: Fault) -> Problem {
    let place = Place {
        part: place,
        field: "spec.somewhere".to_owned(),
        keys: "tls.crt".to_owned(),
    };
    let settings = crate::desired::tests::settings();
    let id = Identity {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        uid: "uid-1".to_owned(),
        pool: "edge".to_owned(),
    };
    Problem::new(&id, "some", &place, fault, &settings)
}

#[test]
fn secrets_are_resolved_or_their_first_fault_is_told() {
    let mut world = settled();
    check(
        &world.next(),
        Kind::ResolvedRefs,
        "True",
        Reason::Resolved,
        &["no Secret"],
    );
    world.secrets.referred = 2;
    world.secrets.problems = vec![problem(Part::Client, Fault::Unreadable("503".to_owned()))];
    let words = &["stays in force: 503"];
    check(
        &world.next(),
        Kind::ResolvedRefs,
        "Unknown",
        Reason::SecretUnreadable,
        words,
    );
    check(&world.next(), Kind::Degraded, "False", Reason::AsExpected, &[]);
    world
        .secrets
        .problems
        .push(problem(Part::Client, Fault::NotFound));
    let status = world.next();
    check(
        &status,
        Kind::ResolvedRefs,
        "False",
        Reason::SecretNotFound,
        &["payments/some does not exist"],
    );
    check(
        &status,
        Kind::Degraded,
        "True",
        Reason::UnresolvedRefs,
        &["payments/some"],
    );
    check(&status, Kind::Ready, "True", Reason::Serving, &[]);
    world
        .secrets
        .problems
        .push(problem(Part::Listener, Fault::NotLabelled));
    check(
        &world.next(),
        Kind::Ready,
        "False",
        Reason::UnresolvedRefs,
        &["kubectl label"],
    );
}

#[test]
fn a_certificate_is_worth_a_word_before_its_end_and_after() {
    let mut world = settled();
    world.secrets.referred = 1;
    let place = Place {
        part: Part::Listener,
        field: "spec.listener.tls.certificateRef".to_owned(),
        keys: String::new(),
    };
    for (days, word) in [(15, None), (14, Some("expires at")), (0, Some("has expired at"))] {
        world.secrets.expiries = vec![Expiry {
            secret: "tls".to_owned(),
            place: place.clone(),
            not_after: Timestamp::from_second(T0 + days * 86400).unwrap(),
        }];
        let status = world.next();
        let message = &find(&status.conditions, Kind::ResolvedRefs).unwrap().message;
        assert_eq!(message.contains("renew it"), word.is_some(), "{days}: {message}");
        assert!(message.contains(word.unwrap_or("in use")), "{days}: {message}");
    }
}

#[test]
fn a_pod_that_has_other_secrets_is_not_in_sync() {
    let mut world = settled();
    world.hashes.secrets = "sha256:new".to_owned();
    check(&world.next(), Kind::Programmed, "False", Reason::Propagating, &[]);
    world.report().secrets_hash = "sha256:new".to_owned();
    check(&world.next(), Kind::Programmed, "True", Reason::InSync, &[]);
}

#[test]
fn mode_report_lists_what_would_be_refused_and_renews_it_seldom() {
    let denied = |world: &mut World, pod: usize, entries: &[(&str, u64)]| {
        let list = entries.iter().map(|(target, count)| report::WouldDeny {
            target: (*target).to_owned(),
            reason: "no-rule".to_owned(),
            count: *count,
        });
        world.pods[pod].report.as_mut().unwrap().policies[0].would_deny = list.collect();
    };
    let listed = |status: &EgressPolicyStatus| -> Vec<(String, i64)> {
        status
            .would_deny
            .iter()
            .map(|entry| (entry.target.clone(), entry.count))
            .collect()
    };
    let entries = |list: &[(&str, i64)]| -> Vec<(String, i64)> {
        list.iter()
            .map(|(target, count)| ((*target).to_owned(), *count))
            .collect()
    };
    let mut world = settled();
    world
        .pods
        .push(pod("p2", "a", &world.hashes.policy.clone(), vec![]));
    denied(&mut world, 0, &[("a.example:443", 2), ("b.example:443", 3)]);
    denied(&mut world, 1, &[("a.example:443", 5)]);
    assert!(
        world.next().would_deny.is_empty() && world.next().would_deny_updated.is_none(),
        "in mode Enforce never"
    );
    world.validated.valid.as_mut().unwrap().document.content.mode = document::Mode::Report;
    let first = world.publish(60);
    assert_eq!(
        listed(&first),
        entries(&[("a.example:443", 7), ("b.example:443", 3)])
    );
    denied(&mut world, 1, &[("c.example:443", 50)]);
    let soon = world.publish(239);
    assert_eq!(
        (listed(&soon), soon.would_deny_updated.clone()),
        (listed(&first), first.would_deny_updated.clone())
    );
    assert_eq!(
        world.next().would_deny,
        first.would_deny,
        "a second before it is time"
    );
    world.now += 1;
    let renewed = world.publish(600);
    assert_eq!(
        listed(&renewed),
        entries(&[("c.example:443", 50), ("b.example:443", 3), ("a.example:443", 2)])
    );
    assert_eq!(world.next(), renewed, "what does not move is not written");
    world.validated.valid.as_mut().unwrap().document.content.mode = document::Mode::Enforce;
    assert!(world.next().would_deny.is_empty());
    world.validated.valid.as_mut().unwrap().document.content.mode = document::Mode::Report;
    let many: Vec<(String, u64)> = (0..30).map(|n| (format!("{n}-{}", "x".repeat(400)), n)).collect();
    let many: Vec<(&str, u64)> = many
        .iter()
        .map(|(target, count)| (target.as_str(), *count))
        .collect();
    denied(&mut world, 0, &many);
    world.now += 600;
    let bounded = world.next().would_deny;
    assert_eq!(bounded.len(), report::WOULD_DENY_MAX);
    assert!(bounded.iter().all(|entry| entry.target.chars().count() <= 300));
}
