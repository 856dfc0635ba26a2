//! Faults of origins' TLS that look like something else: what is refused has the name of its cause.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/pki.rs"]
mod pki;
mod support;

#[path = "upstream_faults/port.rs"]
mod port;
#[path = "upstream_faults/revocation.rs"]
mod revocation;

use std::time::Duration;

use egressway_core::wire::document::{Secret, UpstreamTls};
use egressway_proxy::server::Limits;
use pki::{HOST, TlsServer, documents, rule};
use support::{Proxy, start, status};
use tokio::io::AsyncWriteExt as _;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// TLS with the roots of Secret `ca`.
fn tls() -> UpstreamTls {
    UpstreamTls {
        ca: Some("ca".to_owned()),
        ..UpstreamTls::default()
    }
}

async fn proxy(tls: UpstreamTls, secrets: &[(&str, Secret)]) -> Proxy {
    let limits = Limits {
        connect: Duration::from_secs(5),
        ..Limits::default()
    };
    let proxy = start(documents(rule(Some(tls), None), secrets), limits).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    proxy
}

/// The answer to one request; the origin answers it with 200 if it gets that far.
async fn asked(proxy: &Proxy, origin: &TlsServer) -> String {
    let request = format!(
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        origin.port()
    );
    let serve = async {
        loop {
            if let Ok(mut stream) = origin.try_accept().await
                && !support::read_head(&mut stream).await.is_empty()
            {
                let _ = stream.write_all(OK).await;
                let _ = stream.shutdown().await;
            }
        }
    };
    tokio::select! {
        answer = proxy.raw(request.as_bytes()) => answer,
        () = serve => unreachable!("the origin serves for ever"),
    }
}

fn assert_code(answer: &str, code: &str, expected: u16) {
    assert_eq!(status(answer), expected, "{answer}");
    assert!(
        answer.contains(&format!("X-Egressway-Reason: {code}\r\n")),
        "{code}: {answer}"
    );
}
