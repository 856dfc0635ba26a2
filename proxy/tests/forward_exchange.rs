//! How a forwarded exchange goes on and ends: interim answers, upgrades, early answers, large bodies, limits, silence.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use egressway_proxy::server::Limits;
use support::{
    DEADLINE, OK, accept, allow, dial, exchange, in_force, open, origin, quiet, read_all, read_exact,
    read_head, start, status, untouched,
};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::time::timeout;

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
    assert_eq!(
        read_head(&mut client).await,
        "HTTP/1.1 100 Continue\r\nVia: 1.1 egressway-proxy\r\n\r\n"
    );
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
async fn whoever_says_nothing_is_to_blame() {
    let limits = Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let rules = allow(&[], &["127.0.0.0/8"]);
    let proxy = start(in_force(rules, &["127.0.0.0/8"]), limits).await;
    for (fields, answer, reason) in [
        ("", "", "upstream_timeout"),
        (
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "",
            "upstream_timeout",
        ),
        ("Content-Length: 5\r\n", "", "client_reset"),
        (
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "client_reset",
        ),
        ("", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "idle_timeout"),
    ] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let request = format!("PUT http://{authority}/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        let (_, clean) = read_all(&mut client).await;
        assert_eq!(clean, reason == "upstream_timeout", "{fields:?} {answer:?}");
        proxy
            .logged(&[reason, &format!("\"server.port\":{}", authority.port())])
            .await;
    }
}

#[tokio::test]
async fn whoever_reads_nothing_is_to_blame() {
    let limits = Limits {
        idle: Duration::from_millis(200),
        ..Limits::default()
    };
    let rules = allow(&[], &["127.0.0.0/8"]);
    let proxy = start(in_force(rules, &["127.0.0.0/8"]), limits).await;
    let body = vec![b'x'; 64 << 20];
    for (upload, reason) in [(true, "upstream_timeout"), (false, "client_reset")] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap();
        let length = if upload { body.len() } else { 0 };
        let mut client = dial(proxy.address).await;
        let request =
            format!("PUT http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let sent = if upload {
            client.write_all(&body).await
        } else {
            server.write_all(answer.as_bytes()).await.unwrap();
            server.write_all(&body).await
        };
        assert!(sent.is_err(), "nobody reads 64 MiB");
        proxy
            .logged(&[reason, &format!("\"server.port\":{}", authority.port())])
            .await;
    }
}

#[tokio::test]
async fn a_request_under_way_ends_with_its_permission_and_with_the_pod() {
    for (answer, begun) in [("", false), ("HTTP/1.1 200 OK\r\n\r\nhalf", true)] {
        for revoked in [true, false] {
            let (proxy, origin) = (open().await, origin().await);
            let authority = origin.local_addr().unwrap();
            let mut client = dial(proxy.address).await;
            let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            server.write_all(answer.as_bytes()).await.unwrap();
            if begun {
                assert_eq!(status(&read_head(&mut client).await), 200);
                read_exact(&mut client, 9).await;
            }
            let (insecure, reason) = (
                &["127.0.0.0/8"],
                if revoked { "policy_revoked" } else { "killed" },
            );
            if revoked {
                // Another policy that permits it changes nothing.
                proxy
                    .state
                    .set_in_force(in_force(allow(&[], &["127.0.0.0/8"]), insecure));
                assert!(quiet(&client).await);
                proxy
                    .state
                    .set_in_force(in_force(allow(&["a.example"], &[]), insecure));
            } else {
                proxy.kill.cancel();
            }
            assert_eq!(read_all(&mut client).await, (vec![], false), "{reason}");
            read_all(&mut server).await;
            proxy.logged(&[reason]).await;
        }
    }
}

#[tokio::test]
async fn interim_answers_reach_those_who_know_them() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nProxy-Foo: a\r\nConnection: x-hop\r\nX-Hop: a\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok";
    let answer = [&interim[..], last].concat();
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (_, got, clean) = exchange(request, 0, &answer).await;
    let via = "Via: 1.1 egressway-proxy\r\n";
    assert!(clean);
    assert_eq!(
        got,
        format!(
            "HTTP/1.1 100 Continue\r\n{via}\r\nHTTP/1.1 102 Processing\r\n{via}\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n{via}\r\nHTTP/1.1 199 Odd\r\n{via}\r\n\
             HTTP/1.1 200 OK\r\nDate: then\r\n{via}Content-Length: 2\r\nConnection: close\r\n\r\nok"
        )
    );
    let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, &answer).await;
    assert!(
        clean && status(&got) == 200 && got.matches("HTTP/1.").count() == 1,
        "{got}"
    );
}

#[tokio::test]
async fn a_client_need_not_wait_for_100() {
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nbody";
    let (got, answer, clean) = exchange(request, 4, OK).await;
    assert!(
        got.ends_with("\r\n\r\nbody") && status(&answer) == 200 && clean,
        "{got}"
    );
    // Without a body there is nothing to wait for, and HTTP/1.0 has no expectations.
    for request in [
        "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "POST http://ORIGIN/ HTTP/1.0\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let (got, _, _) = exchange(request, 0, OK).await;
        assert!(!got.contains("Expect"), "{got}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_closes_both_connections() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let head =
            format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n{expect}\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 413 && head.contains("Connection: close\r\n"),
            "{head}"
        );
        assert!(
            read_all(&mut server).await.0.is_empty(),
            "the origin's connection ends"
        );
        // What would be the rest of the body is read by nobody as a request.
        client
            .write_all(format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        assert!(read_all(&mut client).await.0.is_empty());
        assert!(untouched(&origin).await);
    }
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

/// Bytes that no shift or cut leaves unnoticed.
fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).unwrap())
        .collect()
}

#[tokio::test]
async fn large_bodies_pass_unchanged_both_ways() {
    const BYTES: usize = 3_000_000;
    for chunked in [false, true] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let client = dial(proxy.address).await;
        let framing = if chunked {
            "Transfer-Encoding: chunked\r\n".to_owned()
        } else {
            format!("Content-Length: {BYTES}\r\n")
        };
        let body = if chunked {
            let mut body = Vec::new();
            for part in pattern(BYTES).chunks(70_001) {
                body.extend_from_slice(format!("{:X};x=\"y\"\r\n", part.len()).as_bytes());
                body.extend_from_slice(part);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            body
        } else {
            pattern(BYTES)
        };
        let request = format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\n{framing}\r\n");
        let request = [request.as_bytes(), &body].concat();
        let answer = [format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes(), &body].concat();
        let (mut reader, mut writer) = client.into_split();
        let send = async { writer.write_all(&request).await.unwrap() };
        let serve = async {
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            assert_eq!(read_body(&mut server, chunked, BYTES).await, pattern(BYTES));
            server.write_all(&answer).await.unwrap();
        };
        let receive = async {
            assert_eq!(status(&read_head(&mut reader).await), 200);
            assert_eq!(read_body(&mut reader, chunked, BYTES).await, pattern(BYTES));
        };
        timeout(DEADLINE, async { tokio::join!(send, serve, receive) })
            .await
            .unwrap();
        proxy
            .logged(&["completed", &format!("\"egress.bytes_sent\":{BYTES}")])
            .await;
    }
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, chunked: bool, count: usize) -> Vec<u8> {
    if !chunked {
        return read_exact(stream, count).await;
    }
    let mut body = Vec::new();
    loop {
        let size = read_line(stream).await;
        let size = usize::from_str_radix(&size, 16).unwrap();
        body.extend(read_exact(stream, size).await);
        assert_eq!(read_line(stream).await, "");
        if size == 0 {
            return body;
        }
    }
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(read_exact(stream, 1).await);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_origin() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    let mut sent = 0;
    // Two kernels' buffers at their largest are 20 MiB; a proxy that gathers would take all of it.
    while sent < 64 << 20 {
        match timeout(Duration::from_millis(300), server.write_all(&chunk)).await {
            Ok(written) => written.unwrap(),
            Err(_) => return,
        }
        sent += 0x10000;
    }
    panic!("the proxy took {sent} bytes that nobody read");
}

#[tokio::test]
async fn an_answer_past_the_limit_is_refused_or_broken_off() {
    let limits = Limits {
        response_bytes_max: Some(5),
        ..Limits::default()
    };
    let rules = allow(&[], &["127.0.0.0/8"]);
    let proxy = start(in_force(rules, &["127.0.0.0/8"]), limits).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // What comes at once, what comes once the client has read that, what the client reads, and whether it ends well.
    for (method, first, then, expected, clean) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "",
            "hello",
            true,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            "",
            "response_too_large",
            true,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            "",
            "200 OK",
            true,
        ),
        (
            "GET",
            &format!("{chunked}5\r\nhello\r\n0\r\n\r\n"),
            "",
            "hello",
            true,
        ),
        (
            "GET",
            &format!("{chunked}6\r\nhello!\r\n0\r\n\r\n"),
            "",
            "response_too_large",
            true,
        ),
        (
            "GET",
            &format!("{chunked}2\r\nhe\r\n"),
            "4\r\nllo!\r\n0\r\n\r\n",
            "2\r\nhe\r\n",
            false,
        ),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhe", "llo!", "2\r\nhe\r\n", false),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhe", "llo", "0\r\n\r\n", true),
    ] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let request =
            format!("{method} http://{authority}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server.write_all(first.as_bytes()).await.unwrap();
        let mut got = String::new();
        if !then.is_empty() {
            got.push_str(&read_head(&mut client).await);
            got.push_str(&String::from_utf8(read_exact(&mut client, 7).await).unwrap());
            server.write_all(then.as_bytes()).await.unwrap();
        }
        drop(server);
        let (rest, ended) = read_all(&mut client).await;
        got.push_str(&String::from_utf8(rest).unwrap());
        assert!(
            got.contains(expected) && ended == clean,
            "{first:?} {then:?}: {got:?}"
        );
        assert!(clean || !got.ends_with("0\r\n\r\n"), "{got:?}");
    }
    proxy
        .logged(&["\"egress.reason\":\"response_too_large\"", "allow"])
        .await;
}
