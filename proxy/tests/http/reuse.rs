//! Connections to origins that serve several requests: when they do, and when they must not. What happens where one
//! turns out to have been closed is in `closed.rs`.

mod closed;
mod moved;

use std::sync::atomic::Ordering;
use std::time::Duration;

use egressway_core::wire::document::{Action, Rule};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{
    OK, Proxy, accept, allow, dial, in_force, open, origin, read_all, read_exact, read_head, status,
    untouched,
};

fn request(method: &str, authority: &str, body: &str) -> String {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("{method} http://{authority}/ HTTP/1.1\r\nHost: a\r\n{length}\r\n{body}")
}

async fn send(client: &mut TcpStream, request: &str) {
    client.write_all(request.as_bytes()).await.unwrap();
}

/// A request over a connection of its own, and the answer to it on the origin's side.
async fn first(
    proxy: &Proxy,
    origin: &TcpListener,
    authority: &str,
    answer: &[u8],
) -> (TcpStream, TcpStream) {
    let mut client = dial(proxy.address).await;
    send(&mut client, &request("GET", authority, "")).await;
    let mut server = accept(origin).await;
    read_head(&mut server).await;
    server.write_all(answer).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    (client, server)
}

/// As [`first`], read to its end.
async fn pooled(proxy: &Proxy, origin: &TcpListener, authority: &str) -> TcpStream {
    let (mut client, server) = first(proxy, origin, authority, OK).await;
    assert_eq!(read_exact(&mut client, 2).await, b"ok");
    proxy.logged(&["completed"]).await;
    server
}

#[tokio::test]
async fn a_connection_serves_one_client_after_the_other() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut server = pooled(&proxy, &origin, &authority).await;
    for method in ["GET", "POST", "DELETE"] {
        let mut client = dial(proxy.address).await;
        send(&mut client, &request(method, &authority, "body")).await;
        assert!(read_head(&mut server).await.starts_with(method));
        assert_eq!(read_exact(&mut server, 4).await, b"body");
        server.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
    }
    assert!(untouched(&origin).await);
    let line = proxy.logged(&["DELETE"]).await;
    assert!(
        line.contains("network.peer.address") && !line.contains("connect_ms"),
        "{line}"
    );
}

#[tokio::test]
async fn two_requests_at_once_take_two_connections() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let mut client = dial(proxy.address).await;
        send(&mut client, &request("GET", &authority, "")).await;
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        servers.push((client, server));
    }
    for (client, server) in &mut servers {
        server.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(client).await), 200);
    }
}

#[tokio::test]
async fn what_an_answer_leaves_doubtful_is_not_used_again() {
    for (answer, body, reused) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
            true,
        ),
        // RFC 9110, 2.5: a minor version above ours is taken for ours.
        ("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true),
        (
            "HTTP/1.9 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false),
        (
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            false,
        ),
        // More than was announced.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "ok",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", "ok", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
            false,
        ),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap().to_string();
        let (mut client, mut server) = first(&proxy, &origin, &authority, answer.as_bytes()).await;
        assert_eq!(read_exact(&mut client, body.len()).await, body.as_bytes());
        send(&mut client, &request("GET", &authority, "")).await;
        if !reused {
            server = accept(&origin).await;
        }
        assert!(read_head(&mut server).await.starts_with("GET "), "{answer:?}");
        assert!(untouched(&origin).await, "{answer:?}");
        server.write_all(OK).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 200 && head.contains("Content-Length: 2\r\n"),
            "{answer:?}: {head}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_body_leaves_its_connection() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap().to_string();
        let mut client = dial(proxy.address).await;
        send(&mut client, &request(method, &authority, "")).await;
        let mut server = accept(&origin).await;
        for _ in 0..2 {
            assert!(read_head(&mut server).await.starts_with(method));
            server.write_all(answer.as_bytes()).await.unwrap();
            assert!(read_head(&mut client).await.starts_with("HTTP/1.1 "));
            send(&mut client, &request(method, &authority, "")).await;
        }
        assert!(read_head(&mut server).await.starts_with(method), "{answer:?}");
        assert!(untouched(&origin).await, "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_somebody_signed_in_on_is_nobody_elses() {
    for (value, reused) in [
        ("NTLM TlRM", false),
        ("negotiate YII", false),
        ("Basic YTpi", true),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap().to_string();
        let mut client = dial(proxy.address).await;
        let head = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        send(&mut client, &request("GET", &authority, "")).await;
        if !reused {
            server = accept(&origin).await;
        }
        assert!(read_head(&mut server).await.starts_with("GET "), "{value}");
    }
}

#[tokio::test]
async fn no_content_with_a_body_after_all_spoils_nobody_elses_answer() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    for announced in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = dial(proxy.address).await;
        send(&mut client, &request("GET", &authority, "")).await;
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        let answer = format!("HTTP/1.1 204 No Content\r\n{announced}\r\n");
        server.write_all(answer.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(status(&head) == 204 && !head.contains(announced), "{head}");
        assert!(read_all(&mut server).await.0.is_empty(), "{announced:?}");
    }
}

#[tokio::test]
async fn bytes_that_come_while_a_connection_waits_are_nobodys_answer() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut old = pooled(&proxy, &origin, &authority).await;
    old.write_all(b"HTTP/1.1 200 Poison\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut client = dial(proxy.address).await;
    send(&mut client, &request("GET", &authority, "")).await;
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    server.write_all(OK).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_name_is_resolved_once_for_a_connection() {
    let (proxy, origin) = (open().await, origin().await);
    let port = origin.local_addr().unwrap().port();
    proxy.names.set("a.example", &[&["127.0.0.1"], &["192.0.2.1"]]);
    proxy.names.set("b.example", &[&["127.0.0.1"]]);
    let a = format!("a.example:{port}");
    let mut server = pooled(&proxy, &origin, &a).await;
    let mut client = dial(proxy.address).await;
    client.write_all(request("GET", &a, "").as_bytes()).await.unwrap();
    assert!(read_head(&mut server).await.contains(&format!("Host: {a}\r\n")));
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    assert_eq!(proxy.names.1.load(Ordering::SeqCst), 1);
    // Another name with the same address is another target.
    let b = format!("b.example:{port}");
    let mut client = dial(proxy.address).await;
    client.write_all(request("GET", &b, "").as_bytes()).await.unwrap();
    let mut other = accept(&origin).await;
    assert!(read_head(&mut other).await.contains(&format!("Host: {b}\r\n")));
    assert_eq!(proxy.names.1.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_kept_connection_is_judged_by_the_documents_in_force() {
    let deny = |cidr: &str| {
        let mut rules = allow(&["a.example"], &["127.0.0.0/8"]);
        rules.push(Rule {
            name: "blocked".to_owned(),
            action: Action::Deny,
            cidrs: vec![cidr.to_owned()],
            hosts: vec![],
            ..rules[0].clone()
        });
        rules
    };
    let loopback = ["127.0.0.0/8"];
    for (rules, insecure, expected) in [
        (allow(&["other.example"], &[]), &loopback[..], "no_rule_matches"),
        (deny("127.0.0.1/32"), &loopback[..], "address_denied_by_rule"),
        // The rules are the same, the floor is not.
        (allow(&["*"], &["0.0.0.0/0", "::/0"]), &[], "address_forbidden"),
        (deny("127.0.0.9/32"), &loopback[..], ""),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
        proxy.names.set("a.example", &[&["127.0.0.1"]]);
        let old = pooled(&proxy, &origin, &authority).await;
        proxy.state.set_in_force(in_force(rules, insecure));
        let mut client = dial(proxy.address).await;
        send(&mut client, &request("GET", &authority, "")).await;
        if expected.is_empty() {
            // Other rules, another policy: it begins with connections of its own.
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            server.write_all(OK).await.unwrap();
            assert_eq!(status(&read_head(&mut client).await), 200);
        } else {
            let (got, _) = read_all(&mut client).await;
            let got = String::from_utf8(got).unwrap();
            assert!(status(&got) == 403 && got.contains(expected), "{expected}: {got}");
            assert!(untouched(&origin).await);
        }
        let word = timeout(Duration::from_millis(20), old.peek(&mut [0])).await;
        assert!(
            matches!(word, Err(_) | Ok(Ok(0))),
            "{expected}: nothing is sent over it"
        );
    }
}
