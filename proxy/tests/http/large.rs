//! Bodies larger than any buffer: they pass unchanged, and whoever does not read holds up whoever writes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{DEADLINE, accept, dial, open, origin, read_exact, read_head, status};

#[tokio::test]
async fn large_bodies_pass_unchanged_both_ways() {
    const BYTES: usize = 3_000_000;
    for chunked in [false, true] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let client = dial(proxy.address).await;
        let framing = if chunked {
            "Transfer-Encoding: chunked\r\n".to_owned()
        } else {
            format!("Content-Length: {BYTES}\r\n")
        };
        let body = if chunked {
            let mut body = Vec::new();
            for part in pattern(BYTES).chunks(70_001) {
                body.extend_from_slice(format!("{:X};x=\"y\"\r\n", part.len()).as_bytes());
                body.extend_from_slice(part);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            body
        } else {
            pattern(BYTES)
        };
        let request = format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\n{framing}\r\n");
        let request = [request.as_bytes(), &body].concat();
        let answer = [format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes(), &body].concat();
        let (mut reader, mut writer) = client.into_split();
        let send = async { writer.write_all(&request).await.unwrap() };
        let serve = async {
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            assert_eq!(read_body(&mut server, chunked, BYTES).await, pattern(BYTES));
            server.write_all(&answer).await.unwrap();
        };
        let receive = async {
            assert_eq!(status(&read_head(&mut reader).await), 200);
            assert_eq!(read_body(&mut reader, chunked, BYTES).await, pattern(BYTES));
        };
        timeout(DEADLINE, async { tokio::join!(send, serve, receive) })
            .await
            .unwrap();
        proxy
            .logged(&["completed", &format!("\"egress.bytes_sent\":{BYTES}")])
            .await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_origin() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    let mut sent = 0;
    // Two kernels' buffers at their largest are 20 MiB; a proxy that gathers would take all of it.
    while sent < 64 << 20 {
        match timeout(Duration::from_millis(300), server.write_all(&chunk)).await {
            Ok(written) => written.unwrap(),
            Err(_) => return,
        }
        sent += 0x10000;
    }
    panic!("the proxy took {sent} bytes that nobody read");
}

/// Bytes that no shift or cut leaves unnoticed.
fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).unwrap())
        .collect()
}

async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, chunked: bool, count: usize) -> Vec<u8> {
    if !chunked {
        return read_exact(stream, count).await;
    }
    let mut body = Vec::new();
    loop {
        let size = read_line(stream).await;
        let size = usize::from_str_radix(&size, 16).unwrap();
        body.extend(read_exact(stream, size).await);
        assert_eq!(read_line(stream).await, "");
        if size == 0 {
            return body;
        }
    }
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(read_exact(stream, 1).await);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).unwrap()
}
