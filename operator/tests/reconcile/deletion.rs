//! How a policy and its fleet go: in order, whole, and only when they are really gone.

use super::*;

fn pods_go(world: &World) {
    let objects = &mut world.api.lock().unwrap().objects;
    objects.retain(|path, _| !path.contains("/pods/"));
}

#[tokio::test]
async fn the_finalizer_comes_before_the_first_child_and_goes_after_the_last() {
    let mut world = world();
    world.edit(POLICY, |policy| policy["metadata"]["finalizers"] = json!([]));
    run(&mut world).await.unwrap();
    assert_eq!(world.writes()[0], format!("PATCH {POLICY}"));
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    world.edit(POLICY, |policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
    });
    run(&mut world).await.unwrap();
    let service = world.path("services", "webhooks-");
    assert!(
        world.get(&service).is_some(),
        "the Service stays while pods drain"
    );
    assert_eq!(conditions(&world)["Progressing"], "True Draining");
    pods_go(&world);
    run(&mut world).await.unwrap();
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
    assert!(world.get(POLICY).is_none());
}

#[tokio::test]
async fn a_deletion_finds_what_the_cache_has_not_seen_yet() {
    let mut world = world();
    run(&mut world).await.unwrap();
    let mut going = world.get(POLICY).unwrap();
    going["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z");
    world.edit(POLICY, |policy| *policy = going.clone());
    let going = Arc::new(serde_json::from_value(going).unwrap());
    egress_policy::reconcile(going, Arc::clone(&world.ctx))
        .await
        .unwrap();
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
}

#[tokio::test]
async fn a_fleet_without_policy_is_deleted_once_the_api_server_says_so() {
    let mut world = settled().await;
    pods_go(&world);
    world.sync();
    assert!(orphans::collect(&world.ctx).await.unwrap().is_empty());
    assert!(world.calls().is_empty(), "nothing to suspect costs no call");
    let policy = world.api.lock().unwrap().objects.remove(POLICY).unwrap();
    world.sync();
    // The cache has lost the policy, the API server has not.
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(POLICY.to_owned(), policy);
    assert!(orphans::collect(&world.ctx).await.unwrap().is_empty());
    assert_eq!(world.fleet().len(), 10);
    world.api.lock().unwrap().objects.remove(POLICY);
    assert_eq!(orphans::collect(&world.ctx).await.unwrap(), ["policy-uid"]);
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
}

#[tokio::test]
async fn a_pod_on_a_dead_node_holds_no_policy_for_ever() {
    let mut world = settled().await;
    world.edit(POLICY, |policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
    });
    let pods: Vec<String> = world
        .fleet()
        .into_keys()
        .filter(|path| path.contains("/pods/"))
        .collect();
    for pod in &pods {
        world.edit(pod, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-12-31T23:50:00Z")
        });
    }
    run(&mut world).await.unwrap();
    assert!(world.get(POLICY).is_none());
}
