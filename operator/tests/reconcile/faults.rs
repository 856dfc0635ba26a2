//! A fault at every call of a fleet's life: its creation, an edit, its deletion. The end is the one without the fault, and
//! then no call is made any more.

use std::ops::AsyncFn;

use super::life::{difference, end, rest};
use super::*;

/// Faults that are told apart: each happens to every call.
const APART: [Fault; 5] = [
    Fault::Refused(403),
    Fault::Refused(409),
    Fault::Refused(500),
    Fault::Lost,
    Fault::Unanswered,
];

/// Faults that are taken like one of those: the next of them happens to the next call.
const ALIKE: [Fault; 5] = [
    Fault::Refused(410),
    Fault::Refused(422),
    Fault::Refused(429),
    Fault::Refused(503),
    Fault::Dropped,
];

/// What the next run finds after a fault.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Caches that have seen everything.
    Seen,
    /// Caches that have heard of nothing since before the fault.
    Missed,
    /// An operator that has just been started.
    Restarted,
}

const THEN: [Then; 3] = [Then::Seen, Then::Missed, Then::Restarted];

/// Makes `change` to what `begin` gives, once without a fault and then with faults at each call, and compares the ends.
async fn whichever_call_fails(begin: impl AsyncFn() -> World, change: impl Fn(&World), calls_min: usize) {
    let mut straight = begin().await;
    let before = straight.api.lock().unwrap().count;
    change(&straight);
    rest(&mut straight, async |_| {}).await;
    let calls = straight.api.lock().unwrap().count - before;
    assert!(calls >= calls_min, "{calls}");
    let wanted = end(&straight);
    for call in 1..=calls {
        let alike = ALIKE[call % ALIKE.len()];
        for (row, fault) in APART.into_iter().chain([alike]).enumerate() {
            let then = THEN[(row + call) % THEN.len()];
            let what = format!("{fault:?} at call {call} of {calls}, then {then:?}");
            let mut world = begin().await;
            let at = world.api.lock().unwrap().count + call;
            world.api.lock().unwrap().fail = Some((At::Call(at), fault));
            change(&world);
            let mut pending = true;
            rest(&mut world, async |world| {
                assert!(is_claimed(world), "{what}: a fleet without a finalizer");
                if std::mem::replace(&mut pending, world.api.lock().unwrap().fail.is_some()) && !pending {
                    match then {
                        Then::Seen => {}
                        Then::Missed => drop(run_unsynced(world).await),
                        Then::Restarted => world.restart(),
                    }
                }
            })
            .await;
            assert!(!pending, "{what}: it never happened");
            assert_eq!(difference(&end(&world), &wanted), None, "{what}");
        }
    }
}

/// No fleet is without its policy's finalizer, at any time.
fn is_claimed(world: &World) -> bool {
    let claimed = world
        .get(POLICY)
        .is_some_and(|policy| policy["metadata"]["finalizers"] == json!([names::FINALIZER]));
    claimed || world.fleet().keys().all(|path| path.contains("/pods/"))
}

fn with_client() -> World {
    let mut world = world();
    let fleets = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FLEETS}});
    let path = format!("/api/v1/namespaces/{FLEETS}");
    world.api.lock().unwrap().objects.insert(path, fleets);
    client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
    world.sync();
    world
}

async fn at_rest() -> impl AsyncFn() -> World {
    let mut rested = with_client();
    rest(&mut rested, async |_| {}).await;
    async move || {
        let mut world = rested.fork();
        bring_up(&world);
        run(&mut world).await.unwrap();
        assert!(world.writes().is_empty(), "it is at rest");
        world
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_ends_the_same() {
    let unclaimed = |world: &World| world.edit(POLICY, |policy| policy["metadata"]["finalizers"] = json!([]));
    whichever_call_fails(async || with_client(), unclaimed, 25).await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_policy_and_pool_ends_the_same() {
    let edit = |world: &World| {
        world.edit(POLICY, |policy| {
            policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"]);
            policy["spec"]["fleet"] = json!({"drain": "60s", "replicasPerCell": 1});
            policy["spec"]["clients"] = json!([{"name": "token", "auth": {"serviceAccounts": ["sender"]}}]);
        });
        world.edit(POOL, |pool| pool["spec"]["cells"][1]["state"] = json!("Disabled"));
    };
    whichever_call_fails(at_rest().await, edit, 8).await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_ends_the_same() {
    let delete = |world: &World| {
        world.edit(POLICY, |policy| {
            policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
        })
    };
    whichever_call_fails(at_rest().await, delete, 18).await;
}

/// What a call may have done is not known: the document in the cache is not taken for the accepted one.
#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_brings_no_revoked_rule_back() {
    let fleet = names::fleet_name("payments", "webhooks");
    for fault in [Fault::Lost, Fault::Unanswered] {
        let mut world = settled().await;
        world.edit(POLICY, |policy| {
            policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
        });
        world.sync();
        let config = At::Write(format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}"));
        world.api.lock().unwrap().fail = Some((config, fault));
        run_unsynced(&world).await.unwrap_err();
        let second = policies(&world);
        assert_eq!(
            second["policies"][0]["generation"], 2,
            "{fault:?}: it was written"
        );
        // And at once a bad edit, while the cache still has the ConfigMap of before, and a floor to be written.
        Arc::get_mut(&mut world.ctx).unwrap().settings.internal_cidrs = vec!["10.9.0.0/16".to_owned()];
        let mut bad = world.get(POLICY).unwrap();
        bad["spec"]["rules"][0]["hosts"] = json!(["not a host"]);
        bad["metadata"]["generation"] = json!(3);
        let bad = Arc::new(serde_json::from_value(bad).unwrap());
        let _ = egress_policy::reconcile(bad, Arc::clone(&world.ctx)).await;
        assert_eq!(policies(&world), second, "{fault:?}");
        assert!(document(&world, "floor.json")["internalCidrs"] == json!(["10.9.0.0/16"]));
    }
}
