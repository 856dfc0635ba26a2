//! Bodies whose end two parsers could see in different places are refused, or the exchange is broken off.

use tokio::io::AsyncWriteExt as _;

use super::{Hostile, assert_refused};
use crate::chunks::MALFORMED_CHUNKS;
use crate::support::{accept, dial, open, origin, read_all, status, untouched};

#[tokio::test]
async fn a_body_without_one_clear_end_reaches_nobody() {
    assert_refused(BOTH).await;
    assert_refused(LENGTHS).await;
    assert_refused(CODINGS).await;
}

/// A length and chunks at once, in either order.
const BOTH: Hostile = &[(
    400,
    &[
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)];

/// Lengths that are none, or more than one.
const LENGTHS: Hostile = &[(
    400,
    &[
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 0\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: ,5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\u{b}\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0b101\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5;a\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: \u{665}\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775813\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent Length: 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\nhello",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n 6\r\n\r\nhello",
    ],
)];

/// Transfer codings other than exactly `chunked`, once, and spelled as it should be.
const CODINGS: Hostile = &[
    (
        501,
        &[
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \u{e4}\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        ],
    ),
    (
        400,
        &[
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{b}\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{c}\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\u{b}: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\n\u{e4}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n",
            "GET http://O/ HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
        ],
    ),
];

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
