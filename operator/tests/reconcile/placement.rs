//! Nodes that lose their cell's labels while pods run on them: the pods are named and replaced, and none goes before
//! another is there.

use egressway_operator::desired::deployment::MOVED;

use super::*;

fn node(world: &World, name: &str, zone: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"pool": "edge", "zone": zone}}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(format!("/api/v1/nodes/{name}"), node);
}

fn mark(world: &World, cell: &str) -> Option<String> {
    let name = names::cell_name("payments", "webhooks", cell);
    let path = format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{name}");
    let annotations = world.get(&path).unwrap()["spec"]["template"]["metadata"]["annotations"].clone();
    annotations[MOVED].as_str().map(ToOwned::to_owned)
}

fn pod_path(cell: &str) -> String {
    let name = names::cell_name("payments", "webhooks", cell);
    format!("/api/v1/namespaces/{FLEETS}/pods/{name}-x")
}

/// Both cells have a node of their own, with a pod on it.
async fn placed() -> World {
    let mut world = world();
    node(&world, "node-a", "a");
    node(&world, "node-b", "b");
    life::rest(&mut world, async |_| {}).await;
    assert_eq!(conditions(&world)["Degraded"], "False AsExpected");
    world
}

fn degraded(world: &World) -> String {
    let policy = world.get(POLICY).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|c| c["type"] == "Degraded").unwrap();
    format!(
        "{} {}",
        found["reason"].as_str().unwrap(),
        found["message"].as_str().unwrap()
    )
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_that_lost_its_labels_is_replaced_where_another_node_stands() {
    let mut world = placed().await;
    node(&world, "node-a", "elsewhere");
    settle(&mut world).await;
    assert_eq!(
        mark(&world, "a"),
        None,
        "the only one stays while no node can take its place"
    );
    let words = degraded(&world);
    assert!(
        words.starts_with("PodsMisplaced") && words.contains("node-a") && words.contains("label one"),
        "{words}"
    );
    node(&world, "node-a2", "a");
    settle(&mut world).await;
    let first = mark(&world, "a").expect("new pods are asked for");
    assert_eq!(mark(&world, "b"), None, "the other cell's stay");
    assert!(
        degraded(&world).contains("it is replaced"),
        "{}",
        degraded(&world)
    );
    // As long as they roll out, and after that, nothing more is asked for.
    settle(&mut world).await;
    assert_eq!(mark(&world, "a").as_ref(), Some(&first));
    life::kubelets(&world);
    let mut moved = world.get(&pod_path("a")).unwrap();
    moved["spec"]["nodeName"] = json!("node-a2");
    moved["metadata"]["annotations"] = json!({MOVED: first});
    world.api.lock().unwrap().objects.insert(pod_path("a"), moved);
    settle(&mut world).await;
    assert_eq!(mark(&world, "a").as_ref(), Some(&first));
    assert!(degraded(&world).starts_with("AsExpected"), "{}", degraded(&world));
}

#[tokio::test(start_paused = true)]
async fn two_cells_whose_nodes_change_at_once_move_one_after_the_other() {
    let mut world = placed().await;
    for (cell, other) in [("a", "node-a2"), ("b", "node-b2")] {
        node(&world, &format!("node-{cell}"), "elsewhere");
        node(&world, other, cell);
    }
    settle(&mut world).await;
    assert!(mark(&world, "a").is_some());
    assert_eq!(mark(&world, "b"), None, "a has not moved yet, and b serves");
    life::kubelets(&world);
    let mut moved = world.get(&pod_path("a")).unwrap();
    moved["spec"]["nodeName"] = json!("node-a2");
    moved["metadata"]["annotations"] = json!({MOVED: mark(&world, "a")});
    world.api.lock().unwrap().objects.insert(pod_path("a"), moved);
    settle(&mut world).await;
    assert!(mark(&world, "b").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_no_pods_takes_nobodys_place() {
    for (field, value) in [
        ("/spec", json!({"unschedulable": true})),
        (
            "/status",
            json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}),
        ),
    ] {
        let mut world = placed().await;
        node(&world, "node-a", "elsewhere");
        node(&world, "node-a2", "a");
        world.edit("/api/v1/nodes/node-a2", |node| {
            *node.pointer_mut(field).unwrap() = value.clone()
        });
        settle(&mut world).await;
        assert_eq!(mark(&world, "a"), None, "{field}");
        assert!(
            degraded(&world).starts_with("PodsMisplaced"),
            "{}",
            degraded(&world)
        );
    }
}
