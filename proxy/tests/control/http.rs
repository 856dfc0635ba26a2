//! Raw HTTP in both directions: a client that asks once, and servers that answer as they are told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::support::dial;

/// Longer than anything here takes on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Sends raw bytes and reads to the end.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = dial(address).await;
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// GET: the whole answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    raw(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
    .await
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A 200 with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A server whose answer can be changed while it runs. An empty answer is silence.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    heads: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(answer: Vec<u8>) -> Self {
        Self::start_on("127.0.0.1:0", answer, None).await
    }

    pub(crate) async fn start_on(address: &str, answer: Vec<u8>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, heads) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(Vec::new())));
        let (script, seen) = (Arc::clone(&answer), Arc::clone(&heads));
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, seen, tls) = (Arc::clone(&script), Arc::clone(&seen), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &script, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &script, &seen).await;
                            }
                        }
                    }
                });
            }
        }));
        Self {
            address,
            answer,
            heads,
            _task: task,
        }
    }

    pub(crate) fn says(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &Mutex<Vec<u8>>,
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heads
        .lock()
        .unwrap()
        .push(String::from_utf8_lossy(&head).into_owned());
    let answer = answer.lock().unwrap().clone();
    if answer.is_empty() {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
