//! A policy that somebody exported and applied again owns its finalizer together with that somebody: it must go all the
//! same. Server-side apply takes away only what its own manager put in.

use std::sync::Mutex;

use egressway_core::wire::names::FINALIZER;
use egressway_crds::EgressPolicy;
use egressway_operator::egress_policy::finalize::finalize;
use http::Method;

use super::*;

/// The policy with its finalizers, each of which kubectl has applied.
fn policy(finalizers: &Value) -> Value {
    json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "webhooks", "namespace": "payments", "uid": "u", "resourceVersion": "7",
            "finalizers": finalizers, "deletionTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {"rules": []}})
}

#[tokio::test]
async fn a_finalizer_that_somebody_else_applied_too_goes_and_other_finalizers_stay() {
    let live = Arc::new(Mutex::new(json!([FINALIZER, "backup.example/kept"])));
    let server = Arc::clone(&live);
    let world = World::answered_by(move |head, body| {
        let mut live = server.lock().unwrap();
        if head.method != Method::PATCH {
            return json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []});
        }
        if head.headers["content-type"] != "application/apply-patch+yaml" {
            *live = body["metadata"]["finalizers"].clone();
        }
        policy(&live)
    });
    let before: EgressPolicy = serde_json::from_value(policy(&live.lock().unwrap())).unwrap();
    finalize(&before, &world.ctx).await.unwrap();
    assert_eq!(*live.lock().unwrap(), json!(["backup.example/kept"]));
}

#[tokio::test]
async fn a_policy_goes_though_the_fleet_namespace_went_before_it_and_took_the_operators_rights_along() {
    let fleets = format!("/api/v1/namespaces/{FLEETS}");
    let mut world = settled().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FLEETS}});
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(fleets.clone(), namespace);
    world.edit(POLICY, |policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
    });
    let budgets = format!("/apis/policy/v1/namespaces/{FLEETS}/poddisruptionbudgets");
    world.api.lock().unwrap().refused = Some((budgets, 403));
    run(&mut world).await.unwrap_err();
    assert!(world.get(POLICY).is_some(), "the fleet may be there");
    world.api.lock().unwrap().objects.remove(&fleets);
    run(&mut world).await.unwrap();
    assert!(world.get(POLICY).is_none());
}
