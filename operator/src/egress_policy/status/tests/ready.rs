//! Ready and Degraded: what is to be done next, and what is missing.

use super::*;

#[test]
fn ready_names_the_next_action() {
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
    assert_eq!(
        (status.observed_generation, status.config.map(|c| c.generation)),
        (Some(8), Some(7))
    );
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
