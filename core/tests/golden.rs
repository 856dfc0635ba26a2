//! Documents and reports that were shipped once must load for ever: both sides run during an upgrade.
//!
//! Files in `golden/v1` are never edited. A new optional field adds a file; a change that breaks one of these needs a
//! new version.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use egressway_core::acl::compile;
use egressway_core::wire::document::{Clients, Content, Floor, Policies, Pool, Secrets, digest, to_json};
use egressway_core::wire::report::Report;

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/v1")
        .join(name);
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn policies_load_compile_and_print_as_they_were() {
    let document: Policies = serde_json::from_str(&golden("policies.json")).unwrap();
    assert_eq!(to_json(&document), golden("policies.json"));
    let policies = compile::policies(&document).unwrap();
    assert_eq!(
        (
            policies[0].namespace(),
            policies[0].name(),
            policies[0].generation()
        ),
        ("payments", "webhooks", 7)
    );
    assert_eq!(
        policies[0].hash(),
        digest(&document.policies[0].content),
        "hashes are stable across releases"
    );
}

#[test]
fn floor_and_pool_load_and_print_as_they_were() {
    let floor: Floor = serde_json::from_str(&golden("floor.json")).unwrap();
    assert_eq!(to_json(&floor), golden("floor.json"));
    assert!(compile::floor(&floor, &[]).is_ok());
    let pool: Pool = serde_json::from_str(&golden("pool.json")).unwrap();
    assert_eq!(to_json(&pool), golden("pool.json"));
}

/// A promise has dates since, and is spelled as it was where it has none.
#[test]
fn dates_of_promises_load_and_print() {
    let text = golden("pool.json").replace(
        r#""promised":[""#,
        r#""promised":[{"cidr":"192.31.196.11/32","notBefore":7,"notAfter":9},""#,
    );
    let pool: Pool = serde_json::from_str(&text).unwrap();
    assert_eq!(pool.cells[0].promised[0].not_before, Some(7));
    assert_eq!(to_json(&pool), text);
}

#[test]
fn what_came_later_loads_and_prints_as_it_was() {
    let clients: Clients = serde_json::from_str(&golden("clients.json")).unwrap();
    assert_eq!(to_json(&clients), golden("clients.json"));
    let secrets: Secrets = serde_json::from_str(&golden("secrets.json")).unwrap();
    assert_eq!(to_json(&secrets), golden("secrets.json"));
    let pool: Pool = serde_json::from_str(&golden("pool-caps.json")).unwrap();
    assert_eq!(to_json(&pool), golden("pool-caps.json"));
    assert!(compile::caps(&pool.caps).is_ok());
    let floor: Floor = serde_json::from_str(&golden("floor-nat64.json")).unwrap();
    assert_eq!(to_json(&floor), golden("floor-nat64.json"));
    assert!(compile::floor(&floor, &[]).is_ok());
}

#[test]
fn reports_load_and_print_as_they_were() {
    let report: Report = serde_json::from_str(&golden("report.json")).unwrap();
    assert_eq!(to_json(&report), golden("report.json"));
}

#[test]
fn a_report_may_say_more_than_this_build_knows() {
    let newer = golden("report.json").replacen('{', "{\"somethingNew\":1,", 1);
    assert!(serde_json::from_str::<Report>(&newer).is_ok());
}

#[test]
fn a_document_may_not() {
    let newer = golden("policies.json").replacen('{', "{\"somethingNew\":1,", 1);
    assert!(
        serde_json::from_str::<Policies>(&newer).is_err(),
        "an unknown field could be a restriction"
    );
    let mut document: Policies = serde_json::from_str(&golden("policies.json")).unwrap();
    document.version = 2;
    assert!(compile::policies(&document).is_err());
    document.version = 1;
    document.policies[0].content = Content::default();
    assert!(
        compile::policies(&document)
            .unwrap_err()
            .to_string()
            .contains("hash"),
        "torn or edited content is refused"
    );
}
