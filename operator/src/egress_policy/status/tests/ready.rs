//! Ready and Degraded: what is to be done next, and what is missing.

use super::*;

#[test]
fn ready_names_the_next_action() {
    let rows: [(Change, Reason, &[&str]); 6] = [
        (|w| w.pods[0].ready = false, Reason::Starting, &["logs"]),
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
                    valid.closed = Some(Closed::Unaccepted);
                }
                w.validated.message = "ask its owner".to_owned();
            },
            Reason::NotAccepted,
            &["ask its owner"],
        ),
    ];
    for (change, reason, words) in rows {
        steps(&mut settled(), Kind::Ready, &[(change, "False", reason, words)]);
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
    check(
        &status,
        Kind::Programmed,
        "False",
        Reason::NotAccepted,
        &[
            "generation 8 is refused",
            "generation 7 is in force",
            "the only pod",
        ],
    );
    assert_eq!(
        (status.observed_generation, status.config.map(|c| c.generation)),
        (Some(8), Some(7))
    );
    // What `kubectl wait` compares with the generation.
    let observed = |kind| find(&status.conditions, kind).unwrap().observed_generation;
    assert_eq!(
        (observed(Kind::Ready), observed(Kind::Programmed)),
        (Some(7), Some(8))
    );
    assert_eq!(status.reason.as_deref(), Some("InvalidRule"));
}

#[test]
fn the_reason_of_a_status_is_what_stands_out() {
    let refused = |reason: Reason| Validated {
        valid: None,
        accepted: false,
        reason,
        message: String::new(),
    };
    let secret: Change = |w| w.secrets = secrets::unreadable();
    let rows: [(Change, &str); 7] = [
        (|_| {}, "Serving"),
        (
            |w| w.pods[0].report.as_mut().unwrap().phase = Phase::Quarantined,
            "Quarantined",
        ),
        (|w| w.sees(vec![confirmed(ODD)]), "UnexpectedIP"),
        (|w| w.joined_by("p2", "gone"), "Serving"),
        (|w| w.cells = vec![cell("a", 2)], "ReducedCapacity"),
        (|w| w.pods.push(pod("p2", "a", "old", vec![])), "NotProgrammed"),
        (secret, "SecretUnreadable"),
    ];
    for (change, reason) in rows {
        let mut world = settled();
        change(&mut world);
        assert_eq!(world.next().reason.as_deref(), Some(reason));
    }
    for reason in [Reason::PoolNotFound, Reason::InvalidSettings] {
        let mut world = settled();
        world.validated = refused(reason);
        assert_eq!(world.next().reason.as_deref(), Some(reason.as_str()));
    }
}

#[test]
fn pods_that_let_nothing_through_do_not_serve() {
    for closed in [None, Some(Closed::Unaccepted), Some(Closed::Suspended)] {
        let mut world = settled();
        let valid = world.validated.valid.as_mut().unwrap();
        valid.document.content.closed = closed;
        valid.document.content.suspended = closed.is_none();
        valid.closed = closed;
        world.validated.accepted = closed.is_none();
        let status = world.next();
        assert_eq!(status.pods[0].phase, "Refusing", "{closed:?}");
        let truth = if closed.is_none() { "True" } else { "False" };
        let reason = if closed.is_none() {
            Reason::InSync
        } else {
            Reason::NotAccepted
        };
        check(
            &status,
            Kind::Programmed,
            truth,
            reason,
            &["refuses every new request"],
        );
        // Whoever has not heard of it serves.
        world.pods[0].report.as_mut().unwrap().policies[0].hash = "before".to_owned();
        assert_eq!(world.next().pods[0].phase, "Serving", "{closed:?}");
    }
}

/// Two cells; what the second one says besides.
fn two_cells(second: &Value) -> Option<ValidPool> {
    let mut b = json!({"name": "b", "nodeSelector": {"zone": "b"}});
    b.as_object_mut()
        .unwrap()
        .extend(second.as_object().unwrap().clone());
    Some(valid_pool(
        json!({"cells": [{"name": "a", "nodeSelector": {"zone": "a"}}, b]}),
    ))
}

#[test]
fn degraded_tells_a_dead_cell_from_a_missing_pod() {
    let mut world = settled();
    world.pool = two_cells(&json!({}));
    world.cells = vec![cell("a", 1), cell("b", 1)];
    let rolls_out: Change = |w| {
        w.cells[1].wanted = 2;
        w.cells[1].settled = false;
    };
    let rows: [(Change, _, _, &[&str]); 3] = [
        (|_| {}, "True", Reason::CellDown, &["cell b"]),
        (|w| w.joined_by("p2", "b"), "False", Reason::AsExpected, &[]),
        (rolls_out, "True", Reason::ReducedCapacity, &["2 of 3"]),
    ];
    steps(&mut world, Kind::Degraded, &rows);
    let status = world.next();
    check(
        &status,
        Kind::Progressing,
        "True",
        Reason::RollingOut,
        &["cell b"],
    );
    // A cell that an admin drains is not down.
    world.pods.pop();
    world.pool = two_cells(&json!({"state": "Draining"}));
    let status = world.next();
    check(&status, Kind::Degraded, "True", Reason::ReducedCapacity, &[]);
}

#[test]
fn without_a_fleet_every_condition_says_so() {
    let mut world = settled();
    world.validated = Validated {
        valid: None,
        accepted: false,
        reason: Reason::InvalidRule,
        message: "spec.rules[a]: x".to_owned(),
    };
    let status = next(&Facts {
        secrets: None,
        hashes: None,
        ..world.facts()
    });
    check(
        &status,
        Kind::ResolvedRefs,
        "Unknown",
        Reason::NotAccepted,
        &["see Accepted"],
    );
    check(
        &status,
        Kind::Programmed,
        "False",
        Reason::NotAccepted,
        &["see Accepted"],
    );
    check(
        &status,
        Kind::Ready,
        "False",
        Reason::NotAccepted,
        &["spec.rules[a]"],
    );
    check(
        &status,
        Kind::Degraded,
        "False",
        Reason::AsExpected,
        &["no fleet"],
    );
}

#[test]
fn a_write_that_fails_is_under_way() {
    let mut world = settled();
    world.failure = Some((Reason::ApplyFailed, "quota exceeded".to_owned()));
    check(
        &world.next(),
        Kind::Progressing,
        "True",
        Reason::ApplyFailed,
        &["quota exceeded"],
    );
}

#[test]
fn client_pods_that_found_no_room_are_told() {
    let world = settled();
    let status = next(&Facts {
        clients_left_out: true,
        ..world.facts()
    });
    check(
        &status,
        Kind::Degraded,
        "True",
        Reason::ClientPodsLeftOut,
        &["narrow"],
    );
}

/// A node dies, another cell serves, and no ACL has changed.
#[test]
fn a_crashed_node_degrades_and_neither_unreadies_nor_rolls_out() {
    let mut world = settled();
    world.pool = two_cells(&json!({}));
    world.cells = vec![cell("a", 1), cell("b", 1)];
    world.joined_by("p2", "b");
    let silent: Change = |w| w.pods[1].unreachable = true;
    // What Kubernetes says after 40 s.
    let given_up: Change = |w| {
        w.pods[1].ready = false;
        w.cells[1].settled = false;
    };
    for change in [silent, given_up] {
        change(&mut world);
        let status = world.next();
        check(&status, Kind::Ready, "True", Reason::Serving, &["1 pod serves"]);
        check(&status, Kind::Progressing, "False", Reason::Complete, &[]);
        let words = ["cell b", "p2", "node-of-p2", "4752"];
        check(&status, Kind::Degraded, "True", Reason::CellDown, &words);
    }
    // The same beside a pod of the same cell.
    world.joined_by("p3", "b");
    world.cells[1].wanted = 2;
    check(
        &world.next(),
        Kind::Degraded,
        "True",
        Reason::PodsUnreachable,
        &["p2", "node-of-p2"],
    );
    // An ACL that changes now has not reached it, and that is said; those that serve have it.
    for pod in [0, 2] {
        world.pods[pod].report.as_mut().unwrap().policies[0].hash = "sha256:new".to_owned();
    }
    world.hashes.policy = "sha256:new".to_owned();
    let status = world.next();
    check(
        &status,
        Kind::Programmed,
        "False",
        Reason::Propagating,
        &["1 of 3"],
    );
    check(&status, Kind::Ready, "True", Reason::Serving, &["2 pods serve"]);
}

#[test]
fn where_no_pod_answers_nobody_is_told_that_clients_are_served() {
    let mut world = settled();
    world.pods[0].unreachable = true;
    check(
        &world.next(),
        Kind::Ready,
        "False",
        Reason::PodsUnreachable,
        &["p1", "4752", "network policy"],
    );
}

#[test]
fn what_others_set_and_pods_out_of_place_degrade() {
    use crate::egress_policy::status::Misplaced;
    let rows: [(Change, _, _, &[&str]); 4] = [
        (
            |w| w.contested = vec!["Deployment d: painter sets image".to_owned()],
            "True",
            Reason::FieldsContested,
            &["painter sets image"],
        ),
        (
            |w| w.pods[0].misplaced = Some(Misplaced::Stays),
            "True",
            Reason::PodsMisplaced,
            &["p1", "node-of-p1", "cell a", "label one"],
        ),
        (
            |w| w.pods[0].misplaced = Some(Misplaced::Moves),
            "True",
            Reason::PodsMisplaced,
            &["it is replaced"],
        ),
        (
            |w| {
                w.pods[0].misplaced = None;
                w.contested.clear();
            },
            "False",
            Reason::AsExpected,
            &[],
        ),
    ];
    let mut world = settled();
    steps(&mut world, Kind::Degraded, &rows);
}
