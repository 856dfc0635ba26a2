//! Every edit that somebody could make by hand to a fleet's objects is undone, or a condition names it.

/// Shared with the cases of the lab.
#[path = "../../../e2e/src/edits.rs"]
mod list;

use super::*;

/// Fewest edits that this must come to: what a fleet's objects have fields for.
const EDITS_MIN: usize = 150;

/// The fleet's own objects, without what the server counts and without the Secret's key, which is drawn.
fn fleet(world: &World) -> BTreeMap<String, Value> {
    let mut fleet = world.fleet();
    fleet.retain(|path, _| !path.contains("/pods/"));
    for object in fleet.values_mut() {
        object.as_object_mut().unwrap().remove("status");
        if object["kind"] == "Secret" {
            for value in object["data"].as_object_mut().unwrap().values_mut() {
                *value = json!("drawn");
            }
        }
        if object["kind"] == "Deployment" {
            // Digests of the key, and of a template with that digest in it.
            object["spec"]["template"]["metadata"]["annotations"] = json!({});
        }
        let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.retain(|key, _| !key.ends_with("-hash"));
    }
    fleet
}

/// The same under the names of the first edition of its documents.
fn first_edition(fleet: &BTreeMap<String, Value>) -> Value {
    let name = names::fleet_name("payments", "webhooks");
    let text = json!(fleet).to_string().replace(&format!("{name}-1"), &name);
    serde_json::from_str(&text).unwrap()
}

/// A message of any condition that names it.
fn named(world: &World, object: &str) -> bool {
    let policy = world.get(POLICY).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
    conditions
        .iter()
        .any(|condition| condition["message"].as_str().unwrap().contains(object))
}

/// Runs, with pods that follow, until a run writes nothing; a run that fails is one that has something to say.
async fn rests(world: &mut World, what: &str) {
    let mut wrote = Vec::new();
    for _ in 0..20 {
        world.calls();
        let outcome = run(world).await;
        wrote = world.writes();
        if wrote.is_empty() {
            return;
        }
        drop(outcome);
        life::kubelets(world);
    }
    panic!("{what}: no end of writing {wrote:?}");
}

/// The object after an edit; `None` where it has no such place.
#[must_use]
fn after(object: &Value, edit: &list::Edit) -> Option<Value> {
    let mut object = object.clone();
    let (parent, key) = edit.field.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let value = edit.operation.get("value").cloned();
    match object.pointer_mut(parent)? {
        Value::Object(map) => drop(match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        }),
        Value::Array(list) => match (value, key.parse::<usize>()) {
            (Some(value), Err(_)) => list.push(value),
            (Some(value), Ok(number)) => *list.get_mut(number)? = value,
            (None, Ok(number)) if number < list.len() => drop(list.remove(number)),
            (None, _) => return None,
        },
        _ => return None,
    }
    Some(object)
}

#[tokio::test(start_paused = true)]
async fn every_edit_by_hand_is_undone_or_named() {
    let mut rested = world();
    life::rest(&mut rested, async |_| {}).await;
    let whole = fleet(&rested);
    let mut count = 0;
    let mut left = Vec::new();
    // What there is once a cell is alike.
    for path in whole.keys().filter(|path| !path.ends_with("-b")) {
        let object = rested.get(path).unwrap();
        for edit in list::edits(&object) {
            let Some(after) = after(&object, &edit) else {
                continue;
            };
            let mut world = rested.fork();
            life::kubelets(&world);
            run(&mut world).await.unwrap();
            if !world.takes(path, after) {
                continue;
            }
            count += 1;
            rests(&mut world, &format!("{path} {} {}", edit.field, edit.what)).await;
            let name = object["metadata"]["name"].as_str().unwrap();
            let back = life::difference(&first_edition(&fleet(&world)), &json!(whole));
            if let Some(difference) = back
                && !named(&world, name)
            {
                left.push(format!("{path} {} {}: {difference}", edit.field, edit.what));
            }
        }
    }
    assert!(
        left.is_empty(),
        "{} of {count} stay:\n{}",
        left.len(),
        left.join("\n")
    );
    assert!(count >= EDITS_MIN, "{count}");
}

/// The API server takes what is written and makes something else of it, each time.
#[tokio::test(start_paused = true)]
async fn what_admission_rewrites_is_written_once_and_named() {
    let mut world = world();
    life::rest(&mut world, async |_| {}).await;
    for (field, value) in [
        (
            "/spec/template/spec/containers/0/image",
            json!("mirror.example/proxy:1"),
        ),
        (
            "/spec/template/spec/containers/0/resources/requests/memory",
            json!("1Gi"),
        ),
    ] {
        let mut world = world.fork();
        world.api.lock().unwrap().webhook = Some(("Deployment", field, value));
        // Somebody's edit makes us write.
        let path = world.path("deployments", &names::cell_name("payments", "webhooks", "a"));
        world.edit(&path, |object| object["spec"]["replicas"] = json!(7));
        life::kubelets(&world);
        rests(&mut world, field).await;
        for _ in 0..5 {
            life::kubelets(&world);
            run(&mut world).await.unwrap();
        }
        world.calls();
        run(&mut world).await.unwrap();
        assert!(world.writes().is_empty(), "{field}: no loop");
        assert_eq!(world.get(&path).unwrap()["spec"]["replicas"], 1);
        assert_eq!(conditions(&world)["Degraded"], "True FieldsContested", "{field}");
        let last = field.rsplit('/').next().unwrap();
        assert!(named(&world, last) && named(&world, "admission"), "{field}");
        // It ends: what was wanted is written within a minute or so.
        world.api.lock().unwrap().webhook = None;
        tokio::time::advance(Duration::from_secs(61)).await;
        life::rest(&mut world, async |_| {}).await;
        assert_eq!(conditions(&world)["Degraded"], "False AsExpected", "{field}");
    }
}

/// A controller of somebody else's sets a field again as soon as it is put back.
#[tokio::test(start_paused = true)]
async fn who_undoes_what_is_written_again_and_again_is_named_instead() {
    let mut world = world();
    life::rest(&mut world, async |_| {}).await;
    let path = world.path("deployments", &names::cell_name("payments", "webhooks", "a"));
    let scaled = |world: &World| {
        world.edit(&path, |object| {
            object["spec"]["replicas"] = json!(7);
            object["metadata"]["managedFields"] = json!([{"manager": "autoscaler", "operation": "Update", "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        });
    };
    let mut writes = 0;
    for _ in 0..30 {
        scaled(&world);
        life::kubelets(&world);
        world.calls();
        run(&mut world).await.unwrap();
        writes += world.writes().iter().filter(|call| call.ends_with(&path)).count();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(writes, 20, "thirty times undone in three seconds");
    assert_eq!(conditions(&world)["Degraded"], "True FieldsContested");
    assert!(
        named(&world, "autoscaler sets spec.replicas"),
        "{:?}",
        world.get(POLICY)
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    life::rest(&mut world, async |_| {}).await;
    assert_eq!(world.get(&path).unwrap()["spec"]["replicas"], 1);
    assert_eq!(conditions(&world)["Degraded"], "False AsExpected");
}

/// An API server of tomorrow fills in what this operator has never heard of.
#[tokio::test(start_paused = true)]
async fn a_default_of_tomorrow_costs_one_write_and_is_nobodys_fault() {
    let mut world = world();
    world.api.lock().unwrap().webhook = Some(("Service", "/spec/tomorrow", json!("Always")));
    life::rest(&mut world, async |_| {}).await;
    assert_eq!(conditions(&world)["Degraded"], "False AsExpected");
    let mut again = world.fork();
    life::kubelets(&again);
    rests(&mut again, "again").await;
    life::rest(&mut again, async |_| {}).await;
    assert_eq!(conditions(&again)["Degraded"], "False AsExpected");
}

/// What an API server refuses by policy is no reason to delete what there is.
#[tokio::test(start_paused = true)]
async fn what_would_not_be_taken_anew_is_not_deleted() {
    let mut world = world();
    life::rest(&mut world, async |_| {}).await;
    let path = format!(
        "/api/v1/namespaces/{FLEETS}/configmaps/{}",
        names::fleet_name("payments", "webhooks")
    );
    let before = world.get(&path);
    world.api.lock().unwrap().refused = Some((path.clone(), 422));
    world.api.lock().unwrap().refuses_new = true;
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
    });
    run(&mut world).await.unwrap_err();
    assert!(!world.writes().iter().any(|call| call.starts_with("DELETE")));
    assert_eq!(world.get(&path), before);
}

/// A kubelet keeps an immutable ConfigMap for as long as pods on its node mount that name.
#[tokio::test(start_paused = true)]
async fn an_acl_that_somebody_froze_goes_on_under_another_name_with_new_pods() {
    let mut world = settled().await;
    let fleet = names::fleet_name("payments", "webhooks");
    let config = |edition: &str| format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}{edition}");
    let mounts = |world: &World, cell: &str| {
        let name = names::cell_name("payments", "webhooks", cell);
        let deployment = world
            .get(&format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{name}"))
            .unwrap();
        let source = "/spec/template/spec/volumes/0/projected/sources/0/configMap/name";
        deployment.pointer(source).unwrap().as_str().unwrap().to_owned()
    };
    world.edit(&config(""), |object| object["immutable"] = json!(true));
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
    });
    settle(&mut world).await;
    let second = world.get(&config("-1")).unwrap();
    assert!(
        second["immutable"].is_null()
            && second["data"]["policies.json"]
                .as_str()
                .unwrap()
                .contains("second.example.test")
    );
    assert_eq!(mounts(&world, "a"), format!("{fleet}-1"));
    assert_eq!(mounts(&world, "b"), fleet, "its turn has not come");
    assert!(world.get(&config("")).is_some(), "pods of b still mount it");
    assert!(
        conditions(&world)["Programmed"].starts_with("False"),
        "frozen pods have not the ACL"
    );
    // A refused edit keeps what stands there, and an operator that starts now goes on with it.
    world.restart();
    let status = |world: &World| {
        for (path, _) in world
            .fleet()
            .iter()
            .filter(|(path, _)| path.contains("/deployments/"))
        {
            world.edit(path, |object| {
                object["status"] = json!({"observedGeneration": object["metadata"]["generation"], "replicas": 1,
                    "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
            });
        }
    };
    status(&world);
    settle(&mut world).await;
    assert_eq!(mounts(&world, "b"), format!("{fleet}-1"));
    status(&world);
    settle(&mut world).await;
    assert_eq!(world.get(&config("")), None, "nobody mounts it any more");
    world.api.lock().unwrap().objects.remove(&config("-1"));
    settle(&mut world).await;
    assert!(
        world.get(&config("-1")).is_some() && world.get(&config("")).is_none(),
        "lost, it comes back under its name"
    );
}
