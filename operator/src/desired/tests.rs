//! Snapshots of every object of a fleet: what a reviewer reads when an object changes, and what an upgrade would roll.
//!
//! The policy is not called like the product, so that a swapped label shows.

use std::collections::BTreeMap;

use egressway_core::acl::compile;
use egressway_core::wire::document::{self, Closed};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde_json::json;

use super::clients::Sources;
use super::deployment::TEMPLATE_HASH;
use super::secrets::Resolution;
use super::{Desired, Documents, Inputs, Rest, config_map, desired, documents, room, secret};
use crate::context::Settings;
use crate::egress_policy::validate::tests::{policy, pool};
use crate::egress_policy::validate::{Accepted, Facts, PoolFact, ValidPolicy, validate};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub(crate) fn settings() -> Settings {
    Settings {
        fleet_namespace: "fleets".to_owned(),
        operator_namespace: "system".to_owned(),
        service_account: "egressway".to_owned(),
        secret_reader_role: "egressway-secret-reader".to_owned(),
        proxy_image: "registry.example/proxy:1".to_owned(),
        proxy_image_pull_policy: "IfNotPresent".to_owned(),
        image_pull_secrets: vec!["pull".to_owned()],
        cluster_domain: "cluster.local".to_owned(),
        internal_cidrs: vec![],
        never_cidrs: vec![],
        name_servers: vec!["10.10.0.53/32".to_owned(), "fd10:10::53/128".to_owned()],
    }
}

fn floor() -> document::Floor {
    document::Floor {
        version: document::VERSION,
        internal_cidrs: vec!["10.96.0.0/16".to_owned()],
        never_cidrs: vec!["10.10.0.2/32".to_owned()],
        never_hosts: vec!["*.cluster.local".to_owned()],
        ..document::Floor::default()
    }
}

fn valid(policy_spec: serde_json::Value, pool_spec: serde_json::Value) -> ValidPolicy {
    let outcome = validate(&Facts {
        policy: &policy(policy_spec),
        pool: PoolFact::Found(&pool(pool_spec)),
        kept: None,
        namespace_labels: &BTreeMap::new(),
        fleet: false,
        accepted: None,
        floor: &floor(),
    });
    outcome.valid.unwrap_or_else(|| panic!("{}", outcome.message))
}

fn render(policy: &ValidPolicy, settings: &Settings) -> (Documents, Desired) {
    let sources = Sources {
        selectors: [("namespace".to_owned(), LabelSelector::default())].into(),
        tokens: true,
    };
    let clients = document::Clients {
        version: document::VERSION,
        issuer: Some(document::Issuer {
            issuer: "https://issuer.example".to_owned(),
            jwks: r#"{"keys":[]}"#.to_owned(),
        }),
        policies: vec![document::PolicyClients {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            pods: vec![document::ClientPod {
                name: "sender-0".to_owned(),
                ips: vec!["10.244.0.7".to_owned(), "fd00:10:244::7".to_owned()],
                clients: vec!["namespace".to_owned()],
            }],
        }],
    };
    let floor = floor();
    let inputs = Inputs {
        sources: &sources,
        clients: Some(&clients),
        floor: &floor,
        kept_floor: None,
        kept_pool: None,
        secrets: String::new(),
        settings,
    };
    let fitted = room::fitted(policy, &inputs);
    (
        documents(&fitted, &inputs),
        desired(
            &fitted,
            &Rest {
                secrets: &Resolution::default(),
                key: KEY,
                moved: &BTreeMap::new(),
            },
            settings,
        ),
    )
}

fn config_map_of(policy: &ValidPolicy) -> ConfigMap {
    render(policy, &settings()).0.config_map.unwrap()
}

fn fleet() -> (Documents, Desired) {
    let policy = valid(
        json!({"rules": [
            {"name": "echo", "hosts": ["*.example.test"]},
            {"name": "net", "action": "Deny", "cidrs": ["192.175.48.0/24"], "ports": [{"port": 8000, "endPort": 8999}]},
        ], "fleet": {"drain": "90s"}}),
        json!({"cells": [
            {"name": "a", "nodeSelector": {"pool": "edge", "zone": "a"},
             "tolerations": [{"key": "pool", "operator": "Equal", "value": "edge", "effect": "NoExecute", "tolerationSeconds": 30}],
             "addresses": [{"cidr": "192.31.196.10/32"}, {"cidr": "192.31.196.11/32", "notBefore": "2028-01-01T00:00:00Z"}]},
            {"name": "b", "nodeSelector": {"pool": "edge", "zone": "b"}, "state": "Draining"},
            {"name": "c", "nodeSelector": {"pool": "edge", "zone": "c"}, "state": "Disabled"},
        ]}),
    );
    render(&policy, &settings())
}

fn yaml(object: &impl Serialize) -> String {
    serde_saphyr::to_string(object).unwrap()
}

#[test]
fn every_object_of_a_fleet() {
    let (documents, rest) = fleet();
    let Documents {
        config_map,
        clients,
        hashes: _,
    } = documents;
    let Desired {
        service_account,
        secret,
        service,
        network_policy,
        cells,
    } = rest;
    insta::assert_snapshot!("service_account", yaml(&service_account));
    insta::assert_snapshot!("secret", yaml(&secret));
    insta::assert_snapshot!("config_map", yaml(&config_map.unwrap()));
    insta::assert_snapshot!("clients", yaml(&clients));
    insta::assert_snapshot!("service", yaml(&service));
    insta::assert_snapshot!("network_policy", yaml(&network_policy));
    let cells = cells.unwrap();
    assert_eq!(
        cells.iter().map(|cell| &*cell.name).collect::<Vec<_>>(),
        ["a", "b"],
        "a Disabled cell has no pods"
    );
    insta::assert_snapshot!("deployment", yaml(&cells[0].deployment));
    insta::assert_snapshot!("disruption_budget", yaml(&cells[0].disruption_budget));
}

#[test]
fn what_is_rendered_is_what_proxies_compile() {
    let config_map = fleet().0.config_map.unwrap();
    let data = config_map.data.unwrap();
    let policies: document::Policies = serde_json::from_str(&data["policies.json"]).unwrap();
    assert_eq!(compile::policies(&policies).unwrap().len(), 1);
    let floor: document::Floor = serde_json::from_str(&data["floor.json"]).unwrap();
    compile::floor(&floor, &[]).unwrap();
    let pool: document::Pool = serde_json::from_str(&data["pool.json"]).unwrap();
    let cells: Vec<_> = pool
        .cells
        .iter()
        .map(|c| (&*c.name, c.promised.len(), c.declared, c.draining))
        .collect();
    // What is promised from 2028 on goes with its date, and a pod of a Draining cell is told so.
    assert_eq!(pool.cells[0].promised[1].not_before, Some(1_830_297_600));
    assert_eq!(
        cells,
        [
            ("a", 2, true, false),
            ("b", 0, false, true),
            ("c", 0, false, false)
        ]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(fleet(), fleet());
}

#[test]
fn the_config_map_remembers_what_was_accepted_even_while_the_pool_withdraws() {
    let mut policy = valid(json!({}), json!({}));
    let accepted =
        |policy: &ValidPolicy| config_map::accepted(&config_map_of(policy), "payments", "webhooks");
    let before = accepted(&policy).unwrap();
    let whole = Accepted {
        document: policy.document.clone(),
        fleet: policy.fleet.clone(),
    };
    assert_eq!(before, whole);
    let sealed = |content| document::Policy::seal("payments", "webhooks", 7, content);
    policy.document = sealed(document::Content {
        closed: Some(Closed::Unaccepted),
        ..policy.document.content.clone()
    });
    assert_eq!(
        accepted(&policy).unwrap(),
        before,
        "the pool closed it, not the policy"
    );
    policy.document = sealed(document::Content {
        closed: Some(Closed::Unaccepted),
        suspended: true,
        ..policy.document.content.clone()
    });
    assert!(
        accepted(&policy).unwrap().document.content.suspended,
        "and here it is the policy's own"
    );
    let mut forged = config_map_of(&policy);
    let data = forged.data.as_mut().unwrap();
    let text = data["policies.json"].replace("*.example.test", "*");
    data.insert("policies.json".to_owned(), text);
    assert_eq!(
        config_map::accepted(&forged, "payments", "webhooks"),
        None,
        "the hash must match the content"
    );
}

#[test]
fn only_what_pods_are_made_of_rolls_them() {
    let template = |desired: &Desired| -> String {
        let deployment: &Deployment = &desired.cells.as_ref().unwrap()[0].deployment;
        deployment.metadata.annotations.as_ref().unwrap()[TEMPLATE_HASH].clone()
    };
    let base = template(&render(&valid(json!({}), json!({})), &settings()).1);
    let same = |spec| template(&render(&valid(spec, json!({})), &settings()).1) == base;
    assert!(
        same(json!({"rules": [{"name": "other", "hosts": ["a.example"]}]})),
        "an ACL restarts nobody"
    );
    assert!(same(json!({"suspend": true})));
    assert!(
        same(json!({"fleet": {"replicasPerCell": 5}})),
        "scaling replaces nobody"
    );
    assert!(!same(json!({"fleet": {"drain": "1s"}})));
    assert!(!same(json!({"fleet": {"resources": {"requests": {"cpu": "1"}}}})));
    let image = Settings {
        proxy_image: "registry.example/proxy:2".to_owned(),
        ..settings()
    };
    assert_ne!(template(&render(&valid(json!({}), json!({})), &image).1), base);
}

#[test]
fn a_broken_key_is_no_key() {
    let live = fleet().1.secret;
    assert_eq!(secret::key(&live).as_deref(), Some(KEY));
    for broken in [&b""[..], b"short", &[b'g'; 64], &[0xff; 64]] {
        let mut live = live.clone();
        live.data.as_mut().unwrap().get_mut("report.key").unwrap().0 = broken.to_vec();
        assert_eq!(secret::key(&live), None, "{broken:?}");
    }
}

#[test]
fn internal_destinations_open_the_network_policy_as_far_as_the_floor() {
    let caps = json!({"internalDestinations": [
        {"cidr": "10.20.0.0/16", "ports": [{"port": 443}]},
        {"host": "a.corp.example", "cidrs": ["10.30.1.0/24", "fd00:30::/64"], "ports": [{"port": 8000, "endPort": 8099}]},
    ]});
    let policy = valid(json!({}), json!({"caps": caps}));
    let object = serde_json::to_value(render(&policy, &settings()).1.network_policy).unwrap();
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let added = &object["spec"]["egress"].as_array().unwrap()[2..];
    assert_eq!(
        added,
        [
            json!({"to": [block("10.20.0.0/16")], "ports": [{"protocol": "TCP", "port": 443}]}),
            json!({"to": [block("10.30.1.0/24"), block("fd00:30::/64")],
                   "ports": [{"protocol": "TCP", "port": 8000, "endPort": 8099}]}),
        ]
    );
}

#[test]
fn the_network_policy_lets_in_whom_the_policy_lets_in() {
    let ingress = |spec: serde_json::Value| {
        let policy = valid(spec, json!({}));
        let object = serde_json::to_value(render(&policy, &settings()).1.network_policy).unwrap();
        object["spec"]["ingress"][0]["from"].clone()
    };
    let own = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "payments"}}});
    assert_eq!(ingress(json!({})), json!([own]));
    let by_pod = json!({"name": "pods", "from": {"podSelector": {}}, "auth": {"serviceAccounts": ["a"]}});
    let balancer = json!({"proxyProtocol": {"sources": ["192.175.48.0/24"]}});
    assert_eq!(
        ingress(json!({"clients": [by_pod], "listener": balancer})),
        json!([own, {"ipBlock": {"cidr": "192.175.48.0/24"}}])
    );
    let by_token = json!({"name": "token", "auth": {"serviceAccounts": ["a"]}});
    assert_eq!(
        ingress(json!({"clients": [by_pod, by_token]})),
        serde_json::Value::Null
    );
}

/// Whether an address is let out by a policy, on a port.
fn let_out(policy: &serde_json::Value, protocol: &str, ip: &str, port: u64) -> bool {
    let inside = |net: &serde_json::Value| {
        let net: ipnet::IpNet = net.as_str().unwrap().parse().unwrap();
        net.contains(&ip.parse::<std::net::IpAddr>().unwrap())
    };
    policy["spec"]["egress"].as_array().unwrap().iter().any(|rule| {
        // A rule without ports or peers is everything, and the index fails then.
        let ports = rule["ports"].as_array().unwrap().iter().any(|entry| {
            let end = entry["endPort"].as_u64().or_else(|| entry["port"].as_u64());
            let fits = entry["port"]
                .as_u64()
                .is_none_or(|begin| begin <= port && Some(port) <= end);
            entry["protocol"] == protocol && fits
        });
        let peers = rule["to"].as_array().unwrap().iter().any(|peer| {
            let block = &peer["ipBlock"];
            let except = block["except"].as_array().into_iter().flatten();
            inside(&block["cidr"]) && !except.into_iter().any(inside)
        });
        ports && peers
    })
}

#[test]
fn the_network_policy_lets_out_to_the_internet_over_tcp_and_to_the_name_servers() {
    let pool = json!({"nat64Prefixes": ["64:ff9b:1::/48", "2620:4f:8000:64::/96"]});
    let policy = valid(json!({}), pool);
    let object = serde_json::to_value(render(&policy, &settings()).1.network_policy).unwrap();
    for (protocol, ip, port, expected) in [
        ("TCP", "192.175.48.80", 443, true),
        ("TCP", "192.175.48.80", 65535, true),
        ("TCP", "2620:4f:8000:1::80", 80, true),
        ("UDP", "192.175.48.80", 443, false),
        ("SCTP", "192.175.48.80", 443, false),
        ("UDP", "192.175.48.53", 53, false),
        ("UDP", "10.10.0.53", 53, true),
        ("TCP", "10.10.0.53", 53, true),
        ("UDP", "fd10:10::53", 53, true),
        ("TCP", "10.10.0.53", 443, false),
        ("UDP", "10.96.0.10", 53, false),
        ("TCP", "10.96.0.1", 443, false),
        ("TCP", "10.10.0.2", 6443, false),
        ("TCP", "fd10:10::2", 6443, false),
        ("TCP", "fd10:244:1::5", 4752, false),
        ("TCP", "fe80::1", 10250, false),
        ("TCP", "169.254.169.254", 80, false),
        ("TCP", "168.63.129.16", 80, false),
        ("TCP", "198.18.0.1", 443, false),
        ("TCP", "203.0.113.1", 443, false),
        ("TCP", "2001:db8::1", 443, false),
        ("TCP", "2002:a00:1::", 443, false),
        ("TCP", "64:ff9b::808:808", 443, true),
        ("TCP", "64:ff9b::10.0.0.1", 443, false),
        ("TCP", "64:ff9b:1:808:8:800::", 443, true),
        ("TCP", "64:ff9b:1:a00:0:100::", 443, false),
        ("TCP", "2620:4f:8000:64::8.8.8.8", 443, true),
        ("TCP", "2620:4f:8000:64::10.0.0.1", 443, false),
        ("TCP", "::ffff:10.0.0.1", 443, false),
    ] {
        assert_eq!(
            let_out(&object, protocol, ip, port),
            expected,
            "{protocol} {ip} {port}"
        );
    }
}

#[test]
fn without_a_name_server_nobody_is_asked_and_without_a_range_nothing_is_opened() {
    let caps = json!({"internalDestinations": [{"cidr": "10.10.0.2/32", "ports": [{"port": 6443}]}]});
    let policy = valid(json!({}), json!({"caps": caps}));
    let settings = Settings {
        name_servers: vec![],
        ..settings()
    };
    let object = serde_json::to_value(render(&policy, &settings).1.network_policy).unwrap();
    assert_eq!(
        object["spec"]["egress"].as_array().unwrap().len(),
        1,
        "no rule is without peers"
    );
    assert!(
        !let_out(&object, "TCP", "10.10.0.2", 6443),
        "the API server is never opened"
    );
}
