//! What users copy and read is true: examples are accepted, and the manual of conditions knows every reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use egressway_core::acl::compile;
use egressway_core::manifest::{self, Place};
use egressway_core::wire::document::{Policies, Policy, VERSION};
use egressway_operator::egress_policy::condition::Reason;
use egressway_operator::egress_pool;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every YAML document below a folder, with its file.
fn documents(folder: &Path, found: &mut Vec<(PathBuf, Value)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What runs without a cluster is the proxy's to load, and has its test there.
        if path.ends_with("standalone") {
            continue;
        }
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            for document in text.split("\n---\n") {
                found.push((path.clone(), serde_saphyr::from_str(document).unwrap()));
            }
        }
    }
}

#[test]
fn every_example_is_accepted() {
    let (mut found, mut policies, mut pools) = (Vec::new(), 0, 0);
    documents(&root().join("examples"), &mut found);
    for (path, document) in found {
        let path = path.display();
        match document["kind"].as_str().unwrap() {
            "EgressPolicy" => {
                policies += 1;
                let spec = serde_json::from_value(document["spec"].clone());
                let spec = spec.unwrap_or_else(|error| panic!("{path}: {error}"));
                let content = manifest::content(&spec, "payments", Place::Cluster);
                let content = content.unwrap_or_else(|problems| panic!("{path}: {problems}"));
                let policies = Policies {
                    version: VERSION,
                    policies: vec![Policy::seal("payments", "example", 1, content)],
                };
                compile::policies(&policies).unwrap_or_else(|problems| panic!("{path}: {problems}"));
            }
            "EgressPool" => {
                pools += 1;
                serde_json::from_value::<manifest::PoolSpec>(document["spec"].clone())
                    .unwrap_or_else(|error| panic!("{path}: {error}"));
                let pool = serde_json::from_value(document).unwrap();
                egress_pool::validate::validate(&pool)
                    .unwrap_or_else(|problems| panic!("{path}: {problems}"));
            }
            _ => {}
        }
    }
    assert!(policies >= 9 && pools >= 5, "{policies} policies, {pools} pools");
}

#[test]
fn the_manual_of_conditions_knows_every_reason_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/conditions.md")).unwrap();
    let documented: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').nth(1))
        .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let differ: Vec<_> = documented.symmetric_difference(&known).collect();
    assert!(
        differ.is_empty(),
        "docs/conditions.md and the reasons differ: {differ:?}"
    );
}
