//! Answers that two parsers could read differently become 502, or break off where the client has read a part; whatever
//! an origin says, its connection is not used again after it, and no answer is presented as complete that is not.

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::chunks::MALFORMED_CHUNKS;
use crate::support::{Proxy, open, origin, read_all, read_exact, read_head, status, under_way, untouched};

/// A request under way: the client, and the origin's side of it.
async fn asked(proxy: &Proxy, origin: &TcpListener) -> (TcpStream, TcpStream) {
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nX-Tag: 1\r\n\r\n";
    let (client, mut server) = under_way(proxy, origin, request).await;
    read_head(&mut server).await;
    (client, server)
}

const HOSTILE: &[&str] = &[
    // Framing.
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\u{b}\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: \"2\"\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // Lines.
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
    "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\r\n\td\r\n\r\n",
    "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: \u{1b}[2J\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA\r\n\r\n",
    "HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 \0\r\n\r\n",
    // The status line.
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    " HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1\t200 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 2x0 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/1.1 600 OK\r\n\r\n",
    "HTTP/1.1 -20 OK\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "HTTP/1.10 200 OK\r\n\r\n",
    "HTTP/1.x 200 OK\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/0.9 200 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "<html>\r\n\r\n",
    "SSH-2.0-OpenSSH_9\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\0",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    // What nobody asked for, and what only a proxy may say.
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    // Interim answers have no body.
    "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[tokio::test]
async fn hostile_answers_reach_nobody() {
    let (proxy, origin) = (open().await, origin().await);
    let mut wrong = Vec::new();
    for answer in HOSTILE {
        let behind = "HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n";
        let (mut client, mut server) = asked(&proxy, &origin).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        let _ = server.write_all(behind.as_bytes()).await;
        let (got, _) = read_all(&mut client).await;
        let got = String::from_utf8_lossy(&got);
        let heads = got.lines().filter(|line| line.starts_with("HTTP/1.")).count();
        if status(&got) != 502 || heads != 1 || !got.contains("upstream_malformed") {
            wrong.push(format!("{answer:?}: {got:?}"));
        }
        read_all(&mut server).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await, "no request is repeated");
}

#[tokio::test]
async fn malformed_chunks_become_502_or_break_the_answer_off() {
    let (proxy, origin) = (open().await, origin().await);
    let mut wrong = Vec::new();
    for body in MALFORMED_CHUNKS {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (mut client, mut server) = asked(&proxy, &origin).await;
        server.write_all([head, body].concat().as_bytes()).await.unwrap();
        let (got, _) = read_all(&mut client).await;
        let at_once = String::from_utf8_lossy(&got).into_owned();
        read_all(&mut server).await;

        // Once the client has read a part of the answer, only a reset can tell.
        let (mut client, mut server) = asked(&proxy, &origin).await;
        server
            .write_all([head, "1\r\nx\r\n"].concat().as_bytes())
            .await
            .unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        assert_eq!(read_exact(&mut client, 6).await, b"1\r\nx\r\n");
        server.write_all(body.as_bytes()).await.unwrap();
        let (got, clean) = read_all(&mut client).await;
        let later = String::from_utf8_lossy(&got);
        read_all(&mut server).await;
        if status(&at_once) != 502 || clean || later.ends_with("0\r\n\r\n") || later.contains("HTTP/1.") {
            wrong.push(format!("{body:?}: {at_once:?}, then {later:?}, clean: {clean}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await);
}

#[tokio::test]
async fn an_end_too_early_is_never_a_clean_one() {
    let (proxy, origin) = (open().await, origin().await);
    for (answer, expected) in [
        ("", 502),
        ("HTTP/1.1 200 OK", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 502),
        ("HTTP/1.1 100 Continue\r\n\r\n", 100),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
            200,
        ),
    ] {
        for reset in [false, true] {
            let (mut client, mut server) = asked(&proxy, &origin).await;
            server.write_all(answer.as_bytes()).await.unwrap();
            if reset {
                server.set_zero_linger().unwrap();
            }
            drop(server);
            let (got, clean) = read_all(&mut client).await;
            let got = String::from_utf8(got).unwrap();
            // A reset may overtake what was sent before it.
            let refused = got.contains("X-Egressway-Reason: upstream_closed");
            assert!(
                refused || (reset && got.is_empty()) || status(&got) == expected,
                "{answer:?}: {got}"
            );
            assert_eq!(clean, refused, "{answer:?}: {got}");
            assert!(!got.ends_with("0\r\n\r\n"), "{answer:?}: {got}");
        }
    }
    // Only a body that ends with its connection may end so; a reset is not an end.
    for reset in [false, true] {
        let (mut client, mut server) = asked(&proxy, &origin).await;
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        assert_eq!(read_exact(&mut client, 10).await, b"5\r\nhello\r\n");
        if reset {
            server.set_zero_linger().unwrap();
            drop(server);
            assert_eq!(read_all(&mut client).await, (vec![], false));
        } else {
            drop(server);
            assert_eq!(read_exact(&mut client, 5).await, b"0\r\n\r\n");
        }
    }
}

#[tokio::test]
async fn answers_have_bounds() {
    let (proxy, origin) = (open().await, origin().await);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let fields = |count: usize| format!("{ok}{}\r\n", "X: y\r\n".repeat(count - 1));
    let long = |bytes: usize| format!("{ok}X: {}\r\n\r\n", "x".repeat(bytes - ok.len() - 7));
    for (answer, expected) in [
        (fields(100), 200),
        (fields(101), 502),
        (long(64 * 1024), 200),
        (long(64 * 1024 + 1), 502),
        (format!("{}{ok}\r\n", interim.repeat(16)), 200),
        (format!("{}{ok}\r\n", interim.repeat(17)), 502),
    ] {
        let (mut client, mut server) = asked(&proxy, &origin).await;
        let _ = server.write_all(answer.as_bytes()).await;
        let mut head = read_head(&mut client).await;
        while status(&head) == 103 {
            head = read_head(&mut client).await;
        }
        assert_eq!(status(&head), expected, "{} bytes", answer.len());
    }
    let endless = ";a=b".repeat(200);
    let body = format!("1{endless}\r\nx\r\n").repeat(30);
    let (mut client, mut server) = asked(&proxy, &origin).await;
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n");
    let _ = server.write_all(answer.as_bytes()).await;
    let (got, _) = read_all(&mut client).await;
    assert!(!got.ends_with(b"0\r\n\r\n"), "extensions have a bound");
}

#[tokio::test]
async fn one_byte_at_a_time_is_the_same_answer() {
    let (proxy, origin) = (open().await, origin().await);
    let answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let (mut client, mut server) = asked(&proxy, &origin).await;
    server.set_nodelay(true).unwrap();
    for byte in answer.as_bytes() {
        server.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&read_head(&mut client).await), 103);
    assert_eq!(status(&read_head(&mut client).await), 200);
    // Chunks may be cut anew, their bytes and the trailers may not.
    let rest = String::from_utf8(read_to(&mut client, b"X-Sum: 1\r\n\r\n").await).unwrap();
    assert!(
        rest == "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n" || rest == "1\r\no\r\n1\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n",
        "{rest:?}"
    );
}

async fn read_to(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.extend(read_exact(stream, 1).await);
    }
    bytes
}
