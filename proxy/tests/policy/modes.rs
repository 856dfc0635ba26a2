//! Enforce, Report and Open over real sockets: what passes, what the log says, what is counted.

use egressway_core::wire::document::{Action, Caps, Mode, PortRange, Rule};
use egressway_core::wire::report::WouldDeny;
use egressway_proxy::server::Limits;

use crate::access::World;
use crate::support::{accept, allow, origin, start, status, untouched};

fn world(mode: Mode) -> World {
    let mut world = World::open();
    world.content.mode = mode;
    world.content.rules = allow(&["a.example"], &[]);
    world.content.rules.push(Rule {
        name: "bad-net".to_owned(),
        action: Action::Deny,
        cidrs: vec!["127.0.0.2/32".to_owned()],
        ports: vec![PortRange {
            port: 1,
            end_port: Some(65535),
        }],
        ..Rule::default()
    });
    world
}

#[tokio::test]
async fn report_lets_through_tells_and_counts() {
    let world = world(Mode::Report);
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    proxy.names.set("a.example", &[&["127.0.0.1"]]);
    proxy.names.set("b.example", &[&["127.0.0.1"]]);
    for (host, times) in [("a.example", 1), ("b.example", 3)] {
        for _ in 0..times {
            let (client, head) = proxy.connect(&format!("{host}:{port}")).await;
            assert_eq!(status(&head), 200, "{host}");
            drop((client, accept(&origin).await));
        }
    }
    let line = proxy
        .logged(&["\"egress.decision\":\"report\"", "b.example"])
        .await;
    assert!(
        line.contains("\"egress.reason\":\"no_rule_matches\"")
            && line.contains("\"egress.end\":\"completed\"")
            && line.contains("\"egress.mode\":\"Report\""),
        "{line}"
    );
    let line = proxy.logged(&["a.example"]).await;
    assert!(
        line.contains("\"egress.decision\":\"allow\"") && !line.contains("egress.end"),
        "{line}"
    );
    let policy = proxy.state.in_force().policies[0].clone();
    let expected = WouldDeny {
        target: format!("b.example:{port}"),
        reason: "no_rule_matches".to_owned(),
        count: 3,
    };
    assert_eq!(proxy.state.would_denies().of(&policy), [expected]);
    // A forwarded request, by name to an address that a rule denies.
    let second = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = second.local_addr().unwrap().port();
    proxy.names.set("a.example", &[&["127.0.0.2"]]);
    let asked = proxy.connect(&format!("a.example:{port}")).await;
    assert_eq!(status(&asked.1), 200);
    drop((asked, accept(&second).await));
    let line = proxy.logged(&["address_denied_by_rule"]).await;
    assert!(
        line.contains("\"egress.rule\":\"bad-net\"") && line.contains("\"egress.decision\":\"report\""),
        "{line}"
    );
    assert_eq!(proxy.state.would_denies().of(&policy).len(), 2);
}

#[tokio::test]
async fn no_mode_lifts_the_floor_and_the_pool_decides_which_there_is() {
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    for (mode, modes, host, expected) in [
        (Mode::Open, None, "b.example", 200),
        (Mode::Open, Some(vec![Mode::Enforce]), "b.example", 403),
        (Mode::Report, Some(vec![Mode::Enforce]), "b.example", 403),
        (Mode::Report, None, "localhost", 403),
        (Mode::Open, None, "metadata.example", 403),
        (Mode::Enforce, None, "b.example", 403),
    ] {
        let mut world = world(mode);
        world.caps = Caps {
            modes: modes.clone(),
            ..Caps::default()
        };
        let proxy = start(world.in_force(), Limits::default()).await;
        proxy.names.set("b.example", &[&["127.0.0.1"]]);
        proxy.names.set("metadata.example", &[&["169.254.169.254"]]);
        let (_, head) = proxy.connect(&format!("{host}:{port}")).await;
        assert_eq!(status(&head), expected, "{mode:?} {modes:?} {host}: {head}");
        if expected == 200 {
            accept(&origin).await;
        }
        assert!(untouched(&origin).await);
    }
}
