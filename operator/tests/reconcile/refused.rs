//! A refused edit leaves the whole fleet as it was accepted, not its rules alone; what the pool's owner takes away goes
//! all the same. And an ACL that no ConfigMap holds is refused in our words, not the API server's.

use super::*;

/// A rule that no schema refuses and no operator accepts.
fn bad_rule() -> Value {
    json!({"name": "net", "cidrs": ["192.175.48.1/24"]})
}

/// Compute that no schema refuses and no operator accepts.
fn bad_compute() -> Value {
    json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
}

/// Replicas and grace period of every Deployment.
fn shapes(world: &World) -> Vec<(i64, i64)> {
    let fleet = world.fleet();
    let deployments = fleet.values().filter(|object| object["kind"] == "Deployment");
    let shape = |object: &Value| {
        let pod = &object["spec"]["template"]["spec"];
        let grace = pod["terminationGracePeriodSeconds"].as_i64();
        (object["spec"]["replicas"].as_i64().unwrap(), grace.unwrap())
    };
    deployments.map(shape).collect()
}

pub(super) fn message(world: &World, kind: &str) -> String {
    let policy = world.get(POLICY).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found.unwrap()["message"].as_str().unwrap().to_owned()
}

async fn with_two() -> World {
    let mut world = world();
    world.edit(POLICY, |policy| {
        policy["spec"]["fleet"] = json!({"replicasPerCell": 2, "drain": "90s"})
    });
    life::rest(&mut world, async |_| {}).await;
    world
}

#[tokio::test]
async fn a_refused_edit_changes_neither_replicas_nor_drain() {
    for edit in [
        json!({"rules": [bad_rule()], "fleet": {"replicasPerCell": 3, "drain": "60s"}}),
        json!({"fleet": {"replicasPerCell": 3, "drain": "60s", "resources": bad_compute()}}),
        json!({"rules": [bad_rule()], "fleet": null}),
    ] {
        let mut world = with_two().await;
        assert_eq!(shapes(&world), [(2, 105), (2, 105)]);
        world.edit(POLICY, |policy| {
            for (field, value) in edit.as_object().unwrap() {
                policy["spec"][field] = value.clone();
            }
        });
        life::rest(&mut world, async |_| {}).await;
        assert_eq!(shapes(&world), [(2, 105), (2, 105)], "{edit}");
        // Nor is what is lost meanwhile made as the refused edit says.
        let lost = names::cell_name("payments", "webhooks", "a");
        let lost = format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{lost}");
        world.api.lock().unwrap().objects.remove(&lost).unwrap();
        life::rest(&mut world, async |_| {}).await;
        assert_eq!(shapes(&world), [(2, 105), (2, 105)], "{edit}");
    }
}

#[tokio::test]
async fn caps_reach_a_fleet_whose_policy_is_refused() {
    for edit in [
        json!({"rules": [bad_rule()]}),
        json!({"fleet": {"resources": bad_compute()}}),
    ] {
        let mut world = with_two().await;
        world.edit(POLICY, |policy| {
            for (field, value) in edit.as_object().unwrap() {
                policy["spec"][field] = value.clone();
            }
        });
        life::rest(&mut world, async |_| {}).await;
        world.edit(POOL, |pool| {
            pool["spec"]["caps"] = json!({"ports": [{"port": 443}], "maxReplicasPerCell": 1})
        });
        life::rest(&mut world, async |_| {}).await;
        assert_eq!(
            document(&world, "pool.json")["caps"]["ports"],
            json!([{"port": 443}]),
            "{edit}: a tenant's bad edit holds no cap off"
        );
        assert_eq!(shapes(&world), [(1, 105), (1, 105)], "{edit}");
    }
}

#[tokio::test]
async fn an_acl_lost_while_an_edit_is_refused_becomes_one_that_refuses_everything_and_says_so() {
    let fleet = names::fleet_name("payments", "webhooks");
    let config = format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}");
    let mut world = settled().await;
    let good = policies(&world);
    world.edit(POLICY, |policy| policy["spec"]["rules"][0] = bad_rule());
    settle(&mut world).await;
    assert_eq!(policies(&world), good);
    // A cache that has not seen it is no loss.
    let object = world.api.lock().unwrap().objects.remove(&config).unwrap();
    world.sync();
    world.api.lock().unwrap().objects.insert(config.clone(), object);
    run_unsynced(&world).await.unwrap();
    assert_eq!(policies(&world), good);
    for _ in 0..2 {
        world.api.lock().unwrap().objects.remove(&config);
        settle(&mut world).await;
        let document = &policies(&world)["policies"][0];
        assert_eq!(
            document["content"]["closed"], "Unaccepted",
            "new pods can start, and let nobody through"
        );
        assert_eq!(
            (&*conditions(&world)["Accepted"], &*conditions(&world)["Ready"]),
            ("False InvalidRule", "False NotAccepted")
        );
        let message = message(&world, "Ready");
        assert!(message.contains("is lost"), "{message}");
        world.restart();
        report(&world, &hash(&world));
    }
    world.edit(POLICY, |policy| policy["spec"] = self::policy()["spec"].clone());
    settle(&mut world).await;
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Ready"], "True Serving");
    assert_eq!(
        policies(&world)["policies"][0]["content"],
        good["policies"][0]["content"]
    );
}

/// Some `count` times 240 bytes of hosts.
pub(super) fn hosts(count: usize) -> Value {
    let label = "x".repeat(56);
    let host = |n: usize| format!("h{n}.{label}.{label}.{label}.{label}.test");
    let all: Vec<String> = (0..count).map(host).collect();
    let rules = all.chunks(256).enumerate();
    rules
        .map(|(n, hosts)| json!({"name": format!("r{n}"), "hosts": hosts}))
        .collect()
}

/// Nodes of a cluster, some 70 bytes of floor each.
pub(super) fn nodes(world: &World, count: usize) {
    let mut api = world.api.lock().unwrap();
    api.objects.retain(|path, _| !path.contains("/nodes/"));
    for n in 0..count {
        let (high, low) = (n / 250, n % 250);
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}")},
            "spec": {"podCIDR": format!("10.{high}.{low}.0/24"), "podCIDRs": [format!("10.{high}.{low}.0/24"), format!("fd00:10:244:{n:x}::/64")]},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("172.16.{high}.{low}")},
                {"type": "InternalIP", "address": format!("fd00:172:16::{n:x}")}]}});
        api.objects.insert(format!("/api/v1/nodes/n{n}"), node);
    }
}

#[tokio::test]
async fn an_edit_that_no_config_map_holds_is_refused_and_the_last_good_one_stays() {
    let mut world = settled().await;
    nodes(&world, 3000);
    settle(&mut world).await;
    report(&world, &hash(&world));
    settle(&mut world).await;
    let good = policies(&world);
    world.edit(POLICY, |policy| policy["spec"]["rules"] = hosts(3500));
    settle(&mut world).await;
    assert_eq!(policies(&world), good);
    assert_eq!(
        (&*conditions(&world)["Accepted"], &*conditions(&world)["Ready"]),
        ("False ConfigTooLarge", "True Serving")
    );
    let message = message(&world, "Accepted");
    assert!(
        message.contains("spec.rules") && message.contains("split"),
        "{message}"
    );
    nodes(&world, 10);
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
}

#[tokio::test]
async fn a_cluster_that_outgrows_an_acl_in_force_is_told_in_our_words() {
    let fleet = names::fleet_name("payments", "webhooks");
    let config = format!("PATCH /api/v1/namespaces/{FLEETS}/configmaps/{fleet}");
    let mut world = settled().await;
    world.edit(POLICY, |policy| policy["spec"]["rules"] = hosts(3500));
    settle(&mut world).await;
    let good = policies(&world);
    nodes(&world, 3000);
    world.calls();
    run(&mut world).await.unwrap_err();
    assert!(
        !world.writes().contains(&config),
        "nobody is asked for what cannot be"
    );
    assert_eq!(policies(&world), good);
    assert_eq!(
        (&*conditions(&world)["Accepted"], &*conditions(&world)["Ready"]),
        ("False ConfigTooLarge", "False ConfigTooLarge")
    );
    nodes(&world, 10);
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
}
