//! Properties that must hold for every input, not only for the rows that somebody thought of.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use egressway_core::acl::{Ask, Caller, Floor, Host, Permit, Policy, Target, Wall, address, compile, path};
use egressway_core::wire::document::{
    Action, Caps, Client, Content, Http, Mode, Policies, PortRange, Rule, VERSION,
};
use proptest::prelude::*;

fn policy(rules: Vec<Rule>) -> Arc<Policy> {
    content(Content {
        rules,
        ..Content::default()
    })
}

fn content(content: Content) -> Arc<Policy> {
    let sealed = egressway_core::wire::document::Policy::seal("ns", "name", 1, content);
    let document = Policies {
        version: VERSION,
        policies: vec![sealed],
    };
    Arc::clone(&compile::policies(&document).unwrap()[0])
}

fn wall() -> Arc<Wall> {
    Wall::of(Arc::new(Floor::new(&[])))
}

fn rule(name: usize, action: Action, hosts: Vec<String>, cidrs: Vec<String>) -> Rule {
    Rule {
        name: format!("r{name}"),
        action,
        hosts,
        cidrs,
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        ..Rule::default()
    }
}

fn permits(policy: &Arc<Policy>, target: &str) -> bool {
    Target::parse(target).is_ok_and(|target| policy.permit(&wall(), Ask::tunnel(target)).is_ok())
}

/// Few labels, so that patterns and names really meet.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "www", "api"]), 1..4)
        .prop_map(|labels| format!("{}.example", labels.join(".")))
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        name().prop_map(|name| format!("*.{name}")),
        Just("*".to_owned())
    ]
}

type Kind = (Option<Http>, Vec<String>);

fn kind() -> impl Strategy<Value = Kind> {
    let http = prop::option::of((any::<bool>(), any::<bool>()).prop_map(|(methods, paths)| Http {
        methods: if methods { vec!["POST".to_owned()] } else { vec![] },
        path_prefixes: if paths { vec!["/a".to_owned()] } else { vec![] },
    }));
    let clients = any::<bool>().prop_map(|named| if named { vec!["c".to_owned()] } else { vec![] });
    (http, clients)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![3 => Just(Action::Allow), 1 => Just(Action::Deny)]
}

fn host_rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec((action(), prop::collection::vec(pattern(), 1..3)), 0..6).prop_map(|rules| {
        rules
            .into_iter()
            .enumerate()
            .map(|(n, (action, hosts))| rule(n, action, hosts, vec![]))
            .collect()
    })
}

/// As many cases as `PROPTEST_CASES` says, or enough for every day.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(2000),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn target_parsing_never_panics_and_its_output_parses_to_itself(text in "\\PC{0,80}") {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn bytes_that_look_like_targets_never_panic(text in "[\\[\\]0-9a-fx:.%@*-]{0,40}") {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn one_more_deny_never_permits_more(rules in host_rules(), hosts in prop::collection::vec(pattern(), 1..3), target in name()) {
        let target = format!("{target}:443");
        let before = permits(&policy(rules.clone()), &target);
        let mut widened = rules;
        widened.push(rule(99, Action::Deny, hosts, vec![]));
        let after = permits(&policy(widened), &target);
        prop_assert!(before || !after);
    }

    #[test]
    fn order_of_rules_means_nothing(rules in host_rules(), target in name(), seed in any::<u64>()) {
        let target = format!("{target}:443");
        let mut shuffled = rules.clone();
        let len = shuffled.len().max(1);
        shuffled.rotate_left(usize::try_from(seed % 7).unwrap() % len);
        prop_assert_eq!(permits(&policy(rules), &target), permits(&policy(shuffled), &target));
    }

    #[test]
    fn the_index_agrees_with_a_walk_over_all_rules(rules in host_rules(), target in name()) {
        let matches = |pattern: &str| match pattern.strip_prefix("*.") {
            _ if pattern == "*" => true,
            Some(suffix) => target.strip_suffix(suffix).is_some_and(|head| head.len() > 1 && head.ends_with('.')),
            None => pattern == target,
        };
        let hit = |action| rules.iter().any(|rule| rule.action == action && rule.hosts.iter().any(|host| matches(host)));
        let expected = hit(Action::Allow) && !hit(Action::Deny);
        prop_assert_eq!(permits(&policy(rules.clone()), &format!("{target}:443")), expected);
    }

    /// Mapped, NAT64 and ISATAP spellings of an IPv4 address are never judged more kindly than the address itself.
    #[test]
    fn every_embedding_is_at_least_as_strict(bits in any::<u32>()) {
        let v4 = Ipv4Addr::from(bits);
        let plain = address::classify(IpAddr::V4(v4));
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        prop_assert_eq!(address::classify(IpAddr::V6(v4.to_ipv6_mapped())), plain);
        for v6 in [
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2620, 0x4f, 0x8000, 1, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2620, 0x4f, 0x8000, 1, 0x200, 0x5efe, high, low),
        ] {
            prop_assert_eq!(address::classify(IpAddr::V6(v6)), plain, "{}", v6);
        }
        for v6 in [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        ] {
            prop_assert_ne!(address::classify(IpAddr::V6(v6)), address::Class::Public, "{}", v6);
        }
    }

    /// Whatever a policy allows, nothing on the floor is ever vetted; and what is vetted is what would be dialled.
    #[test]
    fn nothing_on_the_floor_is_vetted(bits in any::<u128>(), short in any::<bool>()) {
        let ip = if short { IpAddr::from(u32::try_from(bits & 0xffff_ffff).unwrap().to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
        let permit = allow_all();
        match permit.vet(ip) {
            Ok(vetted) => {
                prop_assert_eq!(address::classify(ip), address::Class::Public);
                prop_assert_eq!(vetted.socket_addr().ip(), ip.to_canonical());
                prop_assert_eq!(vetted.socket_addr().port(), 443);
            }
            Err(_) => prop_assert_ne!(address::classify(ip), address::Class::Public),
        }
    }

    /// Methods, clients and modes included: a Deny more never lets more through, and no mode opens floor or caps.
    #[test]
    fn denies_caps_and_the_floor_hold_for_every_kind_of_request(
        rules in host_rules(),
        kinds in prop::collection::vec(kind(), 6),
        mode in prop::sample::select(vec![Mode::Enforce, Mode::Report, Mode::Open]),
        target in name(),
        method in prop::sample::select(vec!["GET", "POST"]),
        path in prop::sample::select(vec!["/", "/a/b", "/a/../b", "/a%2fb"]),
        (known, capped) in any::<(bool, bool)>(),
        bits in any::<u32>(),
    ) {
        let rules: Vec<Rule> = rules.into_iter().zip(kinds).map(|(rule, (http, clients))| Rule { http, clients, ..rule }).collect();
        let everybody = Client { name: "c".to_owned(), pods: true, auth: None };
        let with = |rules: Vec<Rule>, mode| content(Content { rules, mode, clients: vec![everybody.clone()], ..Content::default() });
        let before = with(rules.clone(), mode);
        let caps = Caps { ports: if capped { vec![PortRange { port: 8443, end_port: None }] } else { vec![] }, ..Caps::default() };
        let wall = Arc::new(Wall { floor: Arc::new(Floor::new(&[])), caps: compile::caps(&caps).unwrap() });
        let ask = |policy: &Arc<Policy>| {
            let caller = if known { policy.caller(["c"]) } else { Caller::UNKNOWN };
            policy.permit(&wall, Ask::tunnel(Target::parse(&format!("{target}:443")).unwrap()).by(caller).http(method, path))
        };
        let permit = ask(&before);
        prop_assert!(permit.is_err() || (known && !capped));
        if let Ok(permit) = &permit {
            let ip = IpAddr::V4(Ipv4Addr::from(bits));
            prop_assert_eq!(permit.vet(ip).is_ok(), address::classify(ip) == address::Class::Public);
        }
        let mut widened = rules.clone();
        widened.push(Rule { ports: vec![PortRange { port: 1, end_port: Some(65535) }], ..rule(99, Action::Deny, vec!["*".to_owned()], vec![]) });
        let after = ask(&with(widened, mode));
        prop_assert!(mode == Mode::Report || after.is_err());
        // Whatever Enforce lets through, the other modes do.
        let enforced = ask(&with(rules, Mode::Enforce));
        prop_assert!(enforced.is_err() || permit.is_ok());
    }

    #[test]
    fn paths_have_one_normal_form(text in "/[a-z%0-9A-F./;]{0,20}") {
        if let Ok(normal) = path::normalize(&text) {
            prop_assert_eq!(path::normalize(&normal.to_string()), Ok(normal));
        }
    }

    /// A walk of its own over every level of decoding: what a rule by path lets through lies where it seems to, whoever
    /// decodes it how often.
    #[test]
    fn what_a_rule_by_path_lets_through_lies_under_it_at_every_level_of_decoding(pieces in prop::collection::vec(piece(), 0..8)) {
        let path = format!("/public/{}", pieces.concat());
        let allow = policy(vec![http_rule(0, Action::Allow, "/public")]);
        if passes(&allow, &path) {
            for level in levels(&path) {
                let segments: Vec<&[u8]> = level.split(|byte| *byte == b'/').collect();
                prop_assert_eq!(segments.len(), path.split('/').count(), "{} as {:?}", path, level);
                prop_assert_eq!(segments.get(1).copied(), Some(b"public".as_slice()));
                prop_assert!(level.iter().all(|byte| !byte.is_ascii_control() && *byte != b'\\'), "{} as {:?}", path, level);
                for segment in segments {
                    let name = bare(segment);
                    prop_assert!(!matches!(name.as_slice(), b"." | b".."), "{} as {:?}", path, level);
                }
            }
        }
    }

    #[test]
    fn what_a_deny_by_path_lets_through_is_it_at_no_level_of_decoding(pieces in prop::collection::vec(piece(), 1..5)) {
        let path = format!("/{}", pieces.concat());
        let all = Rule { ports: vec![PortRange { port: 443, end_port: None }], ..rule(0, Action::Allow, vec!["*".to_owned()], vec![]) };
        let deny = policy(vec![all, http_rule(1, Action::Deny, "/admin")]);
        if passes(&deny, &path) {
            for level in levels(&path) {
                let first = level.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
                let name = bare(first).to_ascii_lowercase();
                let name = String::from_utf8_lossy(&name).trim_end_matches(['.', ' ']).to_owned();
                prop_assert_ne!(name, "admin", "{}", path);
            }
        }
    }

    #[test]
    fn documents_of_any_shape_never_panic(json in "\\PC{0,200}") {
        if let Ok(document) = serde_json::from_str::<Policies>(&json) {
            let _ = compile::policies(&document);
        }
    }
}

/// Parts of paths, plain, encoded and encoded again.
fn piece() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "a", "admin", "ADMIN", "%61dmin", ".", "..", "/", "%", "%25", "2e", "2f", ";", "x", "%zz",
    ]);
    let octets = prop::sample::select(vec![
        0x2e_u8, 0x2f, 0x5c, 0x3b, 0x3f, 0x20, 0x09, 0x00, 0x25, 0x61, 0xe9, 0xc0, 0xae, 0x7f,
    ]);
    prop_oneof![
        plain.prop_map(ToOwned::to_owned),
        (octets, 0_usize..3).prop_map(|(octet, again)| format!("%{}{octet:02x}", "25".repeat(again))),
    ]
}

fn http_rule(name: usize, action: Action, prefix: &str) -> Rule {
    Rule {
        http: Some(Http {
            methods: vec![],
            path_prefixes: vec![prefix.to_owned()],
        }),
        ..rule(name, action, vec!["*".to_owned()], vec![])
    }
}

fn passes(policy: &Arc<Policy>, path: &str) -> bool {
    let target = Target::parse("www.example:443").unwrap();
    policy
        .permit(&wall(), Ask::tunnel(target).http("GET", path))
        .is_ok()
}

/// The path, decoded once, twice, and so on until nothing changes.
fn levels(path: &str) -> Vec<Vec<u8>> {
    let mut levels = vec![path.as_bytes().to_vec()];
    loop {
        let last = levels.last().unwrap();
        let (mut next, mut at) = (Vec::new(), 0);
        while let Some(byte) = last.get(at) {
            let digits = last
                .get(at + 1..at + 3)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(octet) if *byte == b'%' => {
                    next.push(octet);
                    at += 3;
                }
                _ => {
                    next.push(*byte);
                    at += 1;
                }
            }
        }
        if next == *last {
            return levels;
        }
        levels.push(next);
    }
}

/// A segment without parameters, what looks like a query, and blanks.
fn bare(segment: &[u8]) -> Vec<u8> {
    let name = segment
        .split(|byte| matches!(byte, b';' | b'?' | b'#'))
        .next()
        .unwrap_or_default();
    name.iter().copied().filter(|byte| *byte != b' ').collect()
}

fn allow_all() -> Permit {
    let any = policy(vec![rule(0, Action::Allow, vec!["*".to_owned()], vec![])]);
    let target = Target::parse("www.example:443").unwrap();
    assert!(matches!(target.host(), Host::Name(_)));
    any.permit(&wall(), Ask::tunnel(target)).unwrap()
}
