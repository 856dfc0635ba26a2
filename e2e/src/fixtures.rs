//! YAML as users write it, for the lab's two sets of nodes. On another cluster the pools match nodes by the same
//! labels; see docs/how-to/run-the-tests.md.

use serde_json::{Value, json};

use crate::cluster::{FLEETS, SYSTEM};

/// Interval of the pools' observers, the shortest that the API takes.
pub const INTERVAL_SECONDS: u64 = 5;

/// The pool with two cells, each with its own NAT.
pub const EDGE: &str = "e2e-edge";
/// The pool with one cell.
pub const BATCH: &str = "e2e-batch";
/// The pool on the general node, whose observers no other pool has.
pub const GENERAL: &str = "e2e-general";

/// A pool's manifest; addresses as in the lab, observers as in the lab.
#[must_use]
pub fn pool(name: &str, cells: &[(&str, &str, Option<&str>, u8)]) -> Value {
    let cells: Vec<Value> = cells
        .iter()
        .map(|(cell, pool, zone, last)| {
            let mut selector = json!({"egressway.dev/pool": pool});
            if let Some(zone) = zone {
                selector["topology.kubernetes.io/zone"] = json!(zone);
            }
            json!({
                "name": cell,
                "nodeSelector": selector,
                "tolerations": [{"key": "egressway.dev/pool", "operator": "Equal", "value": pool, "effect": "NoSchedule"}],
                "addresses": [{"cidr": format!("192.31.196.{last}/32")}, {"cidr": format!("2620:4f:8000:2::{last}/128")}],
            })
        })
        .collect();
    json!({
        "apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPool", "metadata": {"name": name},
        "spec": {
            "allowedNamespaces": {"from": "All"},
            "cells": cells,
            "observation": {
                "observers": [
                    {"name": "one", "url": "http://one.observers.test/"},
                    {"name": "two", "url": "http://two.observers.test/"},
                    {"name": "three", "url": "http://three.observers.test/"},
                ],
                "quorum": 2, "interval": format!("{INTERVAL_SECONDS}s"),
            },
            "fleet": {"drain": "2s"},
        },
    })
}

/// The pool with cells edge-a and edge-b.
#[must_use]
pub fn edge() -> Value {
    pool(
        EDGE,
        &[
            ("edge-a", "edge", Some("lab-a"), 10),
            ("edge-b", "edge", Some("lab-b"), 20),
        ],
    )
}

/// The pool with cell batch.
#[must_use]
pub fn batch() -> Value {
    pool(BATCH, &[("batch", "batch", None, 30)])
}

/// The pool with cell general. Its observers may die and lie while other cases rely on theirs.
#[must_use]
pub fn general() -> Value {
    let mut pool = pool(GENERAL, &[("general", "none", None, 1)]);
    pool["spec"]["cells"][0]["nodeSelector"] = json!({"kubernetes.io/hostname": "sys-1"});
    let observers = ["four", "five", "six"]
        .map(|name| json!({"name": name, "url": format!("http://{name}.observers.test/")}));
    pool["spec"]["observation"]["observers"] = json!(observers);
    pool
}

/// A policy's manifest with rules.
#[must_use]
pub fn policy(namespace: &str, name: &str, pool: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy", "metadata": {"namespace": namespace, "name": name},
        "spec": {"poolRef": {"name": pool}, "fleet": {"replicasPerCell": 1}, "rules": rules},
    })
}

/// One Allow rule for the echo servers' names on ports 80 and 443.
#[must_use]
pub fn allow_echo() -> Value {
    json!([{"name": "echo", "hosts": ["*.example.test"], "ports": [{"port": 80}, {"port": 443}]}])
}

/// The RoleBinding by which a namespace gives its Secrets to the operator.
#[must_use]
pub fn secret_reader(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"namespace": namespace, "name": "egressway-secret-reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "egressway-secret-reader"},
        "subjects": [{"kind": "ServiceAccount", "namespace": SYSTEM, "name": "egressway"}],
    })
}

/// A Secret that is given to proxies.
#[must_use]
pub fn secret(namespace: &str, name: &str, data: &Value) -> Value {
    let mut secret = unlabelled_secret(namespace, name, data);
    secret["metadata"]["labels"] = json!({"egressway.dev/use": "proxy"});
    secret
}

/// A Secret that nobody has given to proxies.
#[must_use]
pub fn unlabelled_secret(namespace: &str, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "stringData": data,
    })
}

/// The NetworkPolicy that lets everybody through to the proxies of a namespace's policies, beside those of the operator.
#[must_use]
pub fn open_to_all(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": FLEETS, "name": format!("{namespace}-open-to-all")},
        "spec": {
            "podSelector": {"matchLabels": {"egressway.dev/policy-namespace": namespace}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": 4750}]}],
        },
    })
}

/// The NetworkPolicy that lets a namespace fetch the metrics of another's fleets, as the chart makes one for Prometheus.
#[must_use]
pub fn metrics_from(monitoring: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": FLEETS, "name": format!("{namespace}-metrics")},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "egressway-proxy", "egressway.dev/policy-namespace": namespace}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": 4751}],
                         "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": monitoring}}}]}],
        },
    })
}
