//! What a pool gives and takes away: permission, the default, caps.

use super::*;

#[tokio::test]
async fn a_withdrawn_namespace_denies_everything_and_comes_back() {
    let mut world = settled().await;
    let good = policies(&world);
    world.edit(POOL, |pool| {
        pool["spec"]["allowedNamespaces"] = json!({"from": "Names", "names": ["other"]})
    });
    settle(&mut world).await;
    assert_eq!(policies(&world)["policies"][0]["content"]["suspended"], true);
    assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
    world.edit(POOL, |pool| {
        pool["spec"]["allowedNamespaces"] = json!({"from": "All"})
    });
    settle(&mut world).await;
    assert_eq!(policies(&world), good);
}

#[tokio::test]
async fn the_default_pool_is_written_into_the_spec_once() {
    let mut world = world();
    world.edit(POLICY, |policy| {
        drop(policy["spec"].as_object_mut().unwrap().remove("poolRef"))
    });
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False NoDefaultPool");
    world.edit(POOL, |pool| {
        pool["metadata"]["annotations"] = json!({names::DEFAULT_POOL_ANNOTATION: "true"})
    });
    settle(&mut world).await;
    assert_eq!(world.get(POLICY).unwrap()["spec"]["poolRef"]["name"], "edge");
    world.edit(POOL, |pool| pool["metadata"]["annotations"] = json!({}));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
}

#[tokio::test]
async fn tightened_caps_reach_the_proxies_at_once_and_widen_again() {
    let mut world = world();
    world.edit(POOL, |pool| {
        pool["spec"]["caps"] = json!({"modes": ["Enforce", "Report"]})
    });
    world.edit(POLICY, |policy| policy["spec"]["mode"] = json!("Report"));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
    let before = policies(&world);
    world.edit(POOL, |pool| {
        pool["spec"]["caps"] = json!({"ports": [{"port": 443}], "maxReplicasPerCell": 1});
        pool["spec"]["nat64Prefixes"] = json!(["2001:db8:64::/96"]);
    });
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False ModeNotAllowed");
    assert_eq!(
        policies(&world),
        before,
        "the proxies enforce the caps, whatever was accepted"
    );
    let caps = json!({"modes": ["Enforce"], "ports": [{"port": 443}]});
    assert_eq!(document(&world, "pool.json")["caps"], caps);
    assert_eq!(
        document(&world, "floor.json")["nat64Prefixes"],
        json!(["2001:db8:64::/96"])
    );
    // A pool that is gone takes neither caps nor prefixes away.
    world.api.lock().unwrap().objects.remove(POOL);
    settle(&mut world).await;
    assert_eq!(document(&world, "pool.json")["caps"], caps);
    assert_eq!(
        document(&world, "floor.json")["nat64Prefixes"],
        json!(["2001:db8:64::/96"])
    );
}
