//! The table of decisions: `decisions/*.txt` hold a policy, then one line a case. Add a row, not a function.
//!
//! A line is `TARGET [ADDRESS] => allow RULE` or `=> deny CODE` or `=> malformed`; with an address the target must
//! be permitted and the verdict is on that address.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use egressway_core::acl::{Floor, Policy, Target, compile};
use egressway_core::wire::document::{
    Content, Floor as FloorDocument, Policies, Policy as PolicyDocument, VERSION,
};

#[test]
fn every_row_decides_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let (mut rows, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, table) = text
            .split_once("\n---\n")
            .expect("a policy, a line ---, then rows");
        let (content, floor) = head.split_once("\nfloor: ").unwrap_or((
            head,
            r#"{"version":1,"internalCidrs":[],"neverCidrs":[],"neverHosts":[]}"#,
        ));
        let content: Content = serde_json::from_str(content).unwrap();
        let document = Policies {
            version: VERSION,
            policies: vec![PolicyDocument::seal("ns", "name", 1, content)],
        };
        let policy = Arc::clone(&compile::policies(&document).unwrap()[0]);
        let floor: FloorDocument = serde_json::from_str(floor).unwrap();
        let floor = compile::floor(&floor, &[]).unwrap();
        for line in table
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (case, expected) = line.split_once("=>").expect("a row has =>");
            rows += 1;
            let found = decide(&policy, &floor, case.trim());
            if found != expected.trim() {
                wrong.push(format!(
                    "{}: {case}: expected {expected}, found {found}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 60, "the table is there: {rows}");
}

fn decide(policy: &Arc<Policy>, floor: &Arc<Floor>, case: &str) -> String {
    let (target, address) = case.split_once(' ').unwrap_or((case, ""));
    let Ok(target) = Target::parse(target) else {
        return "malformed".to_owned();
    };
    let verdict = policy
        .permit(floor, target)
        .and_then(|permit| match address.trim() {
            "" => Ok(permit.rule().to_string()),
            address => permit
                .vet(address.parse().unwrap())
                .map(|_| permit.rule().to_string()),
        });
    match verdict {
        Ok(rule) => format!("allow {rule}"),
        Err(deny) => format!("deny {}", deny.code()),
    }
}
