//! How these tests ask a proxy.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::alone::{eventually, text};
use crate::support::{dial, read_all, read_head, status};

/// CONNECT; the stream and the answer's head.
pub(crate) async fn connect(proxy: SocketAddr, target: &str) -> (TcpStream, String) {
    connect_with(proxy, target, "").await
}

pub(crate) async fn connect_with(proxy: SocketAddr, target: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = dial(proxy).await;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head)
}

pub(crate) async fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = dial(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    text(&read_all(&mut stream).await.0)
}

/// Waits until a CONNECT to the target is answered so.
pub(crate) async fn answered(proxy: SocketAddr, target: &str, expected: u16) {
    eventually(&format!("{target} is answered {expected}"), async || {
        let (_, head) = connect(proxy, target).await;
        (status(&head) == expected).then_some(())
    })
    .await;
}
