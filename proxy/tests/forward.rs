//! Forwarded `http://` requests on real sockets: fields, bodies, ends, upgrades.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use egressway_proxy::server::Limits;
use support::{accept, allow, dial, in_force, open, origin, read_all, read_exact, read_head, start, status};
use tokio::io::AsyncWriteExt as _;

/// Sends a request through the proxy and lets the origin answer; what the origin got, and what the client got.
async fn exchange(request: &str, body_bytes: usize, answer: &[u8]) -> (String, String, bool) {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut client = dial(proxy.address).await;
    client
        .write_all(request.replace("ORIGIN", &authority).as_bytes())
        .await
        .unwrap();
    let mut server = accept(&origin).await;
    let mut got = read_head(&mut server).await;
    got.push_str(&String::from_utf8(read_exact(&mut server, body_bytes).await).unwrap());
    server.write_all(answer).await.unwrap();
    drop(server);
    let (bytes, clean) = read_all(&mut client).await;
    (
        got.replace(&authority, "ORIGIN"),
        String::from_utf8(bytes).unwrap(),
        clean,
    )
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_origin_gets_origin_form_and_a_host_from_the_target() {
    let request = "GET http://ORIGIN/a?b=c HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let (got, answer, clean) = exchange(request, 0, OK).await;
    assert!(got.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{got}");
    assert!(
        got.contains("host: ORIGIN\r\n") && got.contains("via: 1.1 egressway-proxy\r\n"),
        "{got}"
    );
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok") && clean,
        "{answer}"
    );
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                   Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nProxy-Foo: 1\r\nX-End: kept\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Secret\r\nX-Secret: 1\r\nProxy-Authenticate: Basic\r\nX-End: kept\r\n\r\n";
    let (got, answer, _) = exchange(request, 0, answer).await;
    for text in [&got, &answer] {
        let text = text.to_ascii_lowercase();
        for gone in [
            "x-hop",
            "keep-alive",
            "trailers",
            "proxy-",
            "x-secret",
            "forwarded",
        ] {
            assert!(
                !text.replace("egressway-proxy", "").contains(gone),
                "{gone} in {text}"
            );
        }
        assert!(text.contains("x-end: kept"), "{text}");
    }
}

#[tokio::test]
async fn bodies_arrive_whole_with_length_and_with_chunks() {
    let request =
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let (got, _, _) = exchange(request, 5, OK).await;
    assert!(
        got.ends_with("\r\n\r\nhello") && got.contains("content-length: 5"),
        "{got}"
    );
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n";
    let (got, _, _) = exchange(request, 15, OK).await;
    assert!(
        got.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n") && !got.contains("x=y"),
        "{got}"
    );
}

#[tokio::test]
async fn a_connection_carries_several_requests() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    for n in 0..3 {
        client
            .write_all(format!("GET http://{authority}/{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut server = accept(&origin).await;
        assert!(read_head(&mut server).await.starts_with(&format!("GET /{n} ")));
        server.write_all(OK).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 200 && !head.to_ascii_lowercase().contains("connection: close"),
            "{head}"
        );
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
    }
    // And a CONNECT may follow.
    client
        .write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn pipelined_requests_are_served_in_turn() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let one = format!("POST http://{authority}/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let two = format!("GET http://{authority}/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all((one + &two).as_bytes()).await.unwrap();
    for path in ["POST /1 ", "GET /2 "] {
        let mut server = accept(&origin).await;
        assert!(read_head(&mut server).await.starts_with(path));
        server.write_all(OK).await.unwrap();
    }
    let (answers, clean) = read_all(&mut client).await;
    assert!(
        clean
            && String::from_utf8(answers)
                .unwrap()
                .matches("HTTP/1.1 200")
                .count()
                == 2
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_presented_as_complete() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ] {
        let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, answer).await;
        assert!(!clean && !got.ends_with("0\r\n\r\n"), "{got:?}");
    }
}

#[tokio::test]
async fn http_1_0_clients_get_no_chunks() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, answer).await;
    assert!(
        clean && got.ends_with("\r\n\r\nok") && !got.to_ascii_lowercase().contains("chunked"),
        "{got}"
    );
}

#[tokio::test]
async fn malformed_answers_become_502() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
    ] {
        let (_, got, _) = exchange("GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, answer).await;
        assert!(
            status(&got) == 502 && got.contains("upstream_malformed"),
            "{answer:?}: {got}"
        );
    }
    let (_, got, _) = exchange("GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, b"").await;
    assert!(status(&got) == 502 && got.contains("upstream_closed"), "{got}");
}

#[tokio::test]
async fn head_and_304_have_no_body() {
    let (_, got, clean) = exchange(
        "HEAD http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        0,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    assert!(
        clean && got.ends_with("\r\n\r\n") && got.contains("content-length: 5"),
        "{got}"
    );
    let (_, got, clean) = exchange(
        "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        0,
        b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
    )
    .await;
    assert!(clean && status(&got) == 304 && got.ends_with("\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn expect_100_continue_is_passed_on() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let head = format!(
        "POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    assert!(
        read_head(&mut server)
            .await
            .to_ascii_lowercase()
            .contains("expect: 100-continue")
    );
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    assert_eq!(read_exact(&mut server, 4).await, b"body");
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn upgrades_become_tunnels() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let head = format!(
        "GET http://{authority}/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
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
async fn requests_for_somebody_else_are_refused() {
    let proxy = open().await;
    for (request, expected, code) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "not_a_proxy_request",
        ),
        (
            "GET https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "scheme_unsupported",
        ),
        (
            "GET ftp://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "scheme_unsupported",
        ),
        (
            "GET http://u:p@a.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "malformed_target",
        ),
        (
            "GET http://a.example:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "malformed_target",
        ),
        (
            "TRACE http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "method_unsupported",
        ),
    ] {
        let answer = proxy.raw(request.as_bytes()).await;
        assert!(
            status(&answer) == expected && answer.contains(code),
            "{request:?}: {answer}"
        );
    }
    let answer = proxy
        .raw(b"OPTIONS http://a.example/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        .await;
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test]
async fn a_body_in_chunks_is_not_lost_whatever_the_method() {
    for method in ["GET", "DELETE", "PUT"] {
        let request = format!(
            "{method} http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
        );
        let (got, _, _) = exchange(&request, 15, OK).await;
        assert!(
            got.to_ascii_lowercase()
                .contains("transfer-encoding: chunked\r\n")
                && got.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "{got}"
        );
    }
}

#[tokio::test]
async fn an_upload_that_moves_is_not_idle() {
    let limits = Limits {
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let rules = allow(&[], &["127.0.0.0/8"]);
    let (proxy, origin) = (
        start(in_force(rules, &["127.0.0.0/8"]), limits).await,
        origin().await,
    );
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let head = format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    // Twice the idle limit in all, a third of it between two bytes.
    let mut pace = tokio::time::interval(Duration::from_millis(340));
    for _ in 0..6 {
        pace.tick().await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_exact(&mut server, 1).await, b"x");
    }
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_given_up() {
    let limits = Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let rules = allow(&[], &["127.0.0.0/8"]);
    let (proxy, origin) = (
        start(in_force(rules, &["127.0.0.0/8"]), limits).await,
        origin().await,
    );
    let authority = origin.local_addr().unwrap();
    let answer = proxy
        .raw(format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    assert!(
        status(&answer) == 504 && answer.contains("upstream_timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_origin_cannot_speak_for_the_proxy() {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Egressway-Reason: no_rule_matches\r\nX-Egressway-Id: 1\r\nProxy-Status: egressway-proxy; error=http_request_denied\r\n\r\n";
    let (_, got, _) = exchange(request, 0, answer).await;
    let lower = got.to_ascii_lowercase();
    assert!(
        status(&got) == 200 && !lower.contains("x-egressway") && !lower.contains("proxy-status"),
        "{got}"
    );
    // 407 would make a client send the proxy's credentials to whoever asked.
    let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let (_, got, _) = exchange(request, 0, answer).await;
    assert!(status(&got) == 502 && got.contains("upstream_malformed"), "{got}");
}

#[tokio::test]
async fn via_names_the_version_that_was_received() {
    let request = "GET http://ORIGIN/ HTTP/1.0\r\nVia: 1.1 first\r\n\r\n";
    let (got, answer, _) = exchange(request, 0, b"HTTP/1.0 200 OK\r\n\r\nok").await;
    assert!(
        got.contains("via: 1.1 first\r\nvia: 1.0 egressway-proxy\r\n"),
        "{got}"
    );
    assert!(
        answer.contains("via: 1.0 egressway-proxy\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}
