//! Programmed: whether every pod that stays enforces what is in force.

use super::*;

#[test]
fn it_waits_for_a_table_made_from_the_selectors() {
    let mut world = settled();
    world.joined_by("p2", "a");
    world.pods[1].follows = false;
    let rows: [(Change, _, _, &[&str]); 3] = [
        (|_| {}, "False", Reason::Propagating, &["1 of 2"]),
        (|w| w.now = T0 + 16, "False", Reason::PodsLagging, &["p2"]),
        (|w| w.pods[1].follows = true, "True", Reason::InSync, &["all 2"]),
    ];
    assert_eq!(world.next().config.unwrap().pods_in_sync, 1);
    steps(&mut world, Kind::Programmed, &rows);
}

#[test]
fn it_counts_every_pod_that_is_not_leaving() {
    let mut world = settled();
    world.pods.push(pod("p2", "a", "sha256:old", vec![]));
    check(&world.next(), Kind::Ready, "False", Reason::NotProgrammed, &[]);
    let unreadable: Change =
        |w| w.pods[1].report.as_mut().unwrap().load_error = Some("no such file".to_owned());
    let rows: [(Change, _, _, &[&str]); 5] = [
        (|_| {}, "False", Reason::Propagating, &["1 of 2"]),
        (|w| w.now = T0 + 16, "False", Reason::PodsLagging, &["p2"]),
        (unreadable, "False", Reason::PodsLagging, &["p2: no such file"]),
        (
            |w| w.pods[1].terminating = true,
            "True",
            Reason::InSync,
            &["the only pod enforces"],
        ),
        (
            |w| w.pods[0].unreachable = true,
            "False",
            Reason::PodsLagging,
            &["p1"],
        ),
    ];
    steps(&mut world, Kind::Programmed, &rows);
    assert_eq!(world.next().pods[0].phase, "Unreachable");
    let nobody: (Change, _, _, &[&str]) = (|w| w.pods.clear(), "False", Reason::NoPods, &[]);
    steps(&mut world, Kind::Programmed, &[nobody]);
}

#[test]
fn a_pod_that_has_other_secrets_is_not_in_sync() {
    let mut world = settled();
    world.hashes.secrets = "sha256:new".to_owned();
    let caught_up: Change = |w| w.report().secrets_hash = "sha256:new".to_owned();
    let rows: [(Change, _, _, &[&str]); 2] = [
        (|_| {}, "False", Reason::Propagating, &[]),
        (caught_up, "True", Reason::InSync, &[]),
    ];
    steps(&mut world, Kind::Programmed, &rows);
}

/// Pods that never come up hold nothing back: they read what is in force when they start.
#[test]
fn it_does_not_wait_for_pods_that_do_not_run() {
    let mut world = settled();
    world.joined_by("p2", "b");
    world.pods[1].report = None;
    (world.pods[1].running, world.pods[1].ready) = (false, false);
    let no_node: Change = |w| w.pods[1].unschedulable = Some("0/3 nodes are available".to_owned());
    let rows: [(Change, _, _, &[&str]); 5] = [
        (|_| {}, "False", Reason::Propagating, &["1 of 2"]),
        (no_node, "True", Reason::InSync, &["the only pod"]),
        (
            |w| w.pods[1].unschedulable = None,
            "False",
            Reason::Propagating,
            &[],
        ),
        (|w| w.now = T0 + 16, "True", Reason::InSync, &["the only pod"]),
        (
            |w| w.pods[1].running = true,
            "False",
            Reason::PodsLagging,
            &["p2"],
        ),
    ];
    steps(&mut world, Kind::Programmed, &rows);
    world.pods.remove(0);
    world.pods[0].running = false;
    world.pods[0].unschedulable = Some("0/3 nodes are available".to_owned());
    let rows: [(Change, _, _, &[&str]); 1] = [(|_| {}, "False", Reason::NoPods, &["see Ready"])];
    steps(&mut world, Kind::Programmed, &rows);
}

/// What the scheduler says stands in one condition, once.
#[test]
fn the_schedulers_words_are_said_once() {
    const WORDS: &str = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    for serves in [true, false] {
        let mut world = settled();
        for (name, cell) in [("p2", "a"), ("p3", "a")] {
            world.joined_by(name, cell);
            let pod = world.pods.last_mut().unwrap();
            (pod.running, pod.ready, pod.report) = (false, false, None);
            pod.unschedulable = Some(WORDS.to_owned());
        }
        if !serves {
            world.pods.remove(0);
        }
        world.cells = vec![CellView {
            settled: false,
            rolls: true,
            ..cell("a", 3)
        }];
        world.now = T0 + 60;
        let status = world.next();
        let all: String = status.conditions.iter().map(|c| c.message.clone()).collect();
        assert_eq!(all.matches("didn't match").count(), 1, "{all}");
        assert_eq!(all.matches("nodes are available").count(), 1, "{all}");
        let said = find(
            &status.conditions,
            if serves { Kind::Progressing } else { Kind::Ready },
        )
        .unwrap();
        assert!(said.message.contains("didn't match"), "{}", said.message);
    }
}
