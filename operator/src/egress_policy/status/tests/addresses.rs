//! The contract: what is promised, seen, missing or unexpected, and that no report adds to it.

use proptest::prelude::*;

use super::*;

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
    world.sees(vec![confirmed(PROMISED)]);
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
    world.sees(vec![confirmed(PROMISED)]);
    assert_eq!(states(&world.next()), ["192.31.196.10 Verified"]);
}

#[test]
fn times_of_a_promise_show_as_planned_and_retiring() {
    let at = |seconds: i64| Timestamp::from_second(T0 + seconds).unwrap().to_string();
    let mut world = settled();
    world.pool = Some(promising(&json!([
        {"cidr": "192.31.196.9/32", "notAfter": at(100)},
        {"cidr": "192.31.196.10/32"},
        {"cidr": "192.31.196.11/32", "notBefore": at(100)},
    ])));
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
    world.sees(vec![confirmed(PROMISED), confirmed("192.31.196.11")]);
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
    world.sees(vec![confirmed(ODD)]);
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
    world.sees(vec![confirmed(PROMISED), seen(ODD, &["three"], false)]);
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
    world.sees(vec![confirmed(PROMISED), seen(ODD, &[], false)]);
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
    world.sees(vec![confirmed(ODD)]);
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
        world.pool = Some(promising(&json!([{"cidr": "192.31.196.10/32"}, {"cidr": "192.31.196.16/29"}])));
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

#[test]
fn an_address_of_another_cell_stands_in_one_list_and_is_told() {
    let mut world = settled();
    world.pool = Some(valid_pool(json!({"cells": [
        {"name": "a", "nodeSelector": {"zone": "a"}, "addresses": [{"cidr": "192.31.196.10/32"}]},
        {"name": "b", "nodeSelector": {"pool": "edge"}, "addresses": [{"cidr": "192.31.196.20/32"}]},
    ]})));
    world.joined_by("p2", "b");
    world.pods[1].report.as_mut().unwrap().egress.seen = vec![confirmed(PROMISED)];
    let status = world.next();
    assert_eq!(
        states(&status),
        ["192.31.196.10 Verified", "192.31.196.20 Declared"]
    );
    assert!(status.unexpected_ips.is_empty(), "{:?}", status.unexpected_ips);
    let words = ["p2", "cell b", "promised for cell a", "labels of both"];
    check(
        &status,
        Kind::EgressIpsVerified,
        "False",
        Reason::UnexpectedIp,
        &words,
    );
    check(&status, Kind::Degraded, "True", Reason::EgressIpDrift, &words);
    // One observer's odd answer is none.
    world.pods[1].report.as_mut().unwrap().egress.seen = vec![seen(PROMISED, &["one"], false)];
    check(
        &world.next(),
        Kind::EgressIpsVerified,
        "True",
        Reason::ExpectedIpNotSeen,
        &[],
    );
}

#[test]
fn an_address_was_not_seen_last_before_it_was_noticed() {
    let mut world = settled();
    world.now = T0 + 59;
    world.sees(vec![confirmed(ODD)]);
    let status = world.publish(1);
    let entry = &status.unexpected_ips[0];
    assert!(entry.last_seen >= entry.since, "{entry:?}");
    world.report().egress.seen[0].last_seen += 600;
    world.now += 600;
    let later = world.next().unexpected_ips[0].clone();
    assert_eq!(later.since, entry.since);
    assert!(later.last_seen > entry.last_seen);
}
