//! Messages that two parsers could read differently are refused, the connection is closed, and nothing reaches an
//! origin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::{accept, dial, open, origin, read_all, read_exact, read_head, status, untouched};
use tokio::io::AsyncWriteExt as _;

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

#[tokio::test]
async fn connect_is_held_to_the_same_grammar() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut wrong = Vec::new();
    for (message, expected) in [
        ("CONNECT ORIGIN HTTP/1.1\r\n\r\n", 400),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nHost: ORIGIN\r\n\r\n",
            400,
        ),
        (
            "CONNECT ORIGIN HTTP/1.0\r\nHost: ORIGIN\r\nHost: ORIGIN\r\n\r\n",
            400,
        ),
        ("CONNECT ORIGIN HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("CONNECT ORIGIN HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("CONNECT ORIGIN HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("CONNECT ORIGIN HTTP/1.1\nHost: ORIGIN\n\n", 400),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 0, 0\r\n\r\n",
            400,
        ),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 4\r\n\r\nbody",
            400,
        ),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: identity\r\n\r\n",
            501,
        ),
        (
            "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nX: a\r\n b\r\n\r\n",
            400,
        ),
        ("CONNECT ORIGIN HTTP/1.1\r\nHost : ORIGIN\r\n\r\n", 400),
        ("CONNECT ORIGIN HTTP/2.0\r\nHost: ORIGIN\r\n\r\n", 505),
        ("CONNECT ORIGIN HTTP/0.9\r\nHost: ORIGIN\r\n\r\n", 505),
        ("CONNECT ORIGIN\r\n\r\n", 400),
        ("CONNECT http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT /ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT ORIGIN?q HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT * HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT u@ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT u:p@ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT a.example HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT a.example: HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT a.example:0 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT a.example:65616 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT a.example:+443 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT :443 HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("CONNECT ORIGIN ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
        ("connect ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n", 400),
    ] {
        let answer = proxy.raw(message.replace("ORIGIN", &authority).as_bytes()).await;
        if status(&answer) != expected || !answer.contains("Connection: close\r\n") {
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
async fn what_follows_a_good_request_is_judged_as_strictly() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    for second in [
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT evil HTTP/1.1\r\nHost: a\r\n\r\n",
        "garbage behind the body\r\n\r\n",
    ] {
        let mut client = dial(proxy.address).await;
        let first = "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        let third = "GET http://O/third HTTP/1.1\r\nHost: a\r\n\r\n";
        let messages =
            format!("{first}{second}{third}").replace("http://O/", &format!("http://{authority}/"));
        client.write_all(messages.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        assert_eq!(read_exact(&mut server, 4).await, b"body");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200, "{second:?}");
        let (rest, clean) = read_all(&mut client).await;
        let rest = String::from_utf8(rest).unwrap();
        let answers = rest.lines().filter(|line| line.starts_with("HTTP/1.")).count();
        assert!(
            status(&rest) == 400 && answers == 1 && clean,
            "{second:?}: {rest}"
        );
        assert!(untouched(&origin).await, "{second:?}");
    }
}
