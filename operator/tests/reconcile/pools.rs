//! What a pool gives and takes away: permission, the default, caps.

use egressway_operator::cluster::caches::pool_ref;
use egressway_operator::egress_pool;
use kube::runtime::controller::Action;

use super::*;

#[tokio::test]
async fn a_withdrawn_namespace_denies_everything_and_comes_back() {
    let mut world = settled().await;
    let good = policies(&world);
    world.edit(POOL, |pool| {
        pool["spec"]["allowedNamespaces"] = json!({"from": "Names", "names": ["other"]})
    });
    settle(&mut world).await;
    assert_eq!(policies(&world)["policies"][0]["content"]["closed"], "Unaccepted");
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

/// What is made, without its versions, and what clients get.
fn made(world: &World) -> (BTreeMap<String, Value>, Value) {
    (world.fleet(), policies(world)["policies"][0]["content"].clone())
}

#[tokio::test]
async fn a_pool_that_is_deleted_takes_nothing_away_and_accepts_nothing_new() {
    let mut world = settled().await;
    let before = made(&world);
    let addresses = |world: &World| world.get(POLICY).unwrap()["status"]["egressIPs"].clone();
    let listed = addresses(&world);
    let pool = world.api.lock().unwrap().objects.remove(POOL).unwrap();
    settle(&mut world).await;
    assert_eq!(made(&world), before);
    assert_eq!(addresses(&world), listed);
    let now = conditions(&world);
    assert_eq!(
        (
            &*now["Accepted"],
            &*now["Ready"],
            &*now["EgressIPsVerified"],
            &*now["Programmed"]
        ),
        (
            "False PoolNotFound",
            "True Serving",
            "True AllVerified",
            "False NotAccepted"
        )
    );
    // What is lost meanwhile is made again, by a new operator too.
    world.restart();
    report(&world, &hash(&world));
    let lost = names::cell_name("payments", "webhooks", "a");
    let lost = format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{lost}");
    world.api.lock().unwrap().objects.remove(&lost).unwrap();
    life::rest(&mut world, async |_| {}).await;
    let names = |fleet: &BTreeMap<String, Value>| fleet.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&world.fleet()), names(&before.0));
    // Nothing new is accepted, but its owner may close it.
    let edit = |suspend: bool| {
        move |policy: &mut Value| {
            policy["spec"]["rules"][0]["hosts"] = json!(["new.example.test"]);
            policy["spec"]["suspend"] = json!(suspend);
        }
    };
    world.edit(POLICY, edit(false));
    settle(&mut world).await;
    assert_eq!(made(&world).1, before.1);
    world.edit(POLICY, edit(true));
    settle(&mut world).await;
    assert_eq!(made(&world).1["closed"], "Suspended");
    world.edit(POLICY, edit(false));
    world.api.lock().unwrap().objects.insert(POOL.to_owned(), pool);
    settle(&mut world).await;
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
    assert_eq!(made(&world).1["rules"][0]["hosts"], json!(["new.example.test"]));
}

#[tokio::test]
async fn what_a_pool_withdrew_does_not_come_back_when_it_is_deleted() {
    for broken in [false, true] {
        let mut world = settled().await;
        world.edit(POOL, |pool| {
            pool["spec"]["allowedNamespaces"] = json!({"from": "Names", "names": ["other"]});
            if broken {
                pool["spec"]["cells"][0]["addresses"] = json!([{"cidr": "192.31.196.1/24"}]);
            }
        });
        settle(&mut world).await;
        assert_eq!(made(&world).1["closed"], "Unaccepted");
        // Nor when it is allowed again by an edit that is not accepted.
        world.edit(POOL, |pool| {
            pool["spec"]["allowedNamespaces"] = json!({"from": "All"});
            pool["spec"]["cells"][0]["addresses"] = json!([{"cidr": "192.31.196.1/24"}]);
        });
        settle(&mut world).await;
        assert_eq!(made(&world).1["closed"], "Unaccepted");
        world.api.lock().unwrap().objects.remove(POOL);
        for _ in 0..2 {
            settle(&mut world).await;
            assert_eq!(made(&world).1["closed"], "Unaccepted", "broken: {broken}");
            assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
            world.restart();
            report(&world, &hash(&world));
        }
    }
}

/// What is written into the spec stays there, so it must be a pool that the namespace may use.
#[tokio::test]
async fn a_default_pool_that_does_not_allow_the_namespace_is_not_bound() {
    let other = "/apis/egressway.dev/v1alpha1/egresspools/other";
    let default = |names: Value| {
        move |pool: &mut Value| {
            pool["metadata"]["annotations"] = json!({names::DEFAULT_POOL_ANNOTATION: "true"});
            pool["spec"]["allowedNamespaces"] = names;
        }
    };
    let closed = || json!({"from": "Names", "names": ["other"]});
    let unbound = |world: &World| {
        world.edit(POLICY, |policy| {
            drop(policy["spec"].as_object_mut().unwrap().remove("poolRef"))
        });
    };
    let mut world = world();
    unbound(&world);
    world.edit(POOL, default(closed()));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
    assert!(world.get(POLICY).unwrap()["spec"]["poolRef"].is_null());
    let message = refused::message(&world, "Accepted");
    assert!(message.contains("EgressPool edge"), "{message}");
    // Of two, the one that permits it.
    let mut second = pool();
    second["metadata"]["name"] = json!("other");
    default(json!({"from": "All"}))(&mut second);
    world.api.lock().unwrap().objects.insert(other.to_owned(), second);
    settle(&mut world).await;
    assert_eq!(world.get(POLICY).unwrap()["spec"]["poolRef"]["name"], "other");
    unbound(&world);
    world.edit(POOL, default(json!({"from": "All"})));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False MultipleDefaultPools");
}

/// A pool that no policy uses is looked at when one of its promises begins, not at the next resync.
#[tokio::test]
async fn an_unused_pool_is_looked_at_when_a_promise_begins() {
    let mut world = world();
    world.api.lock().unwrap().objects.remove(POLICY);
    world.edit(POOL, |pool| {
        pool["spec"]["cells"][0]["addresses"][0]["notBefore"] = json!("2027-01-01T00:00:07Z");
    });
    world.sync();
    let pool = world.ctx.caches.pools.get(&pool_ref("edge")).unwrap();
    let action = egress_pool::reconcile(pool, Arc::clone(&world.ctx))
        .await
        .unwrap();
    assert_eq!(action, Action::requeue(Duration::from_secs(8)));
    let status = world.get(POOL).unwrap()["status"].clone();
    assert_eq!(status["egressIPs"][0]["state"], "Planned");
}
