//! Whole reconciles against an API server in memory. Here is what all of them begin with, and the calls of a fleet's
//! life without trouble; what may happen besides is in the modules.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod children;
mod client_pods;
mod deletion;
mod edits;
mod fail_closed;
mod faults;
mod finalizer;
mod heals;
mod honest;
mod life;
mod placement;
mod pools;
mod refused;
mod retries;
mod revocation;
mod rollouts;
mod secrets;
mod status_by_hand;
mod taken;
mod transitions;
mod watches;

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
use support::{At, FLEETS, Fault, World};
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
            let all = object["spec"]["replicas"].clone();
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"],
                "replicas": all, "updatedReplicas": all, "readyReplicas": all, "availableReplicas": all});
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
    let fleet = names::fleet_name("payments", "webhooks");
    let secret = world.get(&format!("/api/v1/namespaces/{FLEETS}/secrets/{fleet}"))?;
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

/// Pods that lag behind hold Programmed back, until they report what is in force now.
async fn catches_up(world: &mut World) {
    let before = conditions(world);
    assert!(before["Programmed"].starts_with("False"), "{before:?}");
    report(world, &hash(world));
    settle(world).await;
    assert_eq!(conditions(world)["Programmed"], "True InSync");
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
    catches_up(&mut world).await;
}
