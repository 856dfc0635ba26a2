//! CONNECT is held to the same grammar as a request that is forwarded.

use crate::support::{open, origin, status, untouched};

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
        ("CONNECT ORIGIN HTTP/1.2\r\n\r\n", 400),
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
