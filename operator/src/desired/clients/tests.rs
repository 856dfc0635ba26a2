use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::cluster::client_pods::table::Sender;

fn id() -> Identity {
    Identity {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        uid: "uid-1".to_owned(),
        pool: "edge".to_owned(),
        edition: 0,
    }
}

fn holder(name: &str, labels: &[(&str, &str)], ips: &[&str], since: i64) -> Holder {
    Holder {
        pod: Arc::new(Sender {
            namespace: "payments".to_owned(),
            name: name.to_owned(),
            labels: Arc::new(
                labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            since: Some(Timestamp::from_second(since).unwrap()),
            ..Sender::default()
        }),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

fn selectors(all: &[(&str, Value)]) -> Sources {
    let parse = |(name, selector): &(&str, Value)| {
        let selector: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
        sound(&selector).unwrap();
        ((*name).to_owned(), selector)
    };
    Sources {
        selectors: all.iter().map(parse).collect(),
        tokens: false,
    }
}

/// Names of the pods that a selector selects among five.
#[track_caller]
fn check(selector: Value, expected: &[&str]) {
    let pods = [
        holder("bare", &[], &["10.0.0.1"], 0),
        holder("empty", &[("app", "")], &["10.0.0.2"], 0),
        holder("job", &[("app", "job")], &["10.0.0.3"], 0),
        holder("web-a", &[("app", "web"), ("zone", "a")], &["10.0.0.4"], 0),
        holder("web-b", &[("app", "web"), ("zone", "b")], &["10.0.0.5"], 0),
    ];
    let rendered = rendered(&id(), &selectors(&[("it", selector.clone())]), &pods, None).unwrap();
    let names: Vec<&str> = rendered.document.policies[0]
        .pods
        .iter()
        .map(|pod| pod.name.as_str())
        .collect();
    assert_eq!(names, expected, "{selector}");
}

#[test]
fn selectors_select_as_kubernetes_does() {
    let one = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
    check(json!({}), &["bare", "empty", "job", "web-a", "web-b"]);
    check(json!({"matchLabels": {"app": "web"}}), &["web-a", "web-b"]);
    check(json!({"matchLabels": {"app": ""}}), &["empty"]);
    check(json!({"matchLabels": {"app": "web", "zone": "b"}}), &["web-b"]);
    check(one("In", &["web", "job"]), &["job", "web-a", "web-b"]);
    check(one("NotIn", &["web", "job"]), &["bare", "empty"]);
    check(one("Exists", &[]), &["empty", "job", "web-a", "web-b"]);
    check(one("DoesNotExist", &[]), &["bare"]);
    check(
        json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "zone", "operator": "NotIn", "values": ["a"]}, {"key": "app", "operator": "Exists"}]}),
        &["web-b"],
    );
}

#[test]
fn a_selector_that_kubernetes_would_refuse_is_refused() {
    let check = |expression: Value, expected: &str| {
        let selector = json!({"matchExpressions": [expression]});
        let problem = sound(&serde_json::from_value(selector).unwrap()).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    };
    // Each of them would select more than its writer meant.
    check(
        json!({"key": "app", "operator": "NotIn", "values": []}),
        "app NotIn needs values",
    );
    check(json!({"key": "app", "operator": "In"}), "app In needs values");
    check(
        json!({"key": "app", "operator": "DoesNotExist", "values": ["x"]}),
        "takes no values",
    );
    check(
        json!({"key": "app", "operator": "Equals", "values": ["x"]}),
        "\"Equals\" is not known",
    );
}

#[test]
fn a_pod_is_every_client_that_selects_it_and_who_is_none_is_left_out() {
    let pods = [
        holder("z", &[("app", "web")], &["10.0.0.1", "fd00::1"], 2),
        holder("a", &[("app", "job")], &["10.0.0.2"], 1),
        holder("m", &[], &["10.0.0.3"], 0),
    ];
    let sources = selectors(&[
        ("web", json!({"matchLabels": {"app": "web"}})),
        (
            "labelled",
            json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
        ),
    ]);
    let rendered = rendered(&id(), &sources, &pods, None).unwrap();
    assert!(!rendered.left_out);
    assert_eq!(
        document::to_json(&rendered.document),
        r#"{"version":1,"policies":[{"namespace":"payments","name":"webhooks","pods":[{"name":"a","ips":["10.0.0.2"],"clients":["labelled"]},{"name":"z","ips":["10.0.0.1","fd00::1"],"clients":["labelled","web"]}]}]}"#
    );
}

#[test]
fn there_is_a_document_only_where_somebody_needs_one_and_an_issuer_only_for_tokens() {
    let issuer = document::Issuer {
        issuer: "https://issuer.example".to_owned(),
        jwks: "{}".to_owned(),
    };
    let issuers = |sources: &Sources| {
        rendered(&id(), sources, &[], Some(&issuer)).map(|rendered| rendered.document.issuer.is_some())
    };
    let all = selectors(&[(ALL_PODS, json!({}))]);
    assert_eq!(issuers(&Sources::default()), None);
    assert_eq!(issuers(&all), Some(false));
    assert_eq!(issuers(&Sources { tokens: true, ..all }), Some(true));
    assert_eq!(
        issuers(&Sources {
            tokens: true,
            ..Sources::default()
        }),
        Some(true)
    );
}

fn sources(clients: Value) -> Result<Sources, String> {
    let mut spec = json!({"rules": [{"name": "echo", "hosts": ["echo.example"], "ports": [{"port": 443}]}]});
    if !clients.is_null() {
        spec["clients"] = clients;
    }
    Sources::of(&serde_json::from_value(spec).unwrap()).map_err(|problems| problems.to_string())
}

#[test]
fn a_spec_names_its_sources_and_one_without_clients_all_pods_of_the_namespace() {
    let web = json!({"matchLabels": {"app": "web"}});
    assert_eq!(sources(Value::Null), Ok(selectors(&[(ALL_PODS, json!({}))])));
    let clients = json!([
        {"name": "web", "from": {"podSelector": web}},
        {"name": "both", "from": {"podSelector": {}}, "auth": {"serviceAccounts": ["sender"]}},
        {"name": "password", "auth": {"passwordSecretRefs": [{"name": "pass"}]}},
    ]);
    let expected = Sources {
        tokens: true,
        ..selectors(&[("web", web), ("both", json!({}))])
    };
    assert_eq!(sources(clients), Ok(expected.clone()));
    let remembered = serde_json::from_str::<Sources>(&document::to_json(&expected)).unwrap();
    assert_eq!(remembered, expected);
    let password = json!([{"name": "password", "auth": {"passwordSecretRefs": [{"name": "pass"}]}}]);
    assert_eq!(sources(password), Ok(Sources::default()));
    let bad = json!([{"name": "bad", "from": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn"}]}}}]);
    let problem = sources(bad).unwrap_err();
    assert!(
        problem.starts_with("spec.clients bad: from.podSelector: app NotIn needs values"),
        "{problem}"
    );
    let long: Vec<String> = (0..SELECTORS_BYTES_MAX / 60)
        .map(|n| format!("{n:0>60}"))
        .collect();
    let long = json!([{"name": "long", "from": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": long}]}}}]);
    assert!(sources(long).unwrap_err().contains("more than 32768"));
}

fn many(count: usize, name: impl Fn(usize) -> String) -> Vec<Holder> {
    (0..count)
        .map(|n| {
            let (high, low) = (n / 250, n % 250);
            let ips = [
                format!("10.244.{high}.{low}"),
                format!("fd00:10:244:{high:x}::{low:x}"),
            ];
            // The later the name, the earlier the start.
            holder(
                &name(n),
                &[],
                &[&ips[0], &ips[1]],
                i64::try_from(count - n).unwrap(),
            )
        })
        .collect()
}

#[test]
fn past_the_bound_those_started_last_are_left_out() {
    let all = selectors(&[(ALL_PODS, json!({}))]);
    let render = |pods: &[Holder]| rendered(&id(), &all, pods, None).unwrap();
    let name = |n| format!("webhook-sender-7d9c5b8f6d-{n:05}");
    let full = render(&many(PODS_MAX, name));
    assert_eq!(
        (full.document.policies[0].pods.len(), full.left_out),
        (PODS_MAX, false)
    );
    assert!(document::to_json(&full.document).len() < BYTES_MAX);
    let over = render(&many(PODS_MAX + 1, name));
    assert_eq!(
        (over.document.policies[0].pods.len(), over.left_out),
        (PODS_MAX, true)
    );
    assert_eq!(
        over.document.policies[0].pods[0].name,
        name(1),
        "the last to start is number 0"
    );
}

#[test]
fn long_names_meet_the_bound_in_bytes() {
    let all = selectors(&[(ALL_PODS, json!({}))]);
    let long = rendered(&id(), &all, &many(PODS_MAX, |n| format!("{n:0>253}")), None).unwrap();
    let bytes = document::to_json(&long.document).len();
    assert!(
        long.left_out && bytes <= BYTES_MAX && bytes > BYTES_MAX - 400,
        "{bytes}"
    );
}

#[test]
fn a_live_config_map_gives_its_issuer_back() {
    let clients = document::Clients {
        version: document::VERSION,
        issuer: Some(document::Issuer {
            issuer: "https://issuer.example".to_owned(),
            jwks: "{}".to_owned(),
        }),
        policies: vec![],
    };
    let data = |text: &str| ConfigMap {
        data: Some([(names::CLIENTS_KEY.to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    };
    assert_eq!(issuer(&data(&document::to_json(&clients))), clients.issuer);
    assert_eq!(issuer(&data("{")), None);
    assert_eq!(issuer(&ConfigMap::default()), None);
}
