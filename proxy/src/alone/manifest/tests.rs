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
fn whoever_has_a_list_of_objects_learns_to_take_it_apart() {
    for text in [
        "apiVersion: v1\nkind: List\nitems: []\n",
        "apiVersion: egressway.dev/v1alpha1\nkind: EgressPolicyList\nitems: []\n",
    ] {
        let problem = Manifest::parse("p.yaml", text).unwrap_err().to_string();
        assert!(problem.contains("with --- between them"), "{problem}");
    }
}
