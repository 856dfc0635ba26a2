//! The API's schema and core's strict reading of specs have the same fields: none is accepted and ignored.

use std::collections::BTreeSet;

use egressway_core::manifest::{PolicySpec, PoolSpec};
use egressway_crds::{EgressPolicy, EgressPolicySpec, EgressPool, EgressPoolSpec};
use kube::CustomResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What only a cluster acts on; core hands it through unread.
const UNREAD: [&str; 6] = [
    "spec.fleet",
    "spec.clients[].from.podSelector",
    "spec.allowedNamespaces",
    "spec.cells",
    "spec.observation",
    "spec.cells[]",
];

fn policy() -> Value {
    let name = |name: &str| json!({"name": name});
    let key = json!({"name": "secret", "key": "key"});
    json!({
        "poolRef": name("edge"),
        "fleet": {"replicasPerCell": 2},
        "suspend": true,
        "mode": "Report",
        "listener": {"tls": {"certificateRef": name("tls")}, "proxyProtocol": {"sources": ["192.175.48.0/24"]}},
        "clients": [{
            "name": "all",
            "from": {"podSelector": {"matchLabels": {"app": "a"}}},
            "auth": {
                "serviceAccounts": ["sender"],
                "passwordSecretRefs": [key],
                "certificate": {"caRef": name("ca"), "identities": ["CN=a"]},
            },
        }],
        "rules": [{
            "name": "all",
            "action": "Allow",
            "hosts": ["a.example"],
            "cidrs": ["192.175.48.0/24"],
            "ports": [{"port": 1, "endPort": 2}],
            "clients": ["all"],
            "http": {"methods": ["POST"], "pathPrefixes": ["/hooks"]},
            "sni": "MustMatch",
            "upstreamTLS": {"when": "OnRequest", "clientCertificateRef": name("client"), "caRef": name("ca"), "minVersion": "1.3"},
            "signing": {"scheme": "HMAC-SHA256", "secretRefs": [key], "header": "x-signature", "encoding": "Base64"},
            "tunnels": "Allow",
        }],
        "timeouts": {"head": "1s", "connect": "2s", "idle": "3s", "lifetime": "4s"},
        "limits": {
            "headBytes": "64Ki", "connections": 1, "tunnels": 2, "tunnelsPerDestination": 3, "requestsPerSecond": 4,
            "clientRequestsPerSecond": 5, "clientConnections": 8, "responseBody": 6, "signedBody": "7Mi",
        },
        "revokeTunnels": "OnClose",
    })
}

fn pool() -> Value {
    json!({
        "allowedNamespaces": {"from": "All"},
        "cells": [{"name": "a", "nodeSelector": {"pool": "edge"}, "state": "Active"}],
        "observation": {"observers": [{"name": "one", "url": "http://one.example/"}], "interval": "60s"},
        "fleet": {"replicasPerCell": 2},
        "caps": {
            "modes": ["Enforce", "Report"],
            "ports": [{"port": 443, "endPort": 444}],
            "hosts": {"allow": ["*"], "deny": ["*.bad.example"]},
            "cidrs": {"allow": ["192.175.48.0/24"], "deny": ["192.175.48.128/25"]},
            "internalDestinations": [{"cidr": "10.0.0.0/8", "host": "a.example", "cidrs": ["10.0.0.0/8"], "ports": [{"port": 443, "endPort": 444}]}],
            "clientAuth": "Required",
            "maxReplicasPerCell": 20,
            "maxRulesPerPolicy": 100,
        },
        "nat64Prefixes": ["2001:db8:64::/96"],
    })
}

#[test]
fn a_policy_with_every_field_loses_none() {
    same_fields::<EgressPolicySpec, PolicySpec>(&EgressPolicy::crd(), &policy());
}

#[test]
fn a_pool_with_every_field_loses_none() {
    same_fields::<EgressPoolSpec, PoolSpec>(&EgressPool::crd(), &pool());
}

/// `full` has a value for every field; both types hand it back, and neither has a field more.
fn same_fields<Api, Strict>(crd: &impl Serialize, full: &Value)
where
    Api: Serialize + DeserializeOwned,
    Strict: Serialize + DeserializeOwned,
{
    let crd = serde_json::to_value(crd).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut differ = Vec::new();
    compare("spec", schema, full, &mut differ);
    assert!(
        differ.is_empty(),
        "the schema and the example differ: {differ:#?}"
    );
    let api: Api = serde_json::from_value(full.clone()).unwrap();
    let stored = serde_json::to_value(&api).unwrap();
    assert_eq!(stored, *full, "through the API's type");
    let strict: Strict = serde_json::from_value(stored).unwrap();
    // A field that only core has would be null here.
    assert_eq!(
        serde_json::to_value(&strict).unwrap(),
        *full,
        "through core's type"
    );
}

fn compare(path: &str, schema: &Value, value: &Value, differ: &mut Vec<String>) {
    if UNREAD.contains(&path) {
        return;
    }
    if let Some(fields) = schema["properties"].as_object() {
        let documented: BTreeSet<&String> = fields.keys().collect();
        let given: BTreeSet<&String> = value
            .as_object()
            .map(|object| object.keys().collect())
            .unwrap_or_default();
        differ.extend(
            documented
                .symmetric_difference(&given)
                .map(|field| format!("{path}.{field}")),
        );
        for (name, field) in fields {
            compare(&format!("{path}.{name}"), field, &value[name], differ);
        }
    }
    if !schema["items"].is_null() {
        compare(&format!("{path}[]"), &schema["items"], &value[0], differ);
    }
}
