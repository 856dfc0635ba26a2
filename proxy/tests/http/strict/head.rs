//! Request lines, targets and fields that two parsers could read differently are refused.

use super::{Hostile, assert_refused};
use crate::support::{open, status};

#[tokio::test]
async fn a_head_with_two_readings_reaches_nobody() {
    assert_refused(LINES).await;
    assert_refused(TARGETS).await;
    assert_refused(HOSTS).await;
    assert_refused(FIELDS).await;
    assert_refused(ASKED).await;
}

/// The request line.
const LINES: Hostile = &[
    (
        400,
        &[
            "GET http://O/ HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/a b HTTP/1.1\r\nHost: a\r\n\r\n",
            " GET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\tGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.1\t\r\nHost: a\r\n\r\n",
            "GET\u{b}http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            " http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/ \r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.10\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.x\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/01.1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1,1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP /1.1\r\nHost: a\r\n\r\n",
            "GET http://O/ XTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\r\n\r\n",
            "\u{80}\r\n\r\n",
            "G\u{e4}T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "G,T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.1\nHost: a\n\n",
            "GET  http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET\thttp://O/\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://O/\r\n\r\n",
            "GET http://O/ http/1.1\r\nHost: a\r\n\r\n",
            "G(T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\n\r\n\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\rGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\0",
        ],
    ),
    (
        505,
        &[
            "GET http://O/ HTTP/0.9\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/3.0\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET http://O/ HTTP/9.9\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ],
    ),
    // RFC 9112, 3: a method longer than any that is known.
    (
        501,
        &["GETGETGETGETGETGETGETGETGETGETGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n"],
    ),
    (405, &["TRACE http://O/ HTTP/1.1\r\nHost: O\r\n\r\n"]),
    // RFC 9112, 3: a method longer than any that is known.
    (
        501,
        &["GETGETGETGETGETGETGETGETGETGETGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n"],
    ),
];

/// The target.
const TARGETS: Hostile = &[(
    400,
    &[
        "GET http://user@O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user:pass@O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://@O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O\\@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:0/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:65536/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:+80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:-80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:0x50/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://:/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example::/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example%00/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a.example%2f/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a..example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://.a.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://0x7f.1/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://2130706433/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://127.1/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://[::1%25lo]/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://[a.example]/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///path HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET http:/O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET http:O HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET //O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET ://O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET /http://O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET ?http://O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET O HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET ws://O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET file:///etc/passwd HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET hhttp://O/ HTTP/1.1\r\nHost: O\r\n\r\n",
        "GET http://O/\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O/\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O/<a> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O/?a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O/\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://O/#fragment HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)];

/// Host: exactly one, and one that names a host.
const HOSTS: Hostile = &[(
    400,
    &[
        "GET http://O/ HTTP/1.1\r\nHost: O\r\nHost: O\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: O\r\nhost: evil\r\n\r\n",
        "GET http://O/ HTTP/1.0\r\nHost: O\r\nHost: evil\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: :80\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: http://a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\u{e4}\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost : O\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nX-Host: O\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\n\r\n",
        "GET http://O/ HTTP/1.2\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a b\r\n\r\n",
    ],
)];

/// Lines and fields.
const FIELDS: Hostile = &[(
    400,
    &[
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n\r \r\n\r\n",
        "GET http://O/ HTTP/1.1\r\n\nHost: a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\u{8}b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n\0X: a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX(y): a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX@y: a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX\u{e4}: a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n:\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n:a: b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n \r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nGET http://O/ HTTP/1.1\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX\r\nY: z\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX: \u{1}\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nX y: x\r\n\r\n",
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n",
    ],
)];

/// Expectations and forwards.
const ASKED: Hostile = &[
    (
        417,
        &[
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\nContent-Length: 0\r\n\r\n",
        ],
    ),
    (
        400,
        &[
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect:\r\n 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: -1\r\n\r\n",
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n",
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards:\r\n\r\n",
        ],
    ),
];

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
    // RFC 9112, 3: a target that is too long is told apart from fields that are.
    let target = "x".repeat(33 * 1024);
    let longest = format!("GET http://a.example/{target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let endless = format!("GET http://a.example/{target}");
    for (message, expected, code) in [
        (long, 431, "head_too_large"),
        (many, 431, "head_too_large"),
        (longest, 414, "target_too_long"),
        (endless, 414, "target_too_long"),
    ] {
        let answer = proxy.raw(message.as_bytes()).await;
        assert!(status(&answer) == expected && answer.contains(code), "{answer}");
    }
}

/// RFC 9110, 9.3.2: whatever is wrong with it, a HEAD is answered without a body.
#[tokio::test]
async fn a_refused_head_has_no_body() {
    let proxy = open().await;
    for (request, expected) in [
        ("HEAD http://a.example/ HTTP/1.1\r\n\r\n", 400),
        ("HEAD http://a.example/ HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("HEAD http://a.example/ HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("HEAD http://a.example/ HTTP/1.1\nHost: a\n\n", 400),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            "HEAD http://a.example/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: a\r\nProxy-Authorization: a\r\n\r\n",
            400,
        ),
    ] {
        let answer = proxy.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{request:?}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{request:?}: {answer}");
    }
}

/// The code alone does not tell one mistake from another: both sides read which it was.
#[tokio::test]
async fn what_is_malformed_is_told_and_logged() {
    let proxy = open().await;
    for (message, told) in [
        ("\u{5}\u{1}\0", "this port speaks HTTP, not SOCKS"),
        (
            "\u{4}\u{1}\0\u{50}\u{7f}\0\0\u{1}\0",
            "this port speaks HTTP, not SOCKS",
        ),
        ("GET http://a.example/ HTTP/1.1\r\n\r\n", "Host is missing"),
        (
            "CONNECT https://a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "a scheme stands before the host",
        ),
        (
            "CONNECT ::1:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "stands in brackets",
        ),
    ] {
        let answer = proxy.raw(message.as_bytes()).await;
        assert!(
            status(&answer) == 400 && answer.contains(told),
            "{message:?}: {answer}"
        );
        proxy.logged(&["\"error.message\":", told]).await;
        proxy.log.lock().unwrap().clear();
    }
}
