//! Any path against an Allow and a Deny by path: no panic, and what passes hides nothing at any level of decoding.
#![no_main]

use std::sync::{Arc, LazyLock};

use egressway_core::acl::{Ask, Floor, Policy, Target, Wall, compile, path};
use egressway_core::wire::document::{self, Action, Content, Http, PortRange, Rule, VERSION};
use libfuzzer_sys::fuzz_target;

static ALLOW: LazyLock<Arc<Policy>> = LazyLock::new(|| compiled(vec![rule("r", Action::Allow, "/public")]));
static DENY: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let all = Rule {
        http: None,
        ..rule("all", Action::Allow, "/")
    };
    compiled(vec![all, rule("no", Action::Deny, "/admin")])
});

fuzz_target!(|text: &str| {
    if let Ok(normal) = path::normalize(text) {
        assert_eq!(path::normalize(&normal.to_string()), Ok(normal));
    }
    let path = format!("/public/{text}");
    if passes(&ALLOW, &path) {
        for level in levels(&path) {
            assert!(!level.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
            let segments = level.split(|byte| *byte == b'/');
            assert_eq!(segments.clone().count(), path.split('/').count());
            for segment in segments {
                assert!(!matches!(segment, b"." | b".."));
            }
        }
    }
    let path = format!("/{text}");
    if passes(&DENY, &path) {
        for level in levels(&path) {
            let first = level.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
            assert!(!first.eq_ignore_ascii_case(b"admin"));
        }
    }
});

fn passes(policy: &Arc<Policy>, path: &str) -> bool {
    let wall = Wall::of(Arc::new(Floor::new(&[])));
    let target = Target::parse("www.example:443").unwrap();
    policy
        .permit(&wall, Ask::tunnel(target).http("GET", path))
        .is_ok()
}

/// The path, decoded once, twice, and so on until nothing changes.
fn levels(path: &str) -> Vec<Vec<u8>> {
    let mut levels = vec![path.as_bytes().to_vec()];
    loop {
        let last = &levels[levels.len() - 1];
        let (mut next, mut at) = (Vec::new(), 0);
        while at < last.len() {
            let digits = last
                .get(at + 1..at + 3)
                .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
                Some(digits) if last[at] == b'%' => {
                    next.push(u8::from_str_radix(digits, 16).unwrap());
                    at += 3;
                }
                _ => {
                    next.push(last[at]);
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

fn rule(name: &str, action: Action, prefix: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        action,
        hosts: vec!["*".to_owned()],
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        http: Some(Http {
            methods: vec![],
            path_prefixes: vec![prefix.to_owned()],
        }),
        ..Rule::default()
    }
}

fn compiled(rules: Vec<Rule>) -> Arc<Policy> {
    let content = Content {
        rules,
        ..Content::default()
    };
    let document = document::Policies {
        version: VERSION,
        policies: vec![document::Policy::seal("ns", "name", 1, content)],
    };
    compile::policies(&document).unwrap().pop().unwrap()
}
