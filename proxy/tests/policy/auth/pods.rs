//! Pods as clients: known by their address, and waited for where the table is late.

use std::time::Duration;

use egressway_proxy::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::origin_and_target;
use crate::access::World;
use crate::support::{DEADLINE, accept, allow, connect, read_exact, start, status};

#[tokio::test]
async fn pods_are_known_by_their_address_and_rules_can_be_theirs() {
    let mut world = World::open()
        .client("sender", true, None)
        .client("batch", true, None)
        .pod("sender-1", "127.0.0.1", &["sender"]);
    world.content.rules = allow(&[], &["127.0.0.0/8"]);
    world.content.rules[0].clients = vec!["sender".to_owned()];
    let proxy = start(world.in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    let (mut client, head) = connect(proxy.address, &target, "").await;
    assert_eq!(status(&head), 200);
    let mut server = accept(&origin).await;
    // The pod goes; its tunnels are those of a client that the policy still has.
    let mut gone = world.clone();
    gone.pods.clear();
    proxy.state.set_in_force(gone.in_force());
    client.write_all(b"still").await.unwrap();
    assert_eq!(read_exact(&mut server, 5).await, b"still");
    // The rule is another client's now: the tunnel is cut.
    let mut moved = world.clone();
    moved.content.rules[0].clients = vec!["batch".to_owned()];
    proxy.state.set_in_force(moved.in_force());
    let line = proxy.logged(&["\"egress.reason\":\"policy_revoked\""]).await;
    assert!(
        line.contains("\"egress.client\":\"sender\"") && line.contains("\"egress.client_pod\":\"sender-1\""),
        "{line}"
    );
    assert!(client.read_u8().await.is_err());
    let (_, head) = connect(proxy.address, &target, "").await;
    assert!(status(&head) == 403 && head.contains("no_rule_matches"), "{head}");
}

#[tokio::test]
async fn a_pod_that_asks_before_the_table_lists_it_is_waited_for() {
    let world = World::open().client("sender", true, None);
    let proxy = start(world.in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    let began = Instant::now();
    let asked = connect(proxy.address, &target, "");
    tokio::pin!(asked);
    // A change that does not list it does not end the waiting.
    tokio::select! {
        _ = &mut asked => panic!("refused before its time"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    proxy
        .state
        .set_in_force(world.clone().pod("other", "127.0.0.9", &["sender"]).in_force());
    tokio::select! {
        _ = &mut asked => panic!("refused before its time"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    proxy
        .state
        .set_in_force(world.clone().pod("sender-1", "127.0.0.1", &["sender"]).in_force());
    let (_, head) = asked.await;
    assert_eq!(status(&head), 200);
    assert!(began.elapsed() < Duration::from_secs(2));
    accept(&origin).await;
    proxy.state.set_in_force(world.in_force());
    let began = Instant::now();
    let (_, head) = connect(proxy.address, &target, "").await;
    assert!(
        status(&head) == 403 && head.contains("client_unknown") && !head.contains("Proxy-Authenticate"),
        "{head}"
    );
    assert!(began.elapsed() >= Duration::from_millis(1900) && began.elapsed() < DEADLINE);
}
