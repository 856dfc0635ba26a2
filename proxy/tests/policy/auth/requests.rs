//! Rules for single requests: method and path are seen, and asked for each request anew.

use std::time::Duration;

use egressway_core::wire::document::Http;
use egressway_proxy::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::origin_and_target;
use crate::access::World;
use crate::support::{accept, dial, read_head, start, status, untouched};

#[tokio::test]
async fn rules_for_requests_see_method_and_path_and_are_asked_again() {
    let mut world = World::open();
    world.content.rules[1].http = Some(Http {
        methods: vec!["POST".to_owned()],
        path_prefixes: vec!["/hooks/".to_owned()],
    });
    let proxy = start(world.in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    for (request, code) in [
        (format!("GET http://{target}/hooks/a"), "no_rule_matches"),
        (format!("POST http://{target}/other?/hooks/a"), "no_rule_matches"),
        (format!("POST http://{target}?/hooks/a"), "no_rule_matches"),
        (format!("POST http://{target}/hooks/../a"), "path_ambiguous"),
        (format!("CONNECT {target}"), "no_rule_matches"),
    ] {
        let answer = proxy
            .raw(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await;
        assert!(
            status(&answer) == 403 && answer.contains(code),
            "{request}: {answer}"
        );
    }
    assert!(untouched(&origin).await);
    let mut client = dial(proxy.address).await;
    let request = format!("POST http://{target}/hooks/a?q HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    assert!(
        read_head(&mut server)
            .await
            .starts_with("POST /hooks/a?q HTTP/1.1\r\n")
    );
    // Still permitted under a policy that names a shorter prefix; no longer under one that names another.
    for (prefix, goes_on) in [("/", true), ("/other/", false)] {
        let mut next = world.clone();
        next.content.rules[1].http.as_mut().unwrap().path_prefixes = vec![prefix.to_owned()];
        proxy.state.set_in_force(next.in_force());
        let ended = tokio::time::timeout(Duration::from_millis(200), server.read_u8()).await;
        assert_eq!(ended.is_err(), goes_on, "{prefix}");
    }
    let line = proxy.logged(&["policy_revoked"]).await;
    assert!(!line.contains("/hooks"), "{line}");
}
