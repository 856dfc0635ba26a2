//! Whom a poll asks, and what comes of an answer.

use super::*;

#[test]
fn a_pod_that_refuses_is_not_written_for_ever() {
    let pauses =
        [0, 5, 6, 120, 121, 100_000].map(|since| nudge_pause(Duration::from_secs(since)).as_millis());
    assert_eq!(pauses, [600, 600, 10_000, 10_000, 600_000, 600_000]);
}

#[test]
fn a_new_wish_and_a_new_pod_begin_anew() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut due = Due::default();
    assert_eq!(
        due.behind(Some(at(0)), false, at(100)),
        Duration::ZERO,
        "a new pod under an old wish"
    );
    due.nudged = Some(at(100));
    assert_eq!(due.behind(Some(at(0)), false, at(130)), Duration::from_secs(30));
    assert_eq!(
        due.behind(Some(at(131)), false, at(131)),
        Duration::ZERO,
        "a new wish"
    );
    assert_eq!(due.nudged, None);
    assert_eq!(due.behind(Some(at(131)), true, at(140)), Duration::ZERO);
    assert_eq!(
        due.behind(Some(at(131)), false, at(150)),
        Duration::ZERO,
        "fell behind just now"
    );
}

#[test]
fn a_pod_has_what_it_should_have_when_all_documents_are_in_force() {
    let target = Target {
        uid: "uid".to_owned(),
        name: "pod".to_owned(),
        ip: IpAddr::from([127, 0, 0, 1]),
        policy: ("payments".to_owned(), "webhooks".to_owned()),
        policy_uid: "policy".to_owned(),
        key: String::new(),
    };
    let wanted = |policy: &str, floor: &str, pool: &str| Wanted {
        hashes: Hashes {
            policy: policy.to_owned(),
            floor: floor.to_owned(),
            pool: pool.to_owned(),
            clients: "clients".to_owned(),
            ..Hashes::default()
        },
        since: jiff::Timestamp::UNIX_EPOCH,
        at: Instant::now(),
        clients_at: Instant::now(),
        selected_at: Instant::now(),
    };
    let mut report = super::super::tests::report("h", &[]);
    let without = has(Some(&report), &target, &wanted("h", "floor", "pool"));
    assert_eq!((without.config, without.clients), (true, false));
    report.clients_hash = "clients".to_owned();
    assert_eq!(
        has(Some(&report), &target, &wanted("h", "floor", "pool")),
        Has::ALL
    );
    for other in [
        wanted("x", "floor", "pool"),
        wanted("h", "x", "pool"),
        wanted("h", "floor", "x"),
    ] {
        assert!(!has(Some(&report), &target, &other).config);
    }
    assert!(!has(None, &target, &wanted("h", "floor", "pool")).config);
    let stranger = Target {
        policy: ("other".to_owned(), "webhooks".to_owned()),
        ..target
    };
    assert!(!has(Some(&report), &stranger, &wanted("h", "floor", "pool")).config);
}
