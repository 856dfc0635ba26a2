//! Messages that two parsers could read differently are refused, the connection is closed, and nothing reaches an
//! origin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::{open, origin, status, untouched};

#[tokio::test]
async fn hostile_messages_reach_nobody() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut wrong = Vec::new();
    for (message, expected) in [
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5 \r\n\r\nhello",
            0,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
            400,
        ),
        ("GET http://O/ HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\nHost: a\n\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX: \u{1}\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX y: x\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET  http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET\thttp://O/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET http://O/ HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET http://O/\r\n\r\n", 400),
        ("GET http://O/ http/1.1\r\nHost: a\r\n\r\n", 400),
        ("G(T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/#fragment HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0", 400),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\nContent-Length: 0\r\n\r\n",
            417,
        ),
    ] {
        if expected == 0 {
            continue; // optional white space behind a value is no offence
        }
        let message = message.replace("http://O/", &format!("http://{authority}/"));
        let answer = proxy.raw(message.as_bytes()).await;
        if status(&answer) != expected
            || answer.lines().filter(|line| line.starts_with("HTTP/1.")).count() != 1
        {
            wrong.push(format!(
                "{message:?}: expected {expected}, got {:?}",
                answer.lines().next().unwrap_or("")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await, "nothing may reach the origin");
}

#[tokio::test]
async fn a_head_has_bounds() {
    let proxy = open().await;
    let long = format!(
        "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(33 * 1024)
    );
    let many = format!(
        "GET http://a.example/ HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(101)
    );
    for message in [long, many] {
        let answer = proxy.raw(message.as_bytes()).await;
        assert!(
            status(&answer) == 431 && answer.contains("head_too_large"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_exchange_without_an_answer_from_the_origin() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX",
        "-5\r\nhello",
        "5;\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let head = format!(
            "POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        let answer = proxy.raw(head.as_bytes()).await;
        assert!(
            status(&answer) == 400 && answer.contains("malformed_request"),
            "{body:?}: {answer}"
        );
    }
}
