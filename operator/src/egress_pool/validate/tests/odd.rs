//! Pools that no schema refuses and that would break somewhere else: in every proxy, in every tenant's Deployment, or in
//! who is let in.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// What a proxy refuses of a pool it refuses with all documents beside it: rules, floor and withdrawal included.
#[test]
fn an_observer_that_no_proxy_could_ask_is_refused() {
    let with = |url: &str, bundle: Option<&str>| json!({"observation": {"observers": [{"name": "one", "url": url, "caBundle": bundle}]}});
    let url = "spec.observation.observers[one].url";
    refused(with("ftp://o.example/", None), &[url, "http://"]);
    refused(with("http://o.example:0/", None), &[url]);
    refused(with("http://o.example:99999/", None), &[url]);
    refused(with("http://0x7f.1/", None), &[url]);
    refused(with("http://[::1/", None), &[url]);
    let bundle = "spec.observation.observers[one].caBundle";
    let https = "https://o.example/";
    refused(with(https, Some("no PEM at all")), &[bundle, "no certificate"]);
    let bent = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    refused(with(https, Some(bent)), &[bundle, "certificate 1"]);
    let key = KeyPair::generate().unwrap();
    let good = CertificateParams::new(vec!["o.example".to_owned()]).unwrap();
    let good = good.self_signed(&key).unwrap().pem();
    refused(with("http://o.example/", Some(&good)), &[bundle, "https://"]);
    refused(
        with(https, Some(&format!("{good}{bent}"))),
        &[bundle, "certificate 2"],
    );
    for (url, bundle) in [
        (https, Some(&*good)),
        (https, None),
        ("http://192.31.196.1:81/ip?x=y", None),
    ] {
        let pool = pool(with(url, bundle));
        assert!(validate(&pool).is_ok(), "{url}");
    }
}

#[test]
fn a_selector_that_lacks_its_values_lets_nobody_in() {
    for (operator, values) in [
        ("NotIn", Value::Null),
        ("NotIn", json!([])),
        ("In", json!([])),
        ("Exists", json!(["x"])),
    ] {
        let requirement = json!({"key": "team", "operator": operator, "values": values});
        let namespaces = json!({"from": "Selector", "selector": {"matchExpressions": [requirement]}});
        refused(
            json!({"allowedNamespaces": namespaces}),
            &["spec.allowedNamespaces", "team", operator],
        );
        let namespaces = serde_json::from_value(namespaces).unwrap();
        assert_ne!(allows(&namespaces, "payments", &BTreeMap::new()), Ok(true));
    }
}

#[test]
fn labels_and_tolerations_that_no_pod_may_have_are_the_pools_mistake() {
    let cell = |selector: Value, toleration: Value| json!({"cells": [{"name": "a", "nodeSelector": selector, "tolerations": [toleration]}]});
    let good = || json!({"key": "egressway.dev/pool", "operator": "Exists"});
    for (key, value) in [
        ("a b", "x"),
        ("/x", "x"),
        ("Upper.example/x", "x"),
        ("a/b/c", "x"),
        ("-a", "x"),
        ("zone", "a b"),
        ("zone", "a-"),
        ("zone", &"x".repeat(64)),
    ] {
        refused(cell(json!({key: value}), good()), &["spec.cells[a].nodeSelector"]);
    }
    for (toleration, word) in [
        (json!({"value": "x"}), "operator: Exists"),
        (json!({"key": "a b", "value": "x"}), "key"),
        (
            json!({"key": "a", "operator": "Exists", "value": "x"}),
            "takes no value",
        ),
        (json!({"key": "a", "value": "x y"}), "value"),
        (
            json!({"key": "a", "value": "x", "tolerationSeconds": 5}),
            "NoExecute",
        ),
    ] {
        refused(
            cell(json!({"zone": "a"}), toleration),
            &["spec.cells[a].tolerations[0]", word],
        );
    }
    for toleration in [
        good(),
        json!({"operator": "Exists"}),
        json!({"key": "a", "operator": "Equal", "value": "", "effect": "NoExecute", "tolerationSeconds": 5}),
    ] {
        let pool = pool(cell(
            json!({"topology.kubernetes.io/zone": "eu-west-1a", "empty": ""}),
            toleration,
        ));
        assert_eq!(validate(&pool).err().map(|problems| problems.to_string()), None);
    }
}
