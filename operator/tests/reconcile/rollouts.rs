//! Rollouts over cells: one that serves after the other, and none that waits for what may never come.

use super::*;

/// Grace periods of the cells that there are, which show what was rolled.
fn graces(world: &World) -> BTreeMap<String, i64> {
    let fleet = world.fleet();
    let deployments = fleet.values().filter(|object| object["kind"] == "Deployment");
    let grace = |object: &Value| {
        let cell = object["metadata"]["labels"]["egressway.dev/cell"]
            .as_str()
            .unwrap();
        let pod = &object["spec"]["template"]["spec"];
        (
            cell.to_owned(),
            pod["terminationGracePeriodSeconds"].as_i64().unwrap(),
        )
    };
    deployments.map(grace).collect()
}

fn rolled(world: &World) -> String {
    let graces = graces(world);
    let rolled = graces.iter().filter(|(_, grace)| **grace == 75);
    rolled
        .map(|(cell, _)| cell.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

fn edit(world: &World) {
    world.edit(POLICY, |policy| policy["spec"]["fleet"] = json!({"drain": "60s"}));
}

/// A cell's pods are there, and none is available; `unschedulable` too if they have no node.
fn darken(world: &World, cell: &str, unschedulable: bool) {
    let deployment = format!(
        "/apis/apps/v1/namespaces/{FLEETS}/deployments/{}",
        names::cell_name("payments", "webhooks", cell)
    );
    world.edit(&deployment, |object| {
        object["status"]["availableReplicas"] = json!(0);
        object["status"]["readyReplicas"] = json!(0);
    });
    let pod = world.path("pods", &names::cell_name("payments", "webhooks", cell));
    world.edit(&pod, |pod| {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        if unschedulable {
            pod["status"]["phase"] = json!("Pending");
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "0/3 nodes are available"}]);
            pod["spec"].as_object_mut().unwrap().remove("nodeName");
        }
    });
}

#[tokio::test]
async fn two_cells_that_serve_never_replace_their_pods_at_once() {
    let mut world = settled().await;
    edit(&world);
    settle(&mut world).await;
    let first = rolled(&world);
    assert!(["a", "b"].contains(&&*first), "one of them: {first}");
    bring_up(&world);
    settle(&mut world).await;
    assert_eq!(rolled(&world), "a b");
}

/// Brings a cell, by its name and number, into a state.
type Bring = fn(&World, &str, usize);

/// Whichever of the cells cannot be whole: the other one does not wait for it.
#[tokio::test]
async fn a_cell_that_serves_nobody_holds_no_rollout() {
    let states: [(&str, Bring); 4] = [
        ("Draining", |world, _, n| {
            world.edit(POOL, |pool| pool["spec"]["cells"][n]["state"] = json!("Draining"));
        }),
        ("Disabled", |world, _, n| {
            world.edit(POOL, |pool| pool["spec"]["cells"][n]["state"] = json!("Disabled"));
        }),
        ("dark", |_, _, _| {}),
        ("without nodes", |world, cell, _| darken(world, cell, true)),
    ];
    for (what, state) in states {
        for (n, cell, other) in [(0, "a", "b"), (1, "b", "a")] {
            let mut world = settled().await;
            darken(&world, cell, false);
            state(&world, cell, n);
            settle(&mut world).await;
            edit(&world);
            settle(&mut world).await;
            let rolled = rolled(&world);
            assert!(
                rolled.split(' ').any(|cell| cell == other),
                "{other} waits for {cell}, which is {what}: {rolled:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_rollout_that_finds_no_node_holds_no_other_cell() {
    for cell in ["a", "b"] {
        let mut world = settled().await;
        edit(&world);
        settle(&mut world).await;
        let first = rolled(&world);
        // Its old pod serves on, and the new one finds no node.
        let name = names::cell_name("payments", "webhooks", &first);
        let deployment = format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{name}");
        world.edit(&deployment, |object| {
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"],
                "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
        });
        settle(&mut world).await;
        assert_eq!(
            rolled(&world),
            first,
            "{cell}: while it may come up the other one waits"
        );
        let pod = world.path("pods", &name);
        let mut surge = world.get(&pod).unwrap();
        surge["metadata"]["name"] = json!("surge");
        surge["metadata"]["uid"] = json!("surge");
        surge["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
        let path = format!("/api/v1/namespaces/{FLEETS}/pods/surge");
        world.api.lock().unwrap().objects.insert(path, surge);
        settle(&mut world).await;
        assert_eq!(rolled(&world), "a b", "{cell}");
        let now = conditions(&world);
        assert_eq!(
            now["Programmed"], "True InSync",
            "nor is it about to load anything"
        );
    }
}
