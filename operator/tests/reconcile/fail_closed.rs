//! What must never open: permissions that a pool took back, whatever else is lost or broken at the same time.

use egressway_operator::egress_policy::retry::Class;

use super::*;

fn only(namespaces: Value) -> impl FnOnce(&mut Value) {
    move |pool| pool["spec"]["allowedNamespaces"] = namespaces
}

/// A rule that no schema refuses and no operator accepts.
fn break_a_rule(policy: &mut Value) {
    policy["spec"]["rules"][0] = json!({"name": "net", "cidrs": ["192.175.48.1/24"]});
}

fn suspended(world: &World) -> bool {
    policies(world)["policies"][0]["content"]["suspended"] == true
}

/// Whether the pods are told to refuse everything.
fn closed(world: &World) -> bool {
    policies(world)["policies"][0]["content"]["closed"] == "Unaccepted"
}

#[tokio::test]
async fn a_suspended_policy_is_not_resumed_by_a_pool_that_took_its_permission_back_for_a_while() {
    let mut world = settled().await;
    world.edit(POLICY, |policy| policy["spec"]["suspend"] = json!(true));
    settle(&mut world).await;
    assert!(suspended(&world));
    world.edit(POOL, only(json!({"from": "Names", "names": ["other"]})));
    settle(&mut world).await;
    world.edit(POLICY, break_a_rule);
    settle(&mut world).await;
    world.edit(POOL, only(json!({"from": "All"})));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False InvalidRule");
    assert!(suspended(&world), "what was accepted last was suspended");
}

#[tokio::test]
async fn a_withdrawn_fleet_whose_acl_is_lost_or_bent_gets_one_that_refuses_everything() {
    let fleet = names::fleet_name("payments", "webhooks");
    let config = format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}");
    for bend in [false, true] {
        let mut world = settled().await;
        world.edit(POLICY, break_a_rule);
        world.edit(POOL, only(json!({"from": "Names", "names": ["other"]})));
        if bend {
            world.edit(&config, |config| config["data"]["policies.json"] = json!("{}"));
        } else {
            world.api.lock().unwrap().objects.remove(&config);
        }
        settle(&mut world).await;
        assert!(closed(&world), "pods that have the old one must hear of it");
        assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
        world.edit(POOL, only(json!({"from": "All"})));
        world.edit(POLICY, |spec| spec["spec"] = policy()["spec"].clone());
        settle(&mut world).await;
        assert_eq!(conditions(&world)["Accepted"], "True Accepted");
        assert!(!closed(&world) && !suspended(&world));
    }
}

#[tokio::test]
async fn a_namespace_that_the_caches_do_not_know_yet_is_not_let_in() {
    let path = "/api/v1/namespaces/payments";
    let mut world = world();
    world.api.lock().unwrap().objects.remove(path);
    let open = json!({"matchExpressions": [{"key": "restricted", "operator": "DoesNotExist"}]});
    world.edit(POOL, only(json!({"from": "Selector", "selector": open})));
    run(&mut world).await.unwrap();
    assert_eq!(world.writes(), <[String; 0]>::default(), "nobody can tell yet");
    let labels = json!({"restricted": "true"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments", "labels": labels}});
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(path.to_owned(), namespace);
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
    assert!(world.fleet().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_ends_its_run_and_the_next_run_goes_on() {
    let mut world = world();
    let fleet = names::fleet_name("payments", "webhooks");
    let silent = format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}");
    world.api.lock().unwrap().silent = Some(silent);
    let outcome = tokio::time::timeout(Duration::from_secs(600), run(&mut world)).await;
    let error = outcome.expect("one dead connection must not hold a policy up for ever");
    assert_eq!(error.unwrap_err().class(), Class::Unavailable);
    world.api.lock().unwrap().silent = None;
    settle(&mut world).await;
    assert!(!world.fleet().is_empty());
}
