//! Each object of a fleet on its own: one that is refused stops none of the others but those that must not be without it.

use super::*;

fn fleet() -> String {
    names::fleet_name("payments", "webhooks")
}

fn cell(name: &str) -> String {
    let cell = names::cell_name("payments", "webhooks", name);
    format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{cell}")
}

fn message(world: &World, kind: &str) -> String {
    let policy = world.get(POLICY).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found.unwrap()["message"].as_str().unwrap().to_owned()
}

/// Of each kind that there is once: what somebody edits, and what else heals and follows the policy all the same.
#[tokio::test(start_paused = true)]
async fn whichever_child_is_refused_the_others_heal_and_the_acl_goes_on() {
    let fleet = fleet();
    let namespaced = |group: &str, plural: &str| format!("{group}/namespaces/{FLEETS}/{plural}/{fleet}");
    let children = [
        namespaced("/api/v1", "serviceaccounts"),
        namespaced("/api/v1", "secrets"),
        namespaced("/api/v1", "services"),
        namespaced("/apis/networking.k8s.io/v1", "networkpolicies"),
        cell("b"),
    ];
    for refused in &children {
        let mut world = settled().await;
        world.edit(refused, |object| {
            object["metadata"]["labels"]["egressway.dev/pool-name"] = json!("edited")
        });
        world.api.lock().unwrap().refused = Some((refused.clone(), 403));
        world.edit(&cell("a"), |object| object["spec"]["replicas"] = json!(0));
        world.edit(POLICY, |policy| {
            policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
        });
        run(&mut world).await.unwrap_err();
        assert_eq!(world.get(&cell("a")).unwrap()["spec"]["replicas"], 1, "{refused}");
        assert_eq!(policies(&world)["policies"][0]["generation"], 2, "{refused}");
        let name = refused.rsplit('/').next().unwrap();
        assert!(
            message(&world, "Ready").contains(name),
            "{refused}: {}",
            message(&world, "Ready")
        );
        world.api.lock().unwrap().refused = None;
        settle(&mut world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_failed_is_named() {
    let mut world = settled().await;
    for (plural, name) in [("services", fleet()), ("networkpolicies", fleet())] {
        let path = world.path(plural, &name);
        world.edit(&path, |object| {
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("somebody-else")
        });
    }
    world.edit(&cell("a"), |object| object["spec"]["replicas"] = json!(0));
    run(&mut world).await.unwrap_err();
    assert_eq!(world.get(&cell("a")).unwrap()["spec"]["replicas"], 1);
    assert_eq!(conditions(&world)["Ready"], "False NameConflict");
    let words = message(&world, "Ready");
    assert!(
        words.contains("Service ") && words.contains("NetworkPolicy "),
        "{words}"
    );
}

/// Pods without their NetworkPolicy would be reachable by everybody, and without what they mount they would not start.
#[tokio::test(start_paused = true)]
async fn no_pods_are_made_before_what_they_need_is_there() {
    let fleet = fleet();
    for needed in [
        format!("/api/v1/namespaces/{FLEETS}/serviceaccounts/{fleet}"),
        format!("/api/v1/namespaces/{FLEETS}/secrets/{fleet}"),
        format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}"),
        format!("/apis/networking.k8s.io/v1/namespaces/{FLEETS}/networkpolicies/{fleet}"),
    ] {
        let mut world = world();
        world.api.lock().unwrap().fail = Some((At::Write(needed.clone()), Fault::Refused(403)));
        run(&mut world).await.unwrap_err();
        assert_eq!(world.get(&cell("a")), None, "{needed}");
        settle(&mut world).await;
        assert!(world.get(&cell("a")).is_some(), "{needed}");
    }
}

/// A webhook that hangs holds what it is asked about, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_holds_only_its_own_object() {
    let mut world = settled().await;
    let service = format!("/api/v1/namespaces/{FLEETS}/services/{}", fleet());
    world.edit(&service, |object| {
        object["spec"]["selector"]["edited"] = json!("by-hand")
    });
    world.edit(&cell("a"), |object| object["spec"]["replicas"] = json!(0));
    world.api.lock().unwrap().silent = Some(service.clone());
    run(&mut world).await.unwrap_err();
    assert_eq!(world.get(&cell("a")).unwrap()["spec"]["replicas"], 1);
    assert!(
        message(&world, "Ready").contains("did not answer about Service"),
        "{}",
        message(&world, "Ready")
    );
    world.api.lock().unwrap().silent = None;
    settle(&mut world).await;
    assert!(world.get(&service).unwrap()["spec"]["selector"]["edited"].is_null());
}

/// A report key that is lost and cannot be written down is drawn anew with every run.
#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_kept_rolls_no_pods() {
    let mut world = settled().await;
    let secret = format!("/api/v1/namespaces/{FLEETS}/secrets/{}", fleet());
    world.api.lock().unwrap().objects.remove(&secret);
    world.api.lock().unwrap().refused = Some((secret.clone(), 403));
    let template = |world: &World| world.get(&cell("a")).unwrap()["spec"]["template"].clone();
    let before = template(&world);
    for _ in 0..3 {
        run(&mut world).await.unwrap_err();
        life::kubelets(&world);
    }
    assert_eq!(template(&world), before);
}
