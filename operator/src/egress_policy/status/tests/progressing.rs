//! Progressing: what goes on, and not what merely is.

use super::*;

fn unready(world: &mut World, phase: Phase, active: u64) {
    world.cells[0].settled = false;
    world.pods[0].ready = false;
    let report = world.report();
    (report.phase, report.active) = (phase, active);
}

#[test]
fn a_cell_held_out_of_use_does_not_roll_out() {
    steps(
        &mut settled(),
        Kind::Progressing,
        &[
            (
                |w| unready(w, Phase::Draining, 3),
                "True",
                Reason::DrainingFleet,
                &["cell a", "finish what is open"],
            ),
            (|w| unready(w, Phase::Draining, 0), "False", Reason::Complete, &[]),
            (
                |w| unready(w, Phase::Quarantined, 3),
                "False",
                Reason::Complete,
                &[],
            ),
        ],
    );
}

#[test]
fn what_else_is_missing_does() {
    let rows: [Change; 5] = [
        |w| unready(w, Phase::Starting, 0),
        // The kubelet has not heard of it yet.
        |w| unready(w, Phase::Serving, 0),
        |w| {
            unready(w, Phase::Quarantined, 0);
            w.cells[0].rolls = true;
        },
        |w| {
            unready(w, Phase::Draining, 0);
            w.pods[0].unreachable = true;
        },
        |w| {
            unready(w, Phase::Quarantined, 0);
            w.joined_by("p2", "a");
            w.pods[1].ready = false;
            w.pods[1].report = None;
        },
    ];
    for row in rows {
        steps(
            &mut settled(),
            Kind::Progressing,
            &[(row, "True", Reason::RollingOut, &["cell a roll out"])],
        );
    }
}

#[test]
fn one_is_spoken_of_as_one() {
    let mut world = settled();
    check(
        &world.next(),
        Kind::Ready,
        "True",
        Reason::Serving,
        &["1 pod serves"],
    );
    let seen = "1 promised address seen by";
    check(
        &world.next(),
        Kind::EgressIpsVerified,
        "True",
        Reason::AllVerified,
        &[seen],
    );
    check(
        &world.next(),
        Kind::Programmed,
        "True",
        Reason::InSync,
        &["the only pod enforces"],
    );
    world.joined_by("p2", "a");
    check(
        &world.next(),
        Kind::Ready,
        "True",
        Reason::Serving,
        &["2 pods serve"],
    );
    check(
        &world.next(),
        Kind::Programmed,
        "True",
        Reason::InSync,
        &["all 2 pods enforce"],
    );
}
