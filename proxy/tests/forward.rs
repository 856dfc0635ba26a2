//! Forwarded `http://` requests on real sockets: which fields and framing each side gets. How an exchange goes on and ends
//! is in `forward_exchange.rs`, which connections to origins are used again in `origin_reuse.rs`, what origins may not
//! say in `http_answers.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{
    OK, accept, dial, exchange, open, origin, quiet, read_all, read_exact, read_head, status, untouched,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

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
async fn bodies_arrive_whole_with_length_and_with_chunks() {
    let request =
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let (got, _, _) = exchange(request, 5, OK).await;
    assert!(
        got.ends_with("\r\n\r\nhello") && got.contains("Content-Length: 5"),
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
    let mut kept = None;
    for n in 0..3 {
        client
            .write_all(format!("GET http://{authority}/{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut server = match kept.take() {
            Some(server) => server,
            None => accept(&origin).await,
        };
        assert!(read_head(&mut server).await.starts_with(&format!("GET /{n} ")));
        server.write_all(OK).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 200 && !head.to_ascii_lowercase().contains("connection: close"),
            "{head}"
        );
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
        kept = Some(server);
    }
    assert!(untouched(&origin).await, "one connection to the origin is enough");
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
    let mut server = accept(&origin).await;
    assert!(read_head(&mut server).await.starts_with("POST /1 "));
    assert_eq!(read_exact(&mut server, 3).await, b"abc");
    assert!(
        quiet(&server).await,
        "the second waits for the answer to the first"
    );
    server.write_all(OK).await.unwrap();
    assert!(read_head(&mut server).await.starts_with("GET /2 "));
    server.write_all(OK).await.unwrap();
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
async fn http_1_0_clients_get_no_chunks() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, answer).await;
    assert!(
        clean && got.ends_with("\r\n\r\nok") && !got.to_ascii_lowercase().contains("chunked"),
        "{got}"
    );
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
        clean && got.ends_with("\r\n\r\n") && got.contains("Content-Length: 5"),
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
        got.contains("Via: 1.1 first\r\nVia: 1.0 egressway-proxy\r\n"),
        "{got}"
    );
    assert!(
        answer.contains("Via: 1.0 egressway-proxy\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
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

/// RFC 9110, 6.6.1: who receives an answer without a date and passes it on says when it came.
#[tokio::test]
async fn every_final_answer_has_one_date() {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let undated = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nConnection: date\r\nDate: then\r\n\r\n";
    let (_, forwarded, _) = exchange(request, 0, undated.as_bytes()).await;
    let (interim, forwarded) = forwarded.split_at(forwarded.find("HTTP/1.1 404").unwrap());
    assert!(!interim.contains("Date"), "{interim}");
    let proxy = open().await;
    let refused = proxy.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let here = "OPTIONS http://a.example/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    let answered = proxy.raw(here.as_bytes()).await;
    for answer in [forwarded, &refused, &answered] {
        let mut dates = answer.lines().filter_map(|line| line.strip_prefix("Date: "));
        let date = dates.next().unwrap_or_else(|| panic!("no date: {answer}"));
        assert_eq!(dates.next(), None, "{answer}");
        let shape: String = date
            .chars()
            .map(|c| match c {
                '0'..='9' => '0',
                'a'..='z' => 'a',
                'A'..='Z' => 'A',
                other => other,
            })
            .collect();
        assert_eq!(shape, "Aaa, 00 Aaa 0000 00:00:00 AAA", "{answer}");
        assert!(date.ends_with(" GMT"), "{answer}");
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
async fn an_origin_hears_that_trailers_are_welcome_only_where_they_are() {
    for (version, te, expected) in [
        ("1.1", "TE: trailers\r\nConnection: TE\r\n", true),
        ("1.1", "te: gzip, Trailers\r\n", true),
        ("1.1", "TE: gzip\r\n", false),
        ("1.1", "TE: trailersx\r\n", false),
        ("1.0", "TE: trailers\r\n", false),
    ] {
        let request = format!("GET http://ORIGIN/ HTTP/{version}\r\nHost: a\r\n{te}\r\n");
        let (got, _, _) = exchange(&request, 0, OK).await;
        let said = got.contains("TE: trailers\r\nConnection: TE\r\n");
        assert_eq!(said, expected, "{te}: {got}");
        assert!(!got.contains("gzip"), "{got}");
    }
}

#[tokio::test]
async fn trailers_go_both_ways_without_those_that_would_change_the_head() {
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: a\r\nx-named: a\r\nProxy-Status: a\r\nx-sum2: 2\r\n";
    let message = format!("2;ext=\"a\"\r\nok\r\n000;b\r\n{trailers}\r\n");
    let expected = "2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum2: 2\r\n\r\n";
    let request = format!(
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Named\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{message}"
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: X-Named\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{message}"
    );
    let (got, answered, clean) = exchange(&request, expected.len(), answer.as_bytes()).await;
    for text in [&got, &answered] {
        assert!(
            text.contains("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n") && text.ends_with(expected),
            "{text}"
        );
    }
    assert!(clean);
    // HTTP/1.0 has no chunks, so no trailers either.
    let (_, answered, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, answer.as_bytes()).await;
    assert!(
        clean && answered.ends_with("\r\n\r\nok") && !answered.contains("Trailer"),
        "{answered}"
    );
}

#[tokio::test]
async fn http_1_0_clients_are_answered_and_left() {
    for wish in [
        "",
        "Connection: keep-alive\r\n",
        "Proxy-Connection: keep-alive\r\n",
    ] {
        let request = format!("GET http://ORIGIN/ HTTP/1.0\r\n{wish}\r\n");
        let (got, answer, clean) = exchange(&request, 0, OK).await;
        assert!(!got.to_ascii_lowercase().contains("keep-alive"), "{got}");
        assert!(
            clean && answer.contains("Content-Length: 2\r\nConnection: close\r\n") && answer.ends_with("ok"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_only_announced_is_not_waited_for() {
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n",
            Some("7"),
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Some("9"),
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            None,
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let request = format!("{method} http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        let got = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        assert!(
            got == length && !head.contains("Transfer-Encoding"),
            "{answer:?}: {head}"
        );
        // The client's connection goes on with the next request.
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = match timeout(Duration::from_millis(50), origin.accept()).await {
            Ok(accepted) => accepted.unwrap().0,
            Err(_) => server,
        };
        assert!(read_head(&mut server).await.starts_with(method));
    }
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
