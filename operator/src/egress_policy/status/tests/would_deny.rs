//! What a fleet in mode Report would refuse.

use egressway_core::wire::report;

use super::*;

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
    let turn_to = |world: &mut World, mode: document::Mode| {
        world.validated.valid.as_mut().unwrap().document.content.mode = mode;
    };
    let mut world = settled();
    world.joined_by("p2", "a");
    denied(&mut world, 0, &[("a.example:443", 2), ("b.example:443", 3)]);
    denied(&mut world, 1, &[("a.example:443", 5)]);
    assert!(
        world.next().would_deny.is_empty() && world.next().would_deny_updated.is_none(),
        "in mode Enforce never"
    );
    turn_to(&mut world, document::Mode::Report);
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
    turn_to(&mut world, document::Mode::Enforce);
    assert!(world.next().would_deny.is_empty());
    turn_to(&mut world, document::Mode::Report);
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
