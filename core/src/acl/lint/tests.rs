//! Rows: a rule inside of a wall, and what is said about it.

use std::sync::Arc;

use super::*;
use crate::acl::compile;
use crate::wire::document::{self, Floor as FloorDocument, Policies, VERSION};

/// Warnings about the rules, joined; the JSON is of the wire.
fn said(rules: &str, caps: &str) -> String {
    let content: Content = serde_json::from_str(&format!("{{\"rules\": [{rules}]}}")).unwrap();
    let sealed = document::Policy::seal("ns", "name", 1, content.clone());
    let document = Policies {
        version: VERSION,
        policies: vec![sealed],
    };
    let policy = Arc::clone(&compile::policies(&document).unwrap()[0]);
    let floor = FloorDocument {
        version: VERSION,
        internal_cidrs: vec!["34.118.224.0/20".to_owned()],
        never_cidrs: vec!["192.31.196.7/32".to_owned()],
        never_hosts: vec!["*.corp.test".to_owned()],
        nat64_prefixes: vec![],
    };
    let wall = Wall {
        floor: compile::floor(&floor, &[]).unwrap(),
        caps: compile::caps(&serde_json::from_str(caps).unwrap()).unwrap(),
    };
    let warnings = super::rules(&policy, &content, &wall);
    warnings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" | ")
}

fn hosts(patterns: &str) -> String {
    format!(
        "{{\"name\": \"r\", \"action\": \"Allow\", \"hosts\": [{patterns}], \"ports\": [{{\"port\": 443}}]}}"
    )
}

fn cidrs(ranges: &str) -> String {
    format!(
        "{{\"name\": \"r\", \"action\": \"Allow\", \"cidrs\": [{ranges}], \"ports\": [{{\"port\": 443}}]}}"
    )
}

fn deny(what: &str) -> String {
    format!(
        "{{\"name\": \"no\", \"action\": \"Deny\", {what}, \"ports\": [{{\"port\": 1, \"endPort\": 65535}}]}}"
    )
}

#[test]
fn rules_that_can_never_match_are_named_with_their_reason() {
    let inside = r#"{"internalDestinations": [{"cidr": "10.1.0.0/16", "ports": [{"port": 443}]}, {"host": "a.ns.svc.cluster.local", "cidrs": ["10.2.0.0/16"], "ports": [{"port": 443}]}]}"#;
    let walled = r#"{"hosts": {"allow": ["*.example.com", "b.example.org"], "deny": ["x.example.com", "*.no.example.com"]}}"#;
    for (rules, caps, expected) in [
        (String::new(), "{}", "spec.rules: no rule allows anything"),
        (deny(r#""hosts": ["a.example"]"#), "{}", "no rule allows anything"),
        (
            hosts(r#""kubernetes.default.svc""#),
            "{}",
            "spec.rules[r]: it can never match: kubernetes.default.svc is a name inside",
        ),
        (
            hosts(r#""*.svc.cluster.local""#),
            "{}",
            "*.svc.cluster.local is a name inside",
        ),
        (hosts(r#""a.corp.test""#), "{}", "a.corp.test is a name inside"),
        (hosts(r#""web""#), "{}", "web is a name inside"),
        (
            hosts(r#""metadata.google.internal""#),
            "{}",
            "metadata.google.internal is a name inside",
        ),
        (
            hosts(r#""a.example", "localhost""#),
            "{}",
            "in part it can never match: localhost is",
        ),
        (
            cidrs(r#""169.254.169.254/32""#),
            "{}",
            "it can never match: 169.254.169.254/32 is never reachable: link-local",
        ),
        (
            cidrs(r#""fd00:ec2::254/128""#),
            "{}",
            "is never reachable: cloud metadata",
        ),
        (cidrs(r#""127.0.0.0/8""#), "{}", "is never reachable: loopback"),
        (
            cidrs(r#""fe80::/10""#),
            "{}",
            "is never reachable: outside of global unicast",
        ),
        (
            cidrs(r#""192.31.196.7/32""#),
            "{}",
            "is never reachable: the cluster's own machinery",
        ),
        (
            cidrs(r#""10.1.0.0/16""#),
            "{}",
            "10.1.0.0/16 is private (private use (RFC 1918))",
        ),
        (cidrs(r#""fd12::/16""#), "{}", "is private (unique local"),
        (cidrs(r#""34.118.225.0/24""#), "{}", "is private (Pods, Services"),
        (cidrs(r#""10.0.0.0/8""#), inside, "is private"),
        (hosts(r#""b.ns.svc.cluster.local""#), inside, "is a name inside"),
        (
            hosts(r#""a.example""#),
            r#"{"ports": [{"port": 80}]}"#,
            "spec.rules[r]: it can never match: the pool opens none of its ports",
        ),
        (
            hosts(r#""example.com""#),
            walled,
            "example.com is outside of what the pool opens",
        ),
        (hosts(r#""x.example.com""#), walled, "x.example.com is outside"),
        (
            hosts(r#""*.no.example.com""#),
            walled,
            "*.no.example.com is outside",
        ),
        (hosts(r#""*.example.net""#), walled, "*.example.net is outside"),
        (
            cidrs(r#""192.175.48.0/24""#),
            walled,
            "192.175.48.0/24 is outside of what the pool opens (spec.caps.cidrs",
        ),
        (
            cidrs(r#""192.175.48.0/24""#),
            r#"{"cidrs": {"allow": ["192.31.0.0/16"]}}"#,
            "is outside of what the pool opens",
        ),
        (
            cidrs(r#""192.175.48.0/24""#),
            r#"{"cidrs": {"deny": ["192.175.0.0/16"]}}"#,
            "is denied by the pool",
        ),
        (
            format!(
                "{}, {}",
                hosts(r#""a.example""#),
                deny(r#""hosts": ["*.example", "b.test"]"#)
            ),
            "{}",
            "a.example is denied by rule no, and Deny beats Allow",
        ),
        (
            format!(
                "{}, {}",
                hosts(r#""*.a.example""#),
                deny(r#""hosts": ["*.example"]"#)
            ),
            "{}",
            "*.a.example is denied by rule no",
        ),
        (
            format!("{}, {}", hosts(r#""*""#), deny(r#""hosts": ["*"]"#)),
            "{}",
            "* is denied by rule no",
        ),
        (
            format!(
                "{}, {}",
                cidrs(r#""192.175.48.0/24""#),
                deny(r#""cidrs": ["192.175.0.0/16"]"#)
            ),
            "{}",
            "is denied by rule no",
        ),
    ] {
        let found = said(&rules, caps);
        assert!(found.contains(expected), "{rules} in {caps}: {found:?}");
    }
}

#[test]
fn rules_that_can_match_are_not_talked_about() {
    let inside = r#"{"internalDestinations": [{"cidr": "10.1.0.0/16", "ports": [{"port": 443}]}, {"host": "a.ns.svc.cluster.local", "cidrs": ["10.2.0.0/16"], "ports": [{"port": 443}]}]}"#;
    let walled = r#"{"hosts": {"allow": ["*.example.com", "b.example.org"]}, "cidrs": {"allow": ["192.175.48.0/24"]}, "ports": [{"port": 400, "endPort": 500}]}"#;
    for (rules, caps) in [
        (hosts(r#""*""#), "{}"),
        (hosts(r#""a.example", "*.b.example""#), "{}"),
        (cidrs(r#""0.0.0.0/0", "::/0""#), "{}"),
        (cidrs(r#""192.175.48.0/24", "64:ff9b::/96", "2000::/3""#), "{}"),
        (cidrs(r#""192.0.0.0/24""#), "{}"),
        (cidrs(r#""10.1.2.0/24""#), inside),
        (hosts(r#""a.ns.svc.cluster.local""#), inside),
        (hosts(r#""*""#), walled),
        (hosts(r#""*.com""#), walled),
        (
            hosts(r#""*.example.org", "b.example.org", "*.a.example.com""#),
            walled,
        ),
        (
            cidrs(r#""192.175.0.0/16", "192.175.48.7/32", "0.0.0.0/0""#),
            walled,
        ),
        // A Deny of a part, of other ports, of other clients, of some requests.
        (
            format!(
                "{}, {}",
                hosts(r#""*.example""#),
                deny(r#""hosts": ["a.example"]"#)
            ),
            "{}",
        ),
        (
            format!("{}, {}", hosts(r#""*""#), deny(r#""hosts": ["*.example"]"#)),
            "{}",
        ),
        (
            format!(
                "{}, {}",
                hosts(r#""a.example""#),
                deny(r#""hosts": ["a.example"]"#).replace("\"port\": 1,", "\"port\": 444,")
            ),
            "{}",
        ),
        (
            format!(
                "{}, {}",
                hosts(r#""a.example""#),
                deny(r#""hosts": ["a.example"], "http": {"methods": ["GET"]}"#)
            ),
            "{}",
        ),
        (
            format!(
                "{}, {}",
                cidrs(r#""0.0.0.0/0""#),
                deny(r#""cidrs": ["192.175.0.0/16"]"#)
            ),
            "{}",
        ),
    ] {
        assert_eq!(said(&rules, caps), "", "{rules} in {caps}");
    }
}

#[test]
fn only_some_patterns_of_many_are_named() {
    let many: Vec<String> = (0..9).map(|n| format!("\"a{n}.svc\"")).collect();
    let found = said(&hosts(&many.join(",")), "{}");
    assert!(
        found.contains("a4.svc") && !found.contains("a5.svc") && found.ends_with("; and 4 more"),
        "{found}"
    );
}

#[test]
fn exceptions_of_a_pool_are_private_ranges_and_no_wider() {
    let caps = |entry: &str| {
        let caps = format!("{{\"internalDestinations\": [{entry}]}}");
        serde_json::from_str::<document::Caps>(&caps).unwrap()
    };
    let by_range = |net: &str| {
        caps(&format!(
            "{{\"cidr\": \"{net}\", \"ports\": [{{\"port\": 443}}]}}"
        ))
    };
    let by_name = |net: &str| {
        caps(&format!(
            "{{\"host\": \"a.example\", \"cidrs\": [\"{net}\"], \"ports\": [{{\"port\": 443}}]}}"
        ))
    };
    for net in [
        "0.0.0.0/0",
        "8.0.0.0/5",
        "172.0.0.0/8",
        "192.0.0.0/8",
        "::/0",
        "fc00::/6",
        "f000::/4",
    ] {
        for caps in [by_range(net), by_name(net)] {
            let (problems, _) = super::caps(&caps, None);
            assert!(
                problems
                    .to_string()
                    .contains(&format!("{net} is wider than private networks")),
                "{net}: {problems}"
            );
        }
    }
    for (net, expected) in [
        ("10.0.0.0/8", ""),
        ("10.1.2.3/32", ""),
        ("172.16.0.0/12", ""),
        ("100.64.0.0/10", ""),
        ("fc00::/7", ""),
        ("fd12::/48", ""),
        ("127.0.0.0/8", "127.0.0.0/8 opens nothing: loopback"),
        ("169.254.169.254/32", "opens nothing: link-local"),
        ("fd00:ec2::/32", "opens nothing: cloud metadata"),
        ("100.100.100.200/32", "opens nothing: cloud metadata"),
        ("8.8.8.0/24", "8.8.8.0/24 opens nothing: it is public"),
    ] {
        for caps in [by_range(net), by_name(net)] {
            let (problems, warnings) = super::caps(&caps, None);
            assert!(problems.list().is_empty(), "{net}: {problems}");
            let text: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(text.is_empty(), expected.is_empty(), "{net}: {text:?}");
            assert!(text.join("").contains(expected), "{net}: {text:?}");
        }
    }
    // Pods with addresses that look public are private here.
    let floor = FloorDocument {
        version: VERSION,
        internal_cidrs: vec!["34.118.224.0/20".to_owned()],
        ..FloorDocument::default()
    };
    let floor = compile::floor(&floor, &[]).unwrap();
    for net in ["34.118.224.0/24", "34.118.0.0/16"] {
        assert!(super::caps(&by_range(net), Some(&floor)).1.is_empty(), "{net}");
    }
}

#[test]
fn promises_are_what_somebody_outside_can_see() {
    let promised = |list: &[(&str, bool)]| {
        let list: Vec<_> = list
            .iter()
            .map(|(net, over)| (net.parse().unwrap(), *over))
            .collect();
        promises("a", &list)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" | ")
    };
    for (list, expected) in [
        (
            &[("10.1.2.3/32", false)][..],
            "spec.cells[a].addresses: 10.1.2.3/32 is no address that anybody outside sees",
        ),
        (&[("127.0.0.1/32", false)], "is no address"),
        (&[("fd00::1/128", false)], "is no address"),
        (
            &[("192.175.48.1/32", false), ("169.254.1.1/32", false)],
            "169.254.1.1/32 is no address",
        ),
        (&[("0.0.0.0/0", false)], "promises so much"),
        (&[("::/0", false)], "promises so much"),
        (
            &[("192.175.48.1/32", true), ("192.175.48.2/32", true)],
            "every promise has ended",
        ),
    ] {
        let found = promised(list);
        assert!(found.contains(expected), "{list:?}: {found:?}");
    }
    for list in [
        &[][..],
        &[("192.175.48.1/32", false), ("192.175.48.2/32", true)],
        &[("198.51.100.10/32", false)],
        &[("2620:4f:8000::/48", false)],
        &[("192.0.0.0/8", false)],
    ] {
        assert_eq!(promised(list), "", "{list:?}");
    }
}
