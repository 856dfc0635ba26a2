//! Drift, lost objects, failed calls, crashes, caches that lag: the end is always the same.

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
async fn whichever_call_fails_and_whenever_the_operator_dies_the_end_is_the_same() {
    let world = || {
        let world = world();
        client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
        world
    };
    let mut straight = world();
    settle(&mut straight).await;
    assert_eq!(client_pods(&straight), "sender 10.244.3.1");
    let calls = straight.api.lock().unwrap().count;
    let end = shape(&straight.fleet());
    assert!(calls > 15, "{calls}");
    for code in [500, 409, 403] {
        for at in 1..=calls {
            let mut world = world();
            world.api.lock().unwrap().fail = Some((at, code));
            let _ = run(&mut world).await;
            if at % 2 == 0 {
                world.restart();
            }
            settle(&mut world).await;
            assert_eq!(shape(&world.fleet()), end, "call {at} answered with {code}");
        }
    }
}

/// Everything but the drawn key and what follows from it.
fn shape(fleet: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut fleet = fleet.clone();
    for object in fleet.values_mut() {
        object["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.ends_with("-hash"));
        match object["kind"].as_str() {
            Some("Deployment") => object["spec"]["template"]["metadata"]["annotations"] = json!({}),
            Some("Secret") => object["data"] = json!({}),
            _ => {}
        }
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
