//! Which fields and which target each side of a forwarded request gets, and which requests are for somebody else.

use tokio::io::AsyncWriteExt as _;

use crate::support::{OK, accept, dial, exchange, open, origin, read_all, read_head, status};

#[tokio::test]
async fn the_origin_gets_origin_form_and_a_host_from_the_target() {
    let request = "GET http://ORIGIN/a?b=c HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let (got, answer, clean) = exchange(request, 0, OK).await;
    assert!(got.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{got}");
    assert!(
        got.contains("Host: ORIGIN\r\n") && got.contains("Via: 1.1 egressway-proxy\r\n"),
        "{got}"
    );
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok") && clean,
        "{answer}"
    );
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\
                   HTTP2-Settings: a\r\nUpgrade: h2c\r\nX-Egressway-TLS: false\r\nX-WhSentry-TLS: 0\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nProxy-Foo: 1\r\nX-End: kept\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Secret\r\nX-Secret: 1\r\nProxy-Authenticate: Basic\r\nX-End: kept\r\n\r\n";
    let (got, answer, _) = exchange(request, 0, answer).await;
    for text in [&got, &answer] {
        let text = text.to_ascii_lowercase();
        for gone in [
            "x-hop",
            "keep-alive",
            "\nte:",
            "gzip",
            "http2-settings",
            "upgrade",
            "x-egressway",
            "x-whsentry",
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
async fn connection_takes_away_what_it_names_and_never_what_the_proxy_says() {
    for (named, field, kept) in [
        ("authorization", "Authorization: a", false),
        ("Cookie", "Cookie: a", false),
        ("cache-control", "Cache-Control: a", false),
        ("close, x-a", "X-A: a", false),
        ("x-other", "X-A: a", true),
        ("host", "Host: ORIGIN", true),
        ("content-length", "Content-Length: 2", true),
        (
            "transfer-encoding, content-length, host",
            "Content-Length: 2",
            true,
        ),
        ("via", "Via: 1.1 egressway-proxy", true),
        ("via", "Via: 1.0 first", false),
    ] {
        let own = ["Host", "Content-Length"]
            .iter()
            .any(|own| field.starts_with(own));
        let line = if own {
            String::new()
        } else {
            format!("{field}\r\n")
        };
        let request = format!(
            "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: {named}\r\nContent-Length: 2\r\n{line}\r\nok"
        );
        let (got, _, _) = exchange(&request, 2, OK).await;
        assert_eq!(got.contains(&format!("{field}\r\n")), kept, "{named}: {got}");
        assert!(got.ends_with("\r\n\r\nok"), "{got}");
    }
}

#[tokio::test]
async fn fields_keep_their_order_and_spelling() {
    let request = "POST http://ORIGIN/p%41th?q=%zz&[] HTTP/1.1\r\nx-B:1\r\nHOST: other\r\nX-a: \t2  3 \r\nCoNtEnT-LeNgTh: 003\r\n\
                   cookie: c=d\r\nx-b: \u{e4}\"4\r\nempty:\r\nExpect: 100-Continue\r\n\r\nabc";
    let (got, _, _) = exchange(request, 3, OK).await;
    assert_eq!(
        got,
        "POST /p%41th?q=%zz&[] HTTP/1.1\r\nHost: ORIGIN\r\nx-B: 1\r\nX-a: 2  3\r\ncookie: c=d\r\nx-b: \u{e4}\"4\r\n\
         empty: \r\nExpect: 100-Continue\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 3\r\n\r\nabc"
    );
    let answer = b"HTTP/1.1 299 odd  phrase\t\xe4\r\nx-B:1\r\nSet-Cookie: a\r\ndaTE: then\r\nX-a: 2\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nok";
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    server.write_all(answer).await.unwrap();
    let (got, clean) = read_all(&mut client).await;
    let expected =
        b"HTTP/1.1 299 odd  phrase\t\xe4\r\nx-B: 1\r\nSet-Cookie: a\r\ndaTE: then\r\nX-a: 2\r\nset-cookie: b\r\n\
        Via: 1.1 egressway-proxy\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    assert!(clean && got == expected, "{}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn via_names_the_version_that_was_received() {
    let request = "GET http://ORIGIN/ HTTP/1.0\r\nVia: 1.1 first\r\n\r\n";
    let (got, answer, _) = exchange(request, 0, b"HTTP/1.0 200 OK\r\n\r\nok").await;
    assert!(
        got.contains("Via: 1.1 first\r\nVia: 1.0 egressway-proxy\r\n"),
        "{got}"
    );
    assert!(
        answer.contains("Via: 1.0 egressway-proxy\r\n") && answer.ends_with("\r\n\r\nok"),
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
async fn max_forwards_of_options_is_counted_down() {
    for (given, expected) in [("1", "Max-Forwards: 0\r\n"), ("007", "Max-Forwards: 6\r\n")] {
        let request = format!("OPTIONS http://ORIGIN HTTP/1.1\r\nHost: a\r\nMax-Forwards: {given}\r\n\r\n");
        let (got, _, _) = exchange(&request, 0, OK).await;
        assert!(
            got.starts_with("OPTIONS * HTTP/1.1\r\n") && got.contains(expected),
            "{got}"
        );
    }
    let request = "GET http://ORIGIN?a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    let (got, _, _) = exchange(request, 0, OK).await;
    assert!(
        got.starts_with("GET /?a HTTP/1.1\r\n") && got.contains("Max-Forwards: 0\r\n"),
        "{got}"
    );
}
