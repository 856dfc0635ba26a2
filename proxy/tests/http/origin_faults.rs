//! What an origin can do wrong, and what client, log and Proxy-Status say of it: the table of docs/reasons.md, row by row.

use std::fs;
use std::path::Path;
use std::time::Duration;

use egressway_proxy::server::Limits;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

use crate::support::{open_with, origin, read_all, read_exact, read_head, under_way};

/// What the origin does once it has read the request.
enum Fault {
    /// Says this, and waits.
    Says(String),
    /// Says this, and closes.
    Closes(&'static str),
    /// Says this, and resets.
    Resets(&'static str),
}

use Fault::{Closes, Resets, Says};

/// The row of the manual, what the origin does, and what follows: status, code, type of Proxy-Status where the client gets
/// one, and a part of the log's `error.message`.
type Row = (
    &'static str,
    Fault,
    u16,
    &'static str,
    Option<&'static str>,
    &'static str,
);

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn rows() -> Vec<Row> {
    let protocol = Some("http_protocol_error");
    let says = |text: &str| Says(text.to_owned());
    let chunks = |text: &str| Says(format!("{CHUNKED}{text}"));
    let malformed = |row, fault, what| (row, fault, 502, "upstream_malformed", protocol, what);
    let many = "A: b\r\n".repeat(101);
    let long = format!("A: {}\r\n", "b".repeat(64 * 1024));
    vec![
        malformed(
            "something in front of the status line",
            says("Warning: undefined variable\r\nHTTP/1.1 200 OK\r\n\r\n"),
            "does not begin with a status line",
        ),
        malformed(
            "a line that ends with LF alone",
            says("HTTP/1.1 200 OK\nA: b\n\n"),
            "a line ends with LF alone",
        ),
        malformed(
            "a blank or another odd byte in a field name",
            says("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n"),
            "a field name is not a token",
        ),
        malformed(
            "a control byte in the head",
            says("HTTP/1.1 200 OK\r\nA: \u{1}\r\n\r\n"),
            "the head has a control byte",
        ),
        malformed(
            "more than 100 fields",
            says(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
            "the head has more than 100 fields",
        ),
        malformed(
            "a head of more than 64 KiB",
            says(&format!("HTTP/1.1 200 OK\r\n{long}\r\n")),
            "the head is longer than 64 KiB",
        ),
        malformed(
            "Transfer-Encoding twice",
            says(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            "more than one Transfer-Encoding",
        ),
        malformed(
            "Transfer-Encoding other than chunked",
            says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
            "Transfer-Encoding is something else than chunked",
        ),
        malformed(
            "Content-Length twice",
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
            "more than one Content-Length",
        ),
        malformed(
            "Content-Length beside Transfer-Encoding",
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "Content-Length beside Transfer-Encoding",
        ),
        malformed(
            "Content-Length that is no number",
            says("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
            "Content-Length is not a number",
        ),
        malformed(
            "407, which is a proxy's to say",
            says("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
            "only a proxy may answer 407",
        ),
        malformed(
            "101 that nobody asked for",
            says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
            "101 without an offer",
        ),
        malformed(
            "more than 16 interim answers",
            says(&"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17)),
            "more than 16 interim answers",
        ),
        malformed(
            "a first chunk without a size",
            chunks("x\r\n"),
            "a chunk size is malformed",
        ),
        malformed(
            "a blank behind the first chunk's size",
            chunks("5 \r\nhello\r\n"),
            "a blank stands behind a chunk size",
        ),
        (
            "the same in a later chunk",
            chunks("5\r\nhello\r\n5 \r\nworld\r\n"),
            200,
            "upstream_malformed",
            None,
            "a blank stands behind a chunk size",
        ),
        (
            "a later chunk that is longer than its size",
            chunks("5\r\nhello\r\n2\r\nabc\r\n"),
            200,
            "upstream_malformed",
            None,
            "a chunk is longer than its size",
        ),
        (
            "trailers that are no fields",
            chunks("5\r\nhello\r\n0\r\nA : b\r\n\r\n"),
            200,
            "upstream_malformed",
            None,
            "the trailers are malformed",
        ),
        (
            "the end before an answer",
            Closes(""),
            502,
            "upstream_closed",
            Some("http_response_incomplete"),
            "",
        ),
        (
            "a reset before an answer",
            Resets(""),
            502,
            "upstream_closed",
            Some("http_response_incomplete"),
            "",
        ),
        (
            "the end within a body",
            Closes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
            200,
            "origin_reset",
            None,
            "",
        ),
        (
            "a reset within a body",
            Resets("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
            200,
            "origin_reset",
            None,
            "",
        ),
        (
            "no answer for `timeouts.idle`",
            says(""),
            504,
            "upstream_timeout",
            Some("http_response_timeout"),
            "",
        ),
        (
            "silence within a body for `timeouts.idle`",
            says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
            200,
            "idle_timeout",
            None,
            "",
        ),
        (
            "a length past `limits.responseBody`",
            says("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"),
            502,
            "response_too_large",
            Some("http_response_body_size"),
            "",
        ),
    ]
}

#[tokio::test]
async fn each_fault_of_an_origin_is_told_to_the_client_and_in_the_log_and_stands_in_the_manual() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let manual = fs::read_to_string(manual).unwrap();
    let limits = Limits {
        idle: Duration::from_secs(1),
        response_bytes_max: Some(1_000_000),
        ..Limits::default()
    };
    let mut wrong = Vec::new();
    for (row, fault, expected, code, kind, message) in rows() {
        let (proxy, origin) = (open_with(limits).await, origin().await);
        let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut client, mut server) = under_way(&proxy, &origin, request).await;
        read_head(&mut server).await;
        let text = match &fault {
            Says(text) => text.as_str(),
            Closes(text) | Resets(text) => text,
        };
        // What breaks off an answer comes once the client has a part of it.
        let (first, rest) = match text.find("hello").filter(|_| kind.is_none()) {
            Some(at) => text.split_at(at + "hello".len()),
            None => (text, ""),
        };
        server.write_all(first.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while kind.is_none() && !answer.ends_with(b"hello") {
            answer.extend(read_exact(&mut client, 1).await);
        }
        let _ = server.write_all(rest.as_bytes()).await;
        let open = match fault {
            Says(_) => Some(server),
            Closes(_) => {
                drop(server);
                None
            }
            Resets(_) => {
                SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
                drop(server);
                None
            }
        };
        let (more, clean) = read_all(&mut client).await;
        drop(open);
        answer.extend(more);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let reason = format!("\"egress.reason\":\"{code}\"");
        let line = proxy.logged(&[&reason]).await;
        let told = match kind {
            Some(kind) => {
                answer.contains(&format!("Proxy-Status: egressway-proxy; error={kind};"))
                    && answer.contains(&format!("X-Egressway-Reason: {code}\r\n"))
            }
            // What the client has read a part of is broken off, and nothing can be added.
            None => !clean && !answer.contains("Proxy-Status"),
        };
        let logged = message.is_empty() || (line.contains("\"error.message\":\"") && line.contains(message));
        let client = match kind {
            Some(kind) => format!("{expected} `{code}`, `error={kind}`"),
            None => format!("{expected}, then a reset"),
        };
        // Interim answers come first.
        let has_status = format!("HTTP/1.1 {expected} ");
        let listed = format!("| {row} | {client} | `{code}` | {message} |\n");
        if !answer.contains(&has_status) || !told || !logged || !manual.contains(&listed) {
            wrong.push(format!("{listed}\n  {answer:?}\n  {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
