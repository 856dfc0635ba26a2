//! The PROXY protocol of load balancers: believed from listed sources, required from them, and from nobody else.

use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::access::World;
use crate::support::{accept, dial, origin, read_all, read_exact, read_head, start, status, untouched};

fn behind(sources: &[&str]) -> World {
    let mut world = World::open()
        .client("sender", true, None)
        .pod("sender-1", "192.0.2.1", &["sender"]);
    world.content.listener.proxy_protocol = sources.iter().map(|net| (*net).to_owned()).collect();
    world
}

#[tokio::test]
async fn the_client_is_whom_a_listed_load_balancer_names() {
    let proxy = start(behind(&["127.0.0.0/8"]).in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let request = format!(
        "PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\nCONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\nearly"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    let mut server = accept(&origin).await;
    assert_eq!(read_exact(&mut server, 5).await, b"early");
    drop((client, server));
    let line = proxy.logged(&["\"egress.client_pod\":\"sender-1\""]).await;
    assert!(
        line.contains(
            "\"client.address\":\"192.0.2.1\",\"client.port\":1234,\"egress.balancer\":\"127.0.0.1:"
        ),
        "{line}"
    );
    // It speaks for itself: its own address is no client's.
    let mut client = dial(proxy.address).await;
    let request = format!("PROXY UNKNOWN\r\nCONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 403);
}

#[tokio::test]
async fn a_listed_source_without_a_header_is_closed_without_a_word() {
    let limits = Limits {
        head_time: std::time::Duration::from_millis(300),
        ..Limits::default()
    };
    let proxy = start(behind(&["127.0.0.1/32"]).in_force(), limits).await;
    for (bytes, code) in [
        (
            &b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            "proxy_protocol_malformed",
        ),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.9 1234\r\nGET",
            "proxy_protocol_malformed",
        ),
        (b"PROXY TCP4 192.0.2.1", "opening_timeout"),
        (b"", "opening_timeout"),
    ] {
        let mut client = dial(proxy.address).await;
        client.write_all(bytes).await.unwrap();
        assert_eq!(read_all(&mut client).await.0, b"", "{code}");
        proxy
            .logged(&[
                &format!("\"egress.reason\":\"{code}\""),
                "\"egress.decision\":\"error\"",
            ])
            .await;
    }
}

#[tokio::test]
async fn a_header_of_anybody_else_is_a_malformed_request() {
    let proxy = start(behind(&["192.0.2.0/24"]).in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let answer = proxy
        .raw(
            format!("PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\nCONNECT {target} HTTP/1.1\r\n\r\n")
                .as_bytes(),
        )
        .await;
    assert!(status(&answer) == 400, "{answer}");
    assert!(untouched(&origin).await);
}
