//! What a status must not claim too early: that pods follow, that nothing is under way.

use super::*;

fn only(name: &str) -> Value {
    json!([{"name": "it", "from": {"podSelector": {"matchLabels": {"app": name}}}}])
}

#[tokio::test]
async fn selectors_edited_while_no_operator_ran_are_waited_for() {
    let mut world = world();
    client_pod(&world, "payments", "old", "10.244.3.1", "2027-01-01T00:00:00Z");
    client_pod(&world, "payments", "new", "10.244.3.2", "2027-01-01T00:00:00Z");
    world.edit(POLICY, |policy| policy["spec"]["clients"] = only("old"));
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Programmed"], "True InSync");
    let answers =
        |world: &World| ["pod-a", "pod-b"].map(|pod| (pod, world.ctx.reports.of(pod).report.unwrap()));
    let before = answers(&world);
    world.edit(POLICY, |policy| policy["spec"]["clients"] = only("new"));
    world.restart();
    for (pod, report) in before {
        // The very ACL is in force: both name one client of the same name.
        world.ctx.reports.answered(pod, report);
    }
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "new 10.244.3.2");
    catches_up(&mut world).await;
    client_pod(&world, "payments", "new", "10.244.3.9", "2027-01-01T00:00:09Z");
    let before = answers(&world);
    world.restart();
    for (pod, report) in before {
        world.ctx.reports.answered(pod, report);
    }
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "new 10.244.3.9");
    assert_eq!(
        conditions(&world)["Programmed"],
        "True InSync",
        "pods come and go"
    );
}

#[tokio::test]
async fn a_rollout_is_under_way_from_the_very_status_of_the_new_generation() {
    let mut fresh = world();
    run(&mut fresh).await.unwrap();
    assert_eq!(conditions(&fresh)["Progressing"], "True RollingOut");
    let mut world = settled().await;
    assert_eq!(conditions(&world)["Progressing"], "False Complete");
    world.edit(POLICY, |policy| {
        policy["spec"]["fleet"] = json!({"replicasPerCell": 3})
    });
    run(&mut world).await.unwrap();
    assert_eq!(
        conditions(&world)["Progressing"],
        "True RollingOut",
        "the caches know of nothing yet"
    );
    let policy = world.get(POLICY).unwrap();
    assert_eq!(policy["status"]["replicas"], 6);
    assert_eq!(
        policy["status"]["observedGeneration"],
        policy["metadata"]["generation"]
    );
}
