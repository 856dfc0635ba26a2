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
