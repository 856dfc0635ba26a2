//! Whole reconciles against an API server in memory: the exact calls, failures at every call, crashes, drift, deletion.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "reconcile/client_pods.rs"]
mod client_pods;
#[path = "reconcile/fail_closed.rs"]
mod fail_closed;
#[path = "reconcile/honest.rs"]
mod honest;
#[path = "reconcile/secrets.rs"]
mod secrets;
mod support;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::document::{self, Clients, Secrets};
use egressway_core::wire::names;
use egressway_core::wire::report::{Egress, Phase, PolicyInForce, Report, Seen, VERSION};
use egressway_operator::cluster::caches::policy_ref;
use egressway_operator::cluster::client_pods::pace;
use egressway_operator::cluster::issuer::{DISCOVERY_PATH, KEYS_PATH};
use egressway_operator::cluster::orphans;
use egressway_operator::egress_policy;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use support::{FLEETS, World};
use tokio::time::Instant;

const POLICY: &str = "/apis/egressway.dev/v1alpha1/namespaces/payments/egresspolicies/webhooks";
const POOL: &str = "/apis/egressway.dev/v1alpha1/egresspools/edge";

fn pool() -> Value {
    json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPool", "metadata": {"name": "edge"}, "spec": {
        "allowedNamespaces": {"from": "All"},
        "cells": [
            {"name": "a", "nodeSelector": {"pool": "edge", "zone": "a"}, "addresses": [{"cidr": "192.31.196.10/32"}]},
            {"name": "b", "nodeSelector": {"pool": "edge", "zone": "b"}, "addresses": [{"cidr": "192.31.196.20/32"}]},
        ],
        "observation": {"observers": [{"name": "one", "url": "http://one.example/"}, {"name": "two", "url": "http://two.example/"}]},
        "fleet": {"replicasPerCell": 1},
    }})
}

fn policy() -> Value {
    json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "webhooks", "namespace": "payments", "uid": "policy-uid", "finalizers": ["egressway.dev/fleet"]},
        "spec": {"poolRef": {"name": "edge"}, "rules": [{"name": "echo", "hosts": ["*.example.test"]}]}})
}

fn world() -> World {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}});
    World::new(&[
        (POLICY, policy()),
        (POOL, pool()),
        ("/api/v1/namespaces/payments", namespace),
    ])
}

/// One run, as the controller makes it: from the cache.
async fn run(world: &mut World) -> Result<(), egress_policy::Error> {
    world.sync();
    run_unsynced(world).await
}

/// One run whose caches have not seen what happened since the last one.
async fn run_unsynced(world: &World) -> Result<(), egress_policy::Error> {
    let Some(policy) = world.ctx.caches.policies.get(&policy_ref("payments", "webhooks")) else {
        return Ok(());
    };
    egress_policy::reconcile(policy, Arc::clone(&world.ctx))
        .await
        .map(|_| ())
}

/// Runs until nothing is written any more; there must be an end.
async fn settle(world: &mut World) {
    for _ in 0..20 {
        world.calls();
        let outcome = run(world).await;
        if outcome.is_ok() && world.writes().is_empty() {
            return;
        }
    }
    panic!("no end of writing");
}

/// What Deployment controller and kubelets would do: pods that run and report what the ConfigMap says.
fn bring_up(world: &World) {
    let all = world.fleet();
    for (path, deployment) in all.iter().filter(|(path, _)| path.contains("/deployments/")) {
        let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
        let name = format!("{}-x", deployment["metadata"]["name"].as_str().unwrap());
        world.edit(path, |object| {
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"],
                "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
        });
        let cell = labels["egressway.dev/cell"].as_str().unwrap().to_owned();
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": FLEETS, "uid": format!("pod-{cell}"), "labels": labels},
            "spec": {"containers": [], "nodeName": format!("node-{cell}")},
            "status": {"phase": "Running", "podIP": "10.244.0.7", "startTime": "2027-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True"}]}});
        let pod_path = format!("/api/v1/namespaces/{FLEETS}/pods/{name}");
        world.api.lock().unwrap().objects.insert(pod_path, pod);
    }
    report(world, &hash(world));
}

fn policies(world: &World) -> Value {
    document(world, names::POLICIES_KEY)
}

/// One document of the fleet's ConfigMap.
fn document(world: &World, key: &str) -> Value {
    let fleet = names::fleet_name("payments", "webhooks");
    let config = world
        .get(&format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}"))
        .unwrap();
    serde_json::from_str(config["data"][key].as_str().unwrap()).unwrap()
}

fn clients_path() -> String {
    let fleet = names::fleet_name("payments", "webhooks");
    format!(
        "/api/v1/namespaces/{FLEETS}/configmaps/{}",
        names::clients_name(&fleet)
    )
}

fn clients(world: &World) -> Clients {
    let config = world.get(&clients_path()).unwrap();
    serde_json::from_str(config["data"]["clients.json"].as_str().unwrap()).unwrap()
}

/// `name ip ip; name ip`.
fn client_pods(world: &World) -> String {
    let pods = clients(world).policies.remove(0).pods;
    let pods = pods
        .iter()
        .map(|pod| format!("{} {}", pod.name, pod.ips.join(" ")));
    pods.collect::<Vec<_>>().join("; ")
}

fn client_pod(world: &World, namespace: &str, name: &str, ip: &str, started: &str) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": []}, "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": started}});
    let mut state = world.api.lock().unwrap();
    state
        .objects
        .insert(format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod);
}

fn hash(world: &World) -> String {
    policies(world)["policies"][0]["hash"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// `secrets.json` as the fleet's pods would see it.
fn fleet_secrets(world: &World) -> Option<Secrets> {
    let secret = world.get(&world.path(&format!("{FLEETS}/secrets"), "webhooks-"))?;
    let data: ByteString = serde_json::from_value(secret["data"].get("secrets.json")?.clone()).unwrap();
    Some(serde_json::from_slice(&data.0).unwrap())
}

fn secrets_hash(world: &World) -> String {
    fleet_secrets(world)
        .as_ref()
        .map(document::digest)
        .unwrap_or_default()
}

fn clients_hash(world: &World) -> String {
    let config = world.get(&clients_path());
    config
        .map(|_| document::digest(&clients(world)))
        .unwrap_or_default()
}

/// Every pod reports to enforce `hash` and to be seen at its cell's address.
fn report(world: &World, hash: &str) {
    for (cell, ip) in [("a", "192.31.196.10"), ("b", "192.31.196.20")] {
        let uid = format!("pod-{cell}");
        let seen = Seen {
            ip: ip.parse().unwrap(),
            observers: vec!["one".to_owned(), "two".to_owned()],
            confirmed: true,
            last_seen: 1,
        };
        let in_force = PolicyInForce {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            generation: 1,
            hash: hash.to_owned(),
            would_deny: Vec::new(),
        };
        let report = Report {
            version: VERSION,
            build: "test".to_owned(),
            pod: uid.clone(),
            uid: uid.clone(),
            cell: cell.to_owned(),
            phase: Phase::Serving,
            policies: vec![in_force],
            floor_hash: String::new(),
            pool_hash: String::new(),
            clients_hash: clients_hash(world),
            secrets_hash: secrets_hash(world),
            load_error: None,
            egress: Egress {
                rounds: 3,
                seen: vec![seen],
                observers: vec![],
            },
            active: 0,
        };
        world.ctx.reports.answered(&uid, report);
    }
}

/// `True InSync` and the like, by type.
fn conditions(world: &World) -> BTreeMap<String, String> {
    let policy = world.get(POLICY).unwrap();
    let list = policy["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter()
        .map(|c| {
            (
                text(&c["type"]),
                format!("{} {}", text(&c["status"]), text(&c["reason"])),
            )
        })
        .collect()
}

/// A world that has come to rest.
async fn settled() -> World {
    let mut world = world();
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    world.calls();
    world
}

#[tokio::test]
async fn a_new_policy_makes_these_calls_in_this_order() {
    let mut world = world();
    run(&mut world).await.unwrap();
    let fleet = names::fleet_name("payments", "webhooks");
    let text = world.writes().join("\n").replace(&fleet, "FLEET");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_fleet_that_is_up_is_ready_and_never_written_again() {
    let mut world = settled().await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&world.get(POLICY).unwrap()["status"]).unwrap());
    run(&mut world).await.unwrap();
    assert!(world.calls().is_empty(), "a settled fleet costs no call at all");
    world.restart();
    run(&mut world).await.unwrap();
    assert!(
        world.writes().is_empty(),
        "nor does a new operator write before it has asked the pods"
    );
    report(&world, &hash(&world));
    run(&mut world).await.unwrap();
    assert!(world.writes().is_empty(), "or after");
}

#[tokio::test]
async fn a_refused_first_version_writes_its_status_and_nothing_else() {
    let mut world = world();
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0] = json!({"name": "net", "cidrs": ["192.175.48.1/24"]})
    });
    run(&mut world).await.unwrap();
    assert_eq!(world.writes(), [format!("PATCH {POLICY}/status")]);
    assert_eq!(conditions(&world)["Accepted"], "False InvalidRule");
}

#[tokio::test]
async fn a_refused_edit_keeps_the_acl_in_force_and_a_right_one_replaces_it() {
    let mut world = settled().await;
    let good = policies(&world);
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0] = json!({"name": "net", "cidrs": ["192.175.48.1/24"]})
    });
    settle(&mut world).await;
    assert_eq!(policies(&world), good);
    assert_eq!(
        (&*conditions(&world)["Accepted"], &*conditions(&world)["Ready"]),
        ("False InvalidRule", "True Serving")
    );
    // What is lost meanwhile heals all the same.
    let service = world.path("services", "webhooks-");
    world.api.lock().unwrap().objects.remove(&service);
    settle(&mut world).await;
    assert!(world.get(&service).is_some());
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0] = json!({"name": "net", "cidrs": ["192.175.48.0/24"]})
    });
    settle(&mut world).await;
    assert_eq!(policies(&world)["policies"][0]["generation"], 3);
    assert!(
        conditions(&world)["Programmed"].starts_with("False"),
        "{:?}",
        conditions(&world)
    );
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Programmed"], "True InSync");
}

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
async fn every_owned_field_heals_and_every_deleted_object_comes_back() {
    let paths: Vec<String> = settled()
        .await
        .fleet()
        .into_keys()
        .filter(|path| !path.contains("/pods/"))
        .collect();
    assert_eq!(paths.len(), 10, "{paths:?}");
    for path in &paths {
        let mut world = settled().await;
        let whole = without_status(&world.fleet());
        world.edit(path, break_it);
        assert_ne!(
            without_status(&world.fleet()),
            whole,
            "{path}: the edit does something"
        );
        settle(&mut world).await;
        assert_eq!(without_status(&world.fleet()), whole, "{path} edited");
        world.api.lock().unwrap().objects.remove(path);
        settle(&mut world).await;
        assert!(world.get(path).is_some(), "{path} deleted");
        // A lost report key is a new one, and with it new pods.
        if !path.contains("/secrets/") {
            assert_eq!(without_status(&world.fleet()), whole, "{path} deleted");
        }
    }
}

fn break_it(object: &mut Value) {
    match object["kind"].as_str().unwrap() {
        "Deployment" => object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil"),
        "Service" => object["spec"]["selector"]["egressway.dev/fleet"] = json!("evil"),
        "NetworkPolicy" => object["spec"]["ingress"].as_array_mut().unwrap().push(json!({})),
        "PodDisruptionBudget" => object["spec"]["maxUnavailable"] = json!("100%"),
        "ConfigMap" => {
            for document in object["data"].as_object_mut().unwrap().values_mut() {
                *document = json!("{}");
            }
        }
        "Secret" => object["metadata"]["labels"]["egressway.dev/pool-name"] = json!("evil"),
        "ServiceAccount" => object["automountServiceAccountToken"] = json!(true),
        other => panic!("{other}"),
    }
}

fn without_status(fleet: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut fleet = fleet.clone();
    for object in fleet.values_mut() {
        object.as_object_mut().unwrap().remove("status");
    }
    fleet
}

#[tokio::test]
async fn whichever_call_fails_and_whenever_the_operator_dies_the_end_is_the_same() {
    let world = || {
        let world = world();
        client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
        world
    };
    let mut straight = world();
    settle(&mut straight).await;
    assert_eq!(client_pods(&straight), "sender 10.244.3.1");
    let calls = straight.api.lock().unwrap().count;
    let end = shape(&straight.fleet());
    assert!(calls > 15, "{calls}");
    for code in [500, 409, 403] {
        for at in 1..=calls {
            let mut world = world();
            world.api.lock().unwrap().fail = Some((at, code));
            let _ = run(&mut world).await;
            if at % 2 == 0 {
                world.restart();
            }
            settle(&mut world).await;
            assert_eq!(shape(&world.fleet()), end, "call {at} answered with {code}");
        }
    }
}

/// Everything but the drawn key and what follows from it.
fn shape(fleet: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut fleet = fleet.clone();
    for object in fleet.values_mut() {
        object["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.ends_with("-hash"));
        match object["kind"].as_str() {
            Some("Deployment") => object["spec"]["template"]["metadata"]["annotations"] = json!({}),
            Some("Secret") => object["data"] = json!({}),
            _ => {}
        }
    }
    fleet
}

#[tokio::test]
async fn a_cache_that_lags_draws_no_second_key_and_brings_no_old_acl_back() {
    let mut world = world();
    run(&mut world).await.unwrap();
    let key = world.get(&world.path("secrets", "webhooks-")).unwrap();
    run_unsynced(&world).await.unwrap();
    assert_eq!(world.get(&world.path("secrets", "webhooks-")).unwrap(), key);
    settle(&mut world).await;
    // A good edit, and at once a bad one, while the cache still has the ConfigMap of before.
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0]["hosts"] = json!(["second.example.test"])
    });
    run(&mut world).await.unwrap();
    let second = policies(&world);
    let mut bad = world.get(POLICY).unwrap();
    bad["spec"]["rules"][0]["hosts"] = json!(["not a host"]);
    bad["metadata"]["generation"] = json!(3);
    let bad = Arc::new(serde_json::from_value(bad).unwrap());
    egress_policy::reconcile(bad, Arc::clone(&world.ctx))
        .await
        .unwrap();
    assert_eq!(policies(&world), second);
}

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
async fn two_cells_never_replace_their_pods_at_once() {
    let mut world = settled().await;
    let grace = |world: &World, cell: &str| {
        let fleet = world.fleet();
        let mut deployments = fleet.values().filter(|object| object["kind"] == "Deployment");
        let found = deployments
            .find(|object| object["metadata"]["labels"]["egressway.dev/cell"] == cell)
            .unwrap();
        found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            .as_i64()
            .unwrap()
    };
    world.edit(POLICY, |policy| policy["spec"]["fleet"] = json!({"drain": "60s"}));
    settle(&mut world).await;
    assert_eq!(
        (grace(&world, "a"), grace(&world, "b")),
        (75, 315),
        "b waits: a has not settled"
    );
    bring_up(&world);
    settle(&mut world).await;
    assert_eq!((grace(&world, "a"), grace(&world, "b")), (75, 75));
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
async fn the_finalizer_comes_before_the_first_child_and_goes_after_the_last() {
    let mut world = world();
    world.edit(POLICY, |policy| policy["metadata"]["finalizers"] = json!([]));
    run(&mut world).await.unwrap();
    assert_eq!(world.writes()[0], format!("PATCH {POLICY}"));
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    world.edit(POLICY, |policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
    });
    run(&mut world).await.unwrap();
    let service = world.path("services", "webhooks-");
    assert!(
        world.get(&service).is_some(),
        "the Service stays while pods drain"
    );
    assert_eq!(conditions(&world)["Progressing"], "True Draining");
    world
        .api
        .lock()
        .unwrap()
        .objects
        .retain(|path, _| !path.contains("/pods/"));
    run(&mut world).await.unwrap();
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
    assert!(world.get(POLICY).is_none());
}

#[tokio::test]
async fn a_deletion_finds_what_the_cache_has_not_seen_yet() {
    let mut world = world();
    run(&mut world).await.unwrap();
    let mut going = world.get(POLICY).unwrap();
    going["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z");
    world.edit(POLICY, |policy| *policy = going.clone());
    let going = Arc::new(serde_json::from_value(going).unwrap());
    egress_policy::reconcile(going, Arc::clone(&world.ctx))
        .await
        .unwrap();
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
}

#[tokio::test]
async fn a_fleet_without_policy_is_deleted_once_the_api_server_says_so() {
    let mut world = settled().await;
    world
        .api
        .lock()
        .unwrap()
        .objects
        .retain(|path, _| !path.contains("/pods/"));
    world.sync();
    assert!(orphans::collect(&world.ctx).await.unwrap().is_empty());
    assert!(world.calls().is_empty(), "nothing to suspect costs no call");
    let policy = world.api.lock().unwrap().objects.remove(POLICY).unwrap();
    world.sync();
    // The cache has lost the policy, the API server has not.
    world
        .api
        .lock()
        .unwrap()
        .objects
        .insert(POLICY.to_owned(), policy);
    assert!(orphans::collect(&world.ctx).await.unwrap().is_empty());
    assert_eq!(world.fleet().len(), 10);
    world.api.lock().unwrap().objects.remove(POLICY);
    assert_eq!(orphans::collect(&world.ctx).await.unwrap(), ["policy-uid"]);
    assert!(world.fleet().is_empty(), "{:?}", world.fleet().keys());
}

#[tokio::test]
async fn a_pod_on_a_dead_node_holds_no_policy_for_ever() {
    let mut world = settled().await;
    world.edit(POLICY, |policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z")
    });
    let pods: Vec<String> = world
        .fleet()
        .into_keys()
        .filter(|path| path.contains("/pods/"))
        .collect();
    for pod in &pods {
        world.edit(pod, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-12-31T23:50:00Z")
        });
    }
    run(&mut world).await.unwrap();
    assert!(world.get(POLICY).is_none());
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
