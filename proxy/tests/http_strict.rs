//! Messages that two parsers could read differently are refused, the connection is closed, and nothing reaches an
//! origin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::{
    MALFORMED_CHUNKS, accept, dial, open, origin, read_all, read_exact, read_head, status, untouched,
};
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
        // Framing that two parsers could read differently.
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \u{e4}\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{b}\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{c}\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\u{b}: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\n\u{e4}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET http://O/ HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 0\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: ,5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\u{b}\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0b101\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5;a\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: \u{665}\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775813\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent Length: 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\nhello",
            400,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n 6\r\n\r\nhello",
            400,
        ),
        // Lines and fields.
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n\r \r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\n\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX: a\u{8}b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n\0X: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX(y): a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX@y: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX\u{e4}: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n:a: b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400),
        (
            "GET http://O/ HTTP/1.1\r\nHost: a\r\nGET http://O/ HTTP/1.1\r\n\r\n",
            400,
        ),
        ("GET http://O/ HTTP/1.1\r\nHost: a\r\nX\r\nY: z\r\n\r\n", 400),
        // Host.
        ("GET http://O/ HTTP/1.1\r\nHost: O\r\nHost: O\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: O\r\nhost: evil\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.0\r\nHost: O\r\nHost: evil\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost: a\u{e4}\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nHost : O\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\r\nX-Host: O\r\n\r\n", 400),
        // The request line.
        ("GET http://O/ HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" GET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\tGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.1\t\r\nHost: a\r\n\r\n", 400),
        ("GET\u{b}http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/<a> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/?a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ \r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/01.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/1,1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP /1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ XTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O/ HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("GET http://O/ HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("GET\r\n\r\n", 400),
        ("\u{80}\r\n\r\n", 400),
        ("G\u{e4}T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G,T http://O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // RFC 9112, 3: a method longer than any that is known.
        (
            "GETGETGETGETGETGETGETGETGETGETGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            501,
        ),
        // The target.
        ("GET http://user@O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://user:pass@O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://@O/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://O\\@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:0/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:65536/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:+80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:-80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:0x50/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://:/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example::/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example%00/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a.example%2f/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a..example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://.a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://0x7f.1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://2130706433/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://127.1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://[::1%25lo]/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://[a.example]/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///path HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET http:// HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET http:/O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET http:O HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET //O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET ://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET /http://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET ?http://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET O HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET ws://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET file:///etc/passwd HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("GET hhttp://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 400),
        ("TRACE http://O/ HTTP/1.1\r\nHost: O\r\n\r\n", 405),
        // Expectations and forwards.
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            417,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello",
            417,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            417,
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nExpect:\r\n 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        (
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: -1\r\n\r\n",
            400,
        ),
        (
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n",
            400,
        ),
        (
            "OPTIONS http://O/ HTTP/1.1\r\nHost: a\r\nMax-Forwards:\r\n\r\n",
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
        let message = message.replace("http://O/", &format!("http://{authority}/"));
        // Whoever refuses one message must not read what stands behind it as another.
        let message = format!("{message}GET http://{authority}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
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

#[tokio::test]
async fn a_malformed_chunk_ends_the_exchange_and_the_origin_gets_no_whole_request() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let smuggled = format!("GET http://{authority}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wrong = Vec::new();
    for body in MALFORMED_CHUNKS {
        for cut in [0, body.len() / 2] {
            let head =
                format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (now, later) = body.split_at(cut);
            let mut client = dial(proxy.address).await;
            client.write_all((head + now).as_bytes()).await.unwrap();
            let mut server = accept(&origin).await;
            // At once or in two parts: what stands in front of the mistake may pass, its end may not.
            let _ = client.write_all((later.to_owned() + &smuggled).as_bytes()).await;
            let (answer, _) = read_all(&mut client).await;
            let answer = String::from_utf8_lossy(&answer);
            let (got, _) = read_all(&mut server).await;
            let got = String::from_utf8_lossy(&got);
            let answers = answer.lines().filter(|line| line.starts_with("HTTP/1.")).count();
            if status(&answer) != 400
                || answers != 1
                || !answer.contains("malformed_request")
                || got.contains("smuggled")
                || got.ends_with("0\r\n\r\n")
            {
                wrong.push(format!("{body:?} cut at {cut}: {answer:?}, {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await);
}

#[tokio::test]
async fn what_is_odd_but_clear_passes_and_is_framed_anew() {
    let proxy = open().await;
    for (message, expected) in [
        (
            "GET HTTP://O/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "\r\nGET http://O/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        // RFC 9112, 3.2.2: a proxy ignores the Host that it received, if it is one: an empty one is.
        (
            "GET http://O/ HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "GET http://O/ HTTP/1.1\r\nHost: evil.example:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "get http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "QUERY http://O/a/../b//c;d?e=/f HTTP/1.1\r\nHost: a\r\nContent-Length:\t 5 \t\r\n\r\nhello",
            "QUERY /a/../b//c;d?e=/f HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "GET http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t CHUNKED \r\n\r\n2;a=b;c=\"d\\\"\"\r\nab\r\n00003\r\ncde\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        ),
        // Servers behind CGI and WSGI read an underscore as a hyphen.
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\nProxy_Authorization: a\r\nX_A: b\r\nContent-Length: 2\r\n\r\nok",
            "POST / HTTP/1.1\r\nHost: O\r\nX_A: b\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 2\r\n\r\nok",
        ),
    ] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap().to_string();
        let spelled = message.replace("//O/", &format!("//{authority}/"));
        let mut client = dial(proxy.address).await;
        // And another behind it, which begins exactly where the first ends.
        let second = format!("GET http://{authority}/second HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all((spelled + &second).as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        let expected = expected.replace("Host: O", &format!("Host: {authority}"));
        let got = read_exact(&mut server, expected.len()).await;
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{message:?}");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_head(&mut server).await.starts_with("GET /second "),
            "{message:?}"
        );
        assert_eq!(status(&read_head(&mut client).await), 200);
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
        "\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "bodyPOST http://O/ HTTP/1.1\r\n\r\n",
        "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
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
