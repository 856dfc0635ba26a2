//! Names in the fleet namespace that belong to somebody else.

use super::*;

#[tokio::test]
async fn somebody_elses_object_of_the_same_name_is_left_alone() {
    let world = world();
    let fleet = names::fleet_name("payments", "webhooks");
    let path = format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}");
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": fleet, "namespace": FLEETS, "uid": "x", "resourceVersion": "1"}});
    // The cache holds labelled objects only, so it does not have this one.
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(path.clone(), theirs.clone());
    let outcome = run_unsynced(&world).await;
    assert!(
        matches!(outcome, Err(egress_policy::Error::Taken { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.get(&path).unwrap(), theirs);
    assert!(
        conditions(&world)["Ready"].starts_with("False"),
        "{:?}",
        conditions(&world)
    );
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_as_such() {
    let mut world = world();
    let fleet = names::fleet_name("payments", "webhooks");
    let taken = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": fleet, "namespace": FLEETS}, "spec": {}});
    let path = format!("/api/v1/namespaces/{FLEETS}/services/{fleet}");
    world.api.lock().unwrap().objects.insert(path, taken);
    run(&mut world).await.unwrap_err();
    assert_eq!(conditions(&world)["Ready"], "False NameConflict");
    assert_eq!(conditions(&world)["Progressing"], "True NameConflict");
}
