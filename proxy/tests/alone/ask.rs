//! How these tests ask a proxy.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::alone::{eventually, text};
use crate::support::{self, dial, read_all, status};

/// CONNECT; the stream and the answer's head.
pub(crate) async fn connect(proxy: SocketAddr, target: &str) -> (TcpStream, String) {
    support::connect(proxy, target, "").await
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
