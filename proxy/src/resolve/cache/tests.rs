//! What may be done with an answer at a given time: rows of looks.

use super::*;

const EPOCH: Epoch = Epoch {
    generation: 0,
    recoveries: 0,
};

fn addresses() -> Vec<IpAddr> {
    vec![IpAddr::from([192, 0, 2, 1])]
}

fn found(ttl: u32) -> Learned {
    Learned::Found {
        addresses: addresses(),
        ttl,
    }
}

fn servfail() -> Learned {
    Learned::Failed(ResolveError::Timeout)
}

fn refused() -> Learned {
    let said = [(
        "192.0.2.53:53".parse().unwrap(),
        super::super::question::Flaw::Refused,
    )];
    Learned::Failed(ResolveError::Failed(super::super::Failure::Servers(said.into())))
}

fn short(look: &Look) -> &'static str {
    match look {
        Look::Kept(Ok(_)) => "found",
        Look::Kept(Err(ResolveError::NotFound)) => "missing",
        Look::Kept(Err(_)) => "failed",
        Look::Refresh(_) => "refresh",
        Look::Stale(_) => "stale",
        Look::StaleForNow(_) => "stale for now",
        Look::Missing => "nothing",
    }
}

/// What happens to one name: after so many seconds something is learned, or looked for with an expectation.
enum Event {
    Learn(Learned),
    Look(&'static str),
    /// With other servers, and after so many came back.
    LookIn(u64, u64, &'static str),
}
use Event::{Learn, Look as L, LookIn};

#[track_caller]
fn check(events: Vec<(f64, Event)>) {
    let (cache, start) = (Cache::default(), Instant::now());
    for (n, (seconds, event)) in events.into_iter().enumerate() {
        let now = start + Duration::from_secs_f64(seconds);
        let (epoch, expected) = match event {
            Learn(learned) => {
                let _ = cache.learn("a.example", learned, now, EPOCH);
                continue;
            }
            L(expected) => (EPOCH, expected),
            LookIn(generation, recoveries, expected) => {
                let epoch = Epoch {
                    generation,
                    recoveries,
                };
                (epoch, expected)
            }
        };
        assert_eq!(
            short(&cache.look("a.example", now, epoch)),
            expected,
            "event {n} at {seconds} s"
        );
    }
}

#[test]
fn times_have_bounds() {
    let partial = Learned::Partial {
        addresses: addresses(),
        ttl: 60,
    };
    let missing = |ttl| Learned::Missing { ttl };
    for (learned, seconds, then) in [
        (found(0), 1.0, "stale"),
        (found(7), 7.0, "stale"),
        (found(86_400), 300.0, "stale"),
        (partial, 10.0, "stale"),
        (missing(None), 1.0, "nothing"),
        (missing(Some(0)), 1.0, "nothing"),
        (missing(Some(7)), 7.0, "nothing"),
        (missing(Some(900)), 10.0, "nothing"),
        (servfail(), 1.0, "nothing"),
    ] {
        let kept = match &learned {
            Learned::Missing { .. } => "missing",
            Learned::Failed(_) => "failed",
            Learned::Found { .. } | Learned::Partial { .. } => "found",
        };
        check(vec![
            (0.0, Learn(learned)),
            (seconds - 0.001, L(kept)),
            (seconds, L(then)),
        ]);
    }
}

#[test]
fn names_in_use_are_refreshed_before_their_end_and_once() {
    check(vec![
        (0.0, Learn(found(30))),
        (1.0, L("found")),
        (2.0, L("found")),
        (26.9, L("found")),
        (27.0, L("refresh")),
        (27.0, L("found")),
        (29.9, L("found")),
        (29.9, Learn(found(30))),
        (57.0, L("found")),
        (57.0, L("found")),
        (57.0, L("refresh")),
    ]);
    // Once is no use to speak of.
    check(vec![
        (0.0, Learn(found(30))),
        (28.0, L("found")),
        (29.0, L("found")),
        (30.0, L("stale")),
    ]);
    // A refresh in vain is not repeated before the end.
    check(vec![
        (0.0, Learn(found(1))),
        (0.4, L("found")),
        (0.4, L("found")),
        (0.5, L("refresh")),
        (0.9, Learn(servfail())),
        (0.95, L("found")),
        (1.0, L("stale for now")),
    ]);
}

#[test]
fn an_answer_outlives_an_outage_by_ten_minutes() {
    check(vec![
        (0.0, Learn(found(30))),
        (30.0, L("stale")),
        (35.0, Learn(servfail())),
        (36.9, L("stale for now")),
        (37.0, L("stale")),
        (42.0, Learn(servfail())),
        (43.0, L("stale for now")),
        // A server came back.
        (43.0, LookIn(0, 1, "stale")),
        (629.9, L("stale")),
        (630.0, L("nothing")),
        (635.0, Learn(servfail())),
        (635.5, L("failed")),
        (635.5, LookIn(0, 1, "nothing")),
        (636.0, L("nothing")),
    ]);
}

#[test]
fn only_an_outage_lets_it_live() {
    check(vec![
        (0.0, Learn(found(30))),
        (31.0, Learn(refused())),
        (31.5, L("failed")),
        (33.0, L("nothing")),
    ]);
    check(vec![
        (0.0, Learn(found(30))),
        (20.0, Learn(refused())),
        (21.0, L("found")),
        (31.0, L("stale")),
    ]);
    let missing = || Learned::Missing { ttl: Some(5) };
    check(vec![
        (0.0, Learn(found(30))),
        (31.0, Learn(missing())),
        (32.0, L("missing")),
        (36.0, L("nothing")),
    ]);
    check(vec![
        (0.0, Learn(missing())),
        (1.0, Learn(servfail())),
        (2.0, L("missing")),
        (5.0, L("nothing")),
    ]);
}

#[test]
fn other_servers_may_know_other_answers() {
    check(vec![
        (0.0, Learn(found(30))),
        (1.0, LookIn(1, 0, "stale")),
        (2.0, Learn(Learned::Missing { ttl: Some(9) })),
        (3.0, LookIn(1, 0, "nothing")),
        (3.0, L("missing")),
    ]);
}

#[test]
fn answers_have_a_bound_and_names_that_nobody_has_push_out_none_in_use() {
    let (cache, now) = (Cache::default(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    let used: Vec<String> = (0..1000).map(|n| format!("used{n}.example")).collect();
    for name in &used {
        let _ = cache.learn(name, found(300), now, EPOCH);
    }
    for n in 0..3 * ANSWERS_MAX {
        let missing = Learned::Missing { ttl: Some(9) };
        let _ = cache.learn(&format!("missing{n}.example"), missing, after(1), EPOCH);
    }
    let count = || {
        cache
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum::<usize>()
    };
    assert!(count() <= ANSWERS_MAX);
    let kept = |name: &String| matches!(cache.look(name, after(2), EPOCH), Look::Kept(Ok(_)));
    assert!(used.iter().all(kept));
    // Among answers it is the one used longest ago that goes.
    for n in 0..2 * ANSWERS_MAX {
        let _ = cache.learn(&format!("found{n}.example"), found(300), after(3), EPOCH);
        let _ = cache.look(&used[n % used.len()], after(4), EPOCH);
    }
    assert!(count() <= ANSWERS_MAX);
    assert!(
        used.iter()
            .all(|name| matches!(cache.look(name, after(5), EPOCH), Look::Kept(Ok(_))))
    );
}
