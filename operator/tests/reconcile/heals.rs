//! Drift, lost objects, caches that lag: the end is always the same.

use super::*;

#[tokio::test]
async fn every_owned_field_heals_and_every_deleted_object_comes_back() {
    let paths: Vec<String> = settled()
        .await
        .fleet()
        .into_keys()
        .filter(|path| !path.contains("/pods/"))
        .collect();
    assert_eq!(paths.len(), 10, "{paths:?}");
    for path in &paths {
        let mut world = settled().await;
        let whole = without_status(&world.fleet());
        world.edit(path, break_it);
        assert_ne!(
            without_status(&world.fleet()),
            whole,
            "{path}: the edit does something"
        );
        settle(&mut world).await;
        assert_eq!(without_status(&world.fleet()), whole, "{path} edited");
        world.api.lock().unwrap().objects.remove(path);
        settle(&mut world).await;
        assert!(world.get(path).is_some(), "{path} deleted");
        // A lost report key is a new one, and with it new pods.
        if !path.contains("/secrets/") {
            assert_eq!(without_status(&world.fleet()), whole, "{path} deleted");
        }
    }
}

fn break_it(object: &mut Value) {
    match object["kind"].as_str().unwrap() {
        "Deployment" => object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil"),
        "Service" => object["spec"]["selector"]["egressway.dev/fleet"] = json!("evil"),
        "NetworkPolicy" => object["spec"]["ingress"].as_array_mut().unwrap().push(json!({})),
        "PodDisruptionBudget" => object["spec"]["maxUnavailable"] = json!("100%"),
        "ConfigMap" => {
            for document in object["data"].as_object_mut().unwrap().values_mut() {
                *document = json!("{}");
            }
        }
        "Secret" => object["metadata"]["labels"]["egressway.dev/pool-name"] = json!("evil"),
        "ServiceAccount" => object["automountServiceAccountToken"] = json!(true),
        other => panic!("{other}"),
    }
}

fn without_status(fleet: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut fleet = fleet.clone();
    for object in fleet.values_mut() {
        object.as_object_mut().unwrap().remove("status");
    }
    fleet
}

#[tokio::test]
async fn a_cache_that_lags_draws_no_second_key_and_brings_no_old_acl_back() {
    let mut world = world();
    run(&mut world).await.unwrap();
    let key = world.get(&world.path("secrets", "webhooks-")).unwrap();
    run_unsynced(&world).await.unwrap();
    assert_eq!(world.get(&world.path("secrets", "webhooks-")).unwrap(), key);
    settle(&mut world).await;
    // A good edit, and at once a bad one, while the cache still has the ConfigMap of before.
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
    });
    run(&mut world).await.unwrap();
    let second = policies(&world);
    let mut bad = world.get(POLICY).unwrap();
    bad["spec"]["rules"][0]["hosts"] = json!(["not a host"]);
    bad["metadata"]["generation"] = json!(3);
    let bad = Arc::new(serde_json::from_value(bad).unwrap());
    egress_policy::reconcile(bad, Arc::clone(&world.ctx))
        .await
        .unwrap();
    assert_eq!(policies(&world), second);
}
