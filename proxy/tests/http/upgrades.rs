//! Upgrades of forwarded requests: both sides agree first, and nothing passes before.

use tokio::io::AsyncWriteExt as _;

use crate::support::{accept, dial, exchange, open, origin, quiet, read_exact, read_head, status, under_way};

#[tokio::test]
async fn upgrades_become_tunnels() {
    let (proxy, origin) = (open().await, origin().await);
    let head =
        "GET http://ORIGIN/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mut client, mut server) = under_way(&proxy, &origin, head).await;
    let got = read_head(&mut server).await.to_ascii_lowercase();
    assert!(
        got.contains("connection: upgrade") && got.contains("upgrade: websocket"),
        "{got}"
    );
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
        )
        .await
        .unwrap();
    let answer = read_head(&mut client).await.to_ascii_lowercase();
    assert!(
        status(&answer) == 101 && answer.contains("upgrade: websocket"),
        "{answer}"
    );
    assert_eq!(read_exact(&mut client, 5).await, b"first");
    client.write_all(b"second").await.unwrap();
    assert_eq!(read_exact(&mut server, 6).await, b"second");
}

#[tokio::test]
async fn nothing_passes_behind_an_upgrade_before_the_origin_agreed() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let upgrade = format!(
        "GET http://{authority}/ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    client
        .write_all((upgrade.clone() + "early").as_bytes())
        .await
        .unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    assert!(quiet(&server).await, "nothing before 101");
    server
        .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nback")
        .await
        .unwrap();
    assert_eq!(read_exact(&mut server, 5).await, b"early");
    assert_eq!(status(&read_head(&mut client).await), 103);
    assert_eq!(status(&read_head(&mut client).await), 101);
    assert_eq!(read_exact(&mut client, 4).await, b"back");

    // Refused, what stands behind is the next request, and is judged as one.
    let mut client = dial(proxy.address).await;
    client
        .write_all((upgrade + "GET / evil\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    server
        .write_all(b"HTTP/1.1 403 Forbidden\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let refused = read_head(&mut client).await;
    assert!(
        status(&refused) == 403 && !refused.contains("Upgrade"),
        "{refused}"
    );
    assert_eq!(status(&read_head(&mut client).await), 400);
    assert!(quiet(&server).await);
}

#[tokio::test]
async fn an_upgrade_with_a_body_from_http_1_0_or_to_http_2_is_not_passed_on() {
    for (version, protocol, body) in [
        ("1.1", "websocket", "Content-Length: 1\r\n\r\nx"),
        ("1.0", "websocket", "\r\n"),
        ("1.1", "h2c", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
        ("1.1", "websocket, H2C", "\r\n"),
        ("1.1", "websocket\r\nUpgrade: h2c", "\r\n"),
    ] {
        let request = format!(
            "GET http://ORIGIN/ HTTP/{version}\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n{body}"
        );
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let (got, answer, _) = exchange(&request, 0, answer).await;
        assert!(!got.to_ascii_lowercase().contains("upgrade"), "{got}");
        assert_eq!(status(&answer), 502, "{answer}");
    }
}

/// RFC 9110, 7.8: 101 names what is spoken from then on, and a server takes nothing but what was offered.
#[tokio::test]
async fn an_origin_switches_to_what_was_offered_or_not_at_all() {
    for (offered, taken, expected) in [
        ("websocket", "Upgrade: WebSocket\r\n", 101),
        ("SPDY/3.1, websocket", "Upgrade: websocket\r\n", 101),
        ("one, two", "Upgrade: two\r\nUpgrade: one\r\n", 101),
        ("websocket", "", 502),
        ("websocket", "Upgrade:\r\n", 502),
        ("websocket", "Upgrade: h2c\r\n", 502),
        ("websocket", "Upgrade: websocket, h2c\r\n", 502),
        ("websocket", "Upgrade: websocket\r\nUpgrade: other\r\n", 502),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let head = format!(
            "GET http://{authority}/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {offered}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{taken}\r\n");
        server.write_all(answer.as_bytes()).await.unwrap();
        let got = read_head(&mut client).await;
        assert_eq!(status(&got), expected, "{offered}, {taken:?}: {got}");
    }
}
