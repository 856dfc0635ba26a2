//! The table of decisions: `decisions/*.txt` hold a policy, then one line a case. Add a row, not a function.
//!
//! A line is `[by=CLIENT,..] [http=METHOD:PATH] TARGET [ADDRESS] => allow RULE` or `=> deny CODE`, `=> report CODE`,
//! `=> malformed`; with an address the target must be permitted and the verdict is on that address. Above the rows
//! stand the policy's content, and where they matter `floor:` and `caps:`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use egressway_core::acl::{Ask, Caller, Policy, Target, Wall, compile};
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
        let (head, caps) = head.split_once("\ncaps: ").unwrap_or((head, "{}"));
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
        let wall = Arc::new(Wall {
            floor: compile::floor(&floor, &[]).unwrap(),
            caps: compile::caps(&serde_json::from_str(caps).unwrap()).unwrap(),
        });
        for line in table
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (case, expected) = line.split_once("=>").expect("a row has =>");
            rows += 1;
            let found = decide(&policy, &wall, case.trim());
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

/// A rule that fails by method or path alone is named: "no rule" would send its author looking for the host.
#[test]
fn the_rule_that_only_method_or_path_keeps_away_is_named() {
    let content = r#"{"rules":[
        {"name":"hooks","action":"Allow","hosts":["a.example"],"ports":[{"port":80}],"http":{"methods":["POST"],"pathPrefixes":["/hooks/"]}},
        {"name":"others","action":"Allow","hosts":["b.example"],"ports":[{"port":80}]}]}"#;
    let content: Content = serde_json::from_str(content).unwrap();
    let document = Policies {
        version: VERSION,
        policies: vec![PolicyDocument::seal("ns", "name", 1, content)],
    };
    let policy = Arc::clone(&compile::policies(&document).unwrap()[0]);
    let wall = Arc::new(Wall {
        floor: compile::floor(
            &FloorDocument {
                version: VERSION,
                ..FloorDocument::default()
            },
            &[],
        )
        .unwrap(),
        caps: compile::caps(&serde_json::from_str("{}").unwrap()).unwrap(),
    });
    for (target, http, near) in [
        ("a.example:80", Some(("GET", "/hooks/x")), true),
        ("a.example:80", Some(("POST", "/other")), true),
        ("a.example:80", None, true),
        ("a.example:81", Some(("POST", "/hooks/x")), false),
        ("c.example:80", Some(("POST", "/hooks/x")), false),
        ("b.example:81", None, false),
    ] {
        let mut ask = Ask::tunnel(Target::parse(target).unwrap());
        if let Some((method, path)) = http {
            ask = ask.http(method, path);
        }
        let deny = policy.permit(&wall, ask).unwrap_err();
        assert_eq!(deny.code(), "no_rule_matches");
        assert_eq!(
            deny.to_string().contains("rule hooks"),
            near,
            "{target} {http:?}: {deny}"
        );
    }
}

fn decide(policy: &Arc<Policy>, wall: &Arc<Wall>, case: &str) -> String {
    let (mut caller, mut http, mut address) = (Caller::UNKNOWN, None, None);
    let mut target = None;
    for word in case.split(' ').filter(|word| !word.is_empty()) {
        if let Some(names) = word.strip_prefix("by=") {
            caller = policy.caller(names.split(','));
        } else if let Some(asked) = word.strip_prefix("http=") {
            http = asked.split_once(':');
        } else if target.is_none() {
            target = Some(word);
        } else {
            address = Some(word.parse().unwrap());
        }
    }
    let Ok(target) = Target::parse(target.expect("a row has a target")) else {
        return "malformed".to_owned();
    };
    let mut ask = Ask::tunnel(target).by(caller);
    if let Some((method, path)) = http {
        ask = ask.http(method, path);
    }
    let verdict = policy.permit(wall, ask).and_then(|permit| {
        let vetted = address.map(|address| permit.vet(address)).transpose()?;
        let address = vetted.and_then(|vetted| permit.would_deny_address(vetted));
        Ok(match (permit.would_deny().cloned().or(address), permit.rule()) {
            (Some(deny), _) => format!("report {}", deny.code()),
            (None, Some(rule)) => format!("allow {rule}"),
            (None, None) => "allow".to_owned(),
        })
    });
    verdict.unwrap_or_else(|deny| format!("deny {}", deny.code()))
}
