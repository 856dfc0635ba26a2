//! Files as people and `kubectl` write them.

use super::*;

const RULES: &str = "spec:\n  rules:\n  - {name: a, hosts: [a.example]}\n";

fn policy(rest: &str) -> String {
    format!("apiVersion: egressway.dev/v1alpha1\nkind: EgressPolicy\n{rest}")
}

#[test]
fn what_kubectl_prints_is_read() {
    let metadata = "metadata:\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}\n  \
                    creationTimestamp: \"2026-11-24T08:00:00Z\"\n  deletionTimestamp: \"2026-11-24T09:00:00Z\"\n  \
                    deletionGracePeriodSeconds: 0\n  finalizers: [egressway.dev/fleet]\n  generation: 3\n  \
                    labels: {team: payments}\n  managedFields: []\n  name: webhooks\n  namespace: payments\n  \
                    ownerReferences: []\n  resourceVersion: \"17\"\n  uid: 3f0c\n";
    let text = policy(&format!("{metadata}{RULES}status: {{observedGeneration: 3}}\n"));
    let manifest = Manifest::parse("p.yaml", &text).unwrap();
    assert_eq!(manifest.policies[0].name, "webhooks");
    let text = text.replace("generation: 3\n", "generations: 3\n");
    let problem = Manifest::parse("p.yaml", &text).unwrap_err().to_string();
    assert!(
        problem.starts_with("p.yaml:9: unknown field `generations`"),
        "{problem}"
    );
}

#[test]
fn a_list_as_kubectl_prints_it_is_read() {
    let item = |kind: &str, name: &str, spec: &str| {
        format!(
            "- apiVersion: egressway.dev/v1alpha1\n  kind: {kind}\n  metadata: {{name: {name}, namespace: payments, uid: u, generation: 2}}\n  \
             spec: {spec}\n  status: {{observedGeneration: 2}}\n"
        )
    };
    let list = |kind: &str, version: &str, items: &str| {
        format!("apiVersion: {version}\nitems:\n{items}kind: {kind}\nmetadata:\n  resourceVersion: \"\"\n")
    };
    let rules = "{rules: [{name: a, hosts: [a.example]}]}";
    let items = item("EgressPolicy", "one", rules)
        + &item("EgressPool", "edge", "{}")
        + &item("EgressPolicy", "two", rules);
    for text in [
        list("List", "v1", &items),
        list("EgressPolicyList", "egressway.dev/v1alpha1", &items),
    ] {
        let manifest = Manifest::parse("p.yaml", &text).unwrap();
        let names: Vec<&str> = manifest
            .policies
            .iter()
            .map(|policy| policy.name.as_str())
            .collect();
        assert_eq!(names, ["one", "two"], "{text}");
        assert_eq!(manifest.pools[0].name, "edge");
        assert_eq!(manifest.policies[0].namespace, "payments");
    }
    let odd = item("EgressPolicy", "one", rules) + &item("EgressPolicy", "two", "{rule: []}");
    let problem = Manifest::parse("p.yaml", &list("List", "v1", &odd))
        .unwrap_err()
        .to_string();
    assert!(
        problem.starts_with("p.yaml:1: items[1]: unknown field `rule`"),
        "{problem}"
    );
}

#[test]
fn every_way_to_write_a_document_is_read() {
    let block = policy(&format!("metadata: {{name: a}}\n{RULES}"));
    let json = r#"{"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy", "metadata": {"name": "a"},
                   "spec": {"rules": [{"name": "a", "hosts": ["a.example"]}]}}"#;
    for text in [
        block.clone(),
        json.to_owned(),
        format!("\u{feff}{block}"),
        block.replace('\n', "\r\n"),
        format!("# first\n---\n# second\n---\n{block}---\n"),
        format!("{block}...\n"),
        format!("{block}---\n...\n"),
        block.replace("hosts: [", "hosts: &all [")
            + "  - {name: b, hosts: [b.example], ports: [{port: 80}]} # more\n",
    ] {
        let manifest = Manifest::parse("p.yaml", &text).unwrap();
        let [policy] = manifest.policies.as_slice() else {
            panic!("{text}");
        };
        assert_eq!(
            policy.spec.rules[0].hosts.as_deref(),
            Some(&["a.example".to_owned()][..])
        );
    }
}

#[test]
fn a_problem_names_its_line_its_field_and_what_belongs_there() {
    for (rules, expected) in [
        (
            "[{name: a, hosts: a.example}]",
            "p.yaml:5: hosts: expected a list",
        ),
        ("{name: a}", "p.yaml:5: rules: expected a list"),
        (
            "\n  - name: a\n    hosts: a.example",
            "p.yaml:7: hosts: expected a list",
        ),
        (
            "\n  - name: a\n    ports:\n    - 443",
            "p.yaml:8: ports: expected fields and values",
        ),
        (
            "[{name: a, ports: [443]}]",
            "p.yaml:5: ports: expected fields and values",
        ),
        (
            "[{name: a, ports: [{port: https}]}]",
            "p.yaml:5: port: expected a whole number",
        ),
        (
            "[{name: a, upstreamTLS: true}]",
            "p.yaml:5: upstreamTLS: expected fields and values",
        ),
        (
            "[{name: a, hosts: [null]}]",
            "p.yaml:5: hosts: expected text, found nothing",
        ),
        ("[{hosts: [a.example]}]", "p.yaml:5: missing field `name`"),
        ("[]\n  rules: []", "p.yaml:6: rules stands twice"),
        (
            "[{name: ä, hosts: [], ports: 1}]",
            "p.yaml:5: ports: expected a list",
        ),
        (
            "[]\n  suspend: maybe",
            "p.yaml:6: suspend: expected true or false",
        ),
    ] {
        let text = policy(&format!("metadata: {{name: a}}\nspec:\n  rules: {rules}\n"));
        let problem = Manifest::parse("p.yaml", &text).unwrap_err().to_string();
        assert_eq!(problem, expected, "{text}");
    }
}

#[test]
fn a_list_of_something_else_is_refused() {
    for (text, expected) in [
        ("apiVersion: v1\nkind: List\n", "missing field `items`"),
        (
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a}}]\n",
            "p.yaml:1: items[0]: apiVersion \"v1\" with kind \"Pod\"",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n",
            "p.yaml:1: items[0]: is a list itself",
        ),
        ("kind: List\nitems: []\n", "apiVersion \"\" with kind \"List\""),
    ] {
        let problem = Manifest::parse("p.yaml", text).unwrap_err().to_string();
        assert!(problem.contains(expected), "{text}: {problem}");
    }
    let empty = Manifest::parse("p.yaml", "apiVersion: v1\nkind: List\nitems: []\n").unwrap();
    assert!(empty.policies.is_empty() && empty.pools.is_empty());
}
