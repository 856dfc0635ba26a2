//! Any rules, any target, any address: no panic, Deny is monotone, and nothing on the floor is ever vetted.
#![no_main]

use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::acl::{Ask, Floor, Policy, Target, Wall, address, compile};
use egressway_core::wire::document::{self, Action, Content, PortRange, Rule, VERSION};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(bool, String, u16)>, String, u128)| {
    let (rules, target, bits) = input;
    let rules: Vec<Rule> = rules
        .into_iter()
        .take(16)
        .enumerate()
        .map(|(n, rule)| into_rule(n, rule))
        .collect();
    let (Some(policy), Ok(target)) = (compiled(rules.clone()), Target::parse(&target)) else {
        return;
    };
    let wall = Wall::of(Arc::new(Floor::new(&[])));
    let verdict = policy.permit(&wall, Ask::tunnel(target.clone()));
    let mut stricter = rules;
    stricter.push(into_rule(99, (true, "*".to_owned(), target.port())));
    if let Some(stricter) = compiled(stricter) {
        let denied = stricter.permit(&wall, Ask::tunnel(target));
        assert!(denied.is_err() || verdict.is_ok());
    }
    if let Ok(permit) = verdict
        && let Ok(vetted) = permit.vet(IpAddr::from(bits.to_be_bytes()))
    {
        assert_eq!(
            address::classify(vetted.socket_addr().ip()),
            address::Class::Public
        );
    }
});

fn into_rule(n: usize, (deny, text, port): (bool, String, u16)) -> Rule {
    let cidr = text.contains('/');
    Rule {
        name: format!("r{n}"),
        action: if deny { Action::Deny } else { Action::Allow },
        hosts: if cidr { vec![] } else { vec![text.clone()] },
        cidrs: if cidr { vec![text] } else { vec![] },
        ports: vec![PortRange { port, end_port: None }],
        ..Rule::default()
    }
}

fn compiled(rules: Vec<Rule>) -> Option<Arc<Policy>> {
    let policy = document::Policy::seal(
        "ns",
        "name",
        1,
        Content {
            rules,
            ..Content::default()
        },
    );
    let document = document::Policies {
        version: VERSION,
        policies: vec![policy],
    };
    compile::policies(&document).ok()?.pop()
}
