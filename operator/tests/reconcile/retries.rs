//! What a failure costs: a delay that grows, and no status that calls for the next run by itself.

use egressway_operator::egress_policy::retry::Class;

use super::*;

/// As failures are counted.
const OBJECT: &str = "payments/webhooks";

/// A run that fails, and what the controller does about it.
async fn fails(world: &mut World) -> Class {
    world.sync();
    let policy = world
        .ctx
        .caches
        .policies
        .get(&policy_ref("payments", "webhooks"))
        .unwrap();
    let error = egress_policy::reconcile(Arc::clone(&policy), Arc::clone(&world.ctx))
        .await
        .unwrap_err();
    egress_policy::error_policy(policy, &error, Arc::clone(&world.ctx));
    assert!(
        world.ctx.wakes.failures.waits(OBJECT),
        "it is not tried again at once"
    );
    error.class()
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_its_class() {
    for (code, class) in [
        (403, Class::Refused),
        (404, Class::Refused),
        (409, Class::Conflict),
        (410, Class::Refused),
        (422, Class::Refused),
        (429, Class::Unavailable),
        (500, Class::Unavailable),
        (503, Class::Unavailable),
    ] {
        let mut world = world();
        let fleet = names::fleet_name("payments", "webhooks");
        world.api.lock().unwrap().refused =
            Some((format!("/api/v1/namespaces/{FLEETS}/services/{fleet}"), code));
        assert_eq!(fails(&mut world).await, class, "{code}");
    }
}

/// An API server's words may have a port or a count in them. The status that repeats them is an event of the policy, and
/// that event a run: without a bound they would chase each other.
#[tokio::test(start_paused = true)]
async fn words_that_change_with_every_attempt_make_no_loop() {
    let mut world = world();
    let fleet = names::fleet_name("payments", "webhooks");
    world.api.lock().unwrap().refused = Some((format!("/api/v1/namespaces/{FLEETS}/services/{fleet}"), 422));
    let status = format!("PATCH {POLICY}/status");
    fails(&mut world).await;
    assert!(world.writes().contains(&status));
    let words = |world: &World| {
        let policy = world.get(POLICY).unwrap();
        let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
        let ready = conditions
            .into_iter()
            .find(|condition| condition["type"] == "Ready")
            .unwrap();
        ready["message"].as_str().unwrap().to_owned()
    };
    let first = words(&world);
    assert!(first.contains("Invalid: attempt"), "{first}");
    for _ in 0..3 {
        fails(&mut world).await;
        assert!(
            !world.writes().contains(&status),
            "the same trouble in other words"
        );
    }
    assert_eq!(words(&world), first);
    tokio::time::advance(Duration::from_secs(400)).await;
    fails(&mut world).await;
    assert_ne!(words(&world), first, "now and then the words are renewed");
    world.api.lock().unwrap().refused = None;
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Ready"], "False Starting");
}

/// A namespace that goes takes its objects one by one, and each of them wakes the policy.
#[tokio::test(start_paused = true)]
async fn events_ahead_of_the_delay_do_not_lengthen_it() {
    let mut world = world();
    let fleet = names::fleet_name("payments", "webhooks");
    world.api.lock().unwrap().refused = Some((format!("/api/v1/namespaces/{FLEETS}/services/{fleet}"), 403));
    for _ in 0..7 {
        fails(&mut world).await;
        tokio::time::advance(Duration::from_millis(200)).await;
    }
    // 2 s and a fifth at most since the first of them.
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert!(
        !world.ctx.wakes.failures.waits(OBJECT),
        "seven events were one failure"
    );
    fails(&mut world).await;
    tokio::time::advance(Duration::from_millis(3900)).await;
    assert!(world.ctx.wakes.failures.waits(OBJECT), "that was the second");
}
