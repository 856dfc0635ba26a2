//! Whoever reads a status at night must not need the fleet namespace to learn why nothing comes up.

use super::*;
use crate::cluster::trouble::Trouble;
use crate::egress_policy::status::verdicts::PROPAGATION;

fn in_trouble(trouble: Trouble) -> World {
    let mut world = settled();
    world.pods[0] = PodView {
        running: false,
        ready: false,
        report: None,
        trouble: Some(trouble),
        ..world.pods[0].clone()
    };
    world
}

#[test]
fn ready_says_what_keeps_pods_from_running() {
    for (trouble, word) in [
        (Trouble::Image, "proxy.imagePullSecrets"),
        (Trouble::Container, "Events"),
        (Trouble::Memory, "resources.limits.memory"),
        (Trouble::Crash, "--previous"),
    ] {
        let status = in_trouble(trouble).next();
        let words = ["p1", "node-of-p1", word];
        check(&status, Kind::Ready, "False", Reason::NoReadyPods, &words);
        assert!(status.pods[0].message.as_ref().unwrap().contains(word));
    }
}

#[test]
fn ready_says_why_there_are_no_pods_at_all() {
    let mut world = settled();
    world.pods.clear();
    let words = ["no pods yet", "Deployments", "fleet namespace"];
    check(&world.next(), Kind::Ready, "False", Reason::Starting, &words);
    world.cells[0].refused = Some("exceeded quota: fleets".to_owned());
    let words = ["cell a", "exceeded quota: fleets", "fleet namespace"];
    check(&world.next(), Kind::Ready, "False", Reason::NoReadyPods, &words);
}

#[test]
fn a_fleet_that_serves_says_what_keeps_the_rest_from_it() {
    let mut world = in_trouble(Trouble::Crash);
    let hash = world.hashes.policy.clone();
    let sees = seen(PROMISED, &["one", "two"], true);
    world.pods.push(pod("p2", "a", &hash, vec![sees]));
    world.cells[0].wanted = 2;
    let words = ["1 of 2", "p1", "--previous"];
    check(
        &world.next(),
        Kind::Degraded,
        "True",
        Reason::ReducedCapacity,
        &words,
    );
}

#[test]
fn a_pod_that_does_not_answer_is_told_from_one_that_answers_with_an_older_acl() {
    let mut world = settled();
    world.report().policies[0].hash = "older".to_owned();
    world.now += PROPAGATION.as_secs() + 1;
    let late = world.next();
    check(&late, Kind::Programmed, "False", Reason::PodsLagging, &["p1"]);
    let about = |status: &EgressPolicyStatus| {
        find(&status.conditions, Kind::Programmed)
            .unwrap()
            .message
            .clone()
    };
    assert!(!about(&late).contains("4752"), "{}", about(&late));
    world.pods[0].unreachable = true;
    check(
        &world.next(),
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p1", "4752", "network policy"],
    );
}

/// One pod serves on, and the one that is to follow it dies: what is under way never ends by itself.
#[test]
fn a_rollout_that_cannot_end_says_why() {
    let mut world = in_trouble(Trouble::Memory);
    world.pods[0].running = true;
    world.pods[0].unreachable = true;
    let hash = world.hashes.policy.clone();
    let sees = seen(PROMISED, &["one", "two"], true);
    world.pods.push(pod("p2", "a", &hash, vec![sees]));
    world.cells[0].settled = false;
    world.now += PROPAGATION.as_secs() + 1;
    let words = ["p1", "out of memory"];
    let status = world.next();
    check(&status, Kind::Progressing, "True", Reason::RollingOut, &words);
    check(
        &status,
        Kind::Programmed,
        "False",
        Reason::PodsLagging,
        &["p1", "see Progressing"],
    );
    let programmed = find(&status.conditions, Kind::Programmed).unwrap();
    assert!(
        !programmed.message.contains("network policy"),
        "{}",
        programmed.message
    );
}

#[test]
fn observers_are_not_blamed_where_no_pod_asks_them() {
    let mut world = settled();
    world.publish(1);
    world.pods.clear();
    let status = world.publish(1);
    assert_eq!(states(&status), [format!("{PROMISED} Stale")]);
    check(
        &status,
        Kind::EgressIpsVerified,
        "Unknown",
        Reason::NotYetObserved,
        &["no pod", "Ready"],
    );
}

/// Every fleet begins like this, and nobody has to be called for it; one that does not get on is another matter.
#[test]
fn a_fleet_that_starts_is_told_from_one_that_does_not_come_up() {
    let mut world = settled();
    world.pods[0].ready = false;
    world.pods[0].started = Some(Timestamp::from_second(T0).unwrap());
    let rows: [(Change, _, _, &[&str]); 2] = [
        (|w| w.now = T0 + 60, "False", Reason::Starting, &["starting"]),
        (|w| w.now = T0 + 61, "False", Reason::NoReadyPods, &["logs"]),
    ];
    steps(&mut world, Kind::Ready, &rows);
    // Nor is one that has served.
    let mut world = settled();
    world.publish(1);
    world.pods[0].ready = false;
    for _ in 0..2 {
        let status = world.publish(1);
        check(&status, Kind::Ready, "False", Reason::NoReadyPods, &[]);
    }
}
