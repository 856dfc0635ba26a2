//! Any policy of any mode, any request, any address: no panic, Deny is monotone, caps and floor hold in every mode, and
//! nothing on the floor is ever vetted.
#![no_main]

use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::acl::{Ask, Floor, Policy, Target, Wall, address, compile};
use egressway_core::wire::document::{
    self, Action, Caps, Client, Content, HostCaps, Http, Mode, PortRange, Rule, VERSION,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Vec<RuleInput>,
    mode: u8,
    clients: bool,
    known: bool,
    caps: Option<(u16, String)>,
    target: String,
    http: Option<(String, String)>,
    bits: u128,
}

#[derive(Arbitrary, Debug)]
struct RuleInput {
    deny: bool,
    pattern: String,
    port: u16,
    for_client: bool,
    http: Option<(String, String)>,
}

fuzz_target!(|input: Input| {
    let rules: Vec<Rule> = input
        .rules
        .iter()
        .take(16)
        .enumerate()
        .map(|(n, rule)| into_rule(n, rule))
        .collect();
    let mode = [Mode::Enforce, Mode::Report, Mode::Open][usize::from(input.mode % 3)];
    let clients = if input.clients {
        vec![Client {
            name: "c".to_owned(),
            pods: true,
            auth: None,
        }]
    } else {
        vec![]
    };
    let content = Content {
        mode,
        clients,
        rules,
        ..Content::default()
    };
    let caps = input
        .caps
        .as_ref()
        .map_or_else(Caps::default, |(port, deny)| Caps {
            ports: vec![PortRange {
                port: *port,
                end_port: None,
            }],
            hosts: Some(HostCaps {
                allow: vec![],
                deny: vec![deny.clone()],
            }),
            ..Caps::default()
        });
    let (Some(policy), Ok(target), Ok(caps)) = (
        compiled(content.clone()),
        Target::parse(&input.target),
        compile::caps(&caps),
    ) else {
        return;
    };
    let wall = Arc::new(Wall {
        floor: Arc::new(Floor::new(&[])),
        caps,
    });
    let ask = |policy: &Arc<Policy>| {
        let caller = policy.caller(input.known.then_some("c"));
        let ask = Ask::tunnel(target.clone()).by(caller);
        policy.permit(
            &wall,
            match &input.http {
                Some((method, path)) => ask.http(method, path),
                None => ask,
            },
        )
    };
    let verdict = ask(&policy);
    assert!(
        verdict.is_err() || !input.clients || input.known,
        "an unknown client is never served"
    );
    let mut stricter = content;
    stricter.rules.push(into_rule(
        99,
        &RuleInput {
            deny: true,
            pattern: "*".to_owned(),
            port: target.port(),
            for_client: false,
            http: None,
        },
    ));
    if let Some(stricter) = compiled(stricter) {
        assert!(ask(&stricter).is_err() || verdict.is_ok());
    }
    if let Ok(permit) = verdict
        && let Ok(vetted) = permit.vet(IpAddr::from(input.bits.to_be_bytes()))
    {
        assert_eq!(
            address::classify(vetted.socket_addr().ip()),
            address::Class::Public
        );
    }
});

fn into_rule(n: usize, rule: &RuleInput) -> Rule {
    let cidr = rule.pattern.contains('/');
    Rule {
        name: format!("r{n}"),
        action: if rule.deny { Action::Deny } else { Action::Allow },
        hosts: if cidr { vec![] } else { vec![rule.pattern.clone()] },
        cidrs: if cidr { vec![rule.pattern.clone()] } else { vec![] },
        ports: vec![PortRange {
            port: rule.port,
            end_port: None,
        }],
        clients: if rule.for_client {
            vec!["c".to_owned()]
        } else {
            vec![]
        },
        http: rule.http.as_ref().map(|(method, prefix)| Http {
            methods: vec![method.clone()],
            path_prefixes: vec![prefix.clone()],
        }),
        ..Rule::default()
    }
}

fn compiled(content: Content) -> Option<Arc<Policy>> {
    let policy = document::Policy::seal("ns", "name", 1, content);
    let document = document::Policies {
        version: VERSION,
        policies: vec![policy],
    };
    compile::policies(&document).ok()?.pop()
}
