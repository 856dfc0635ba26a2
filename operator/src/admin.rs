//! Health and metrics: unauthenticated, nothing secret.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::health::Health;

/// Connections at one time: probes and scrapes need two.
const CONNECTIONS_MAX: usize = 64;
/// Longest exchange.
const EXCHANGE: Duration = Duration::from_secs(5);

/// What the port answers from.
#[allow(missing_debug_implementations)]
pub struct Admin {
    /// Caches are filled.
    pub ready: AtomicBool,
    /// The watches that keep them.
    pub health: Arc<Health>,
    /// The metrics.
    pub registry: Registry,
}

/// Binds the port. `[::]` means every address of the pod, also where the node's kernel has no IPv6.
///
/// # Errors
/// The operating system's.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => match instead(address, &error) {
            Some(address) => TcpListener::bind(address).await,
            None => Err(error),
        },
    }
}

/// Every IPv4 address instead of every address, unless the port itself is what is wrong.
fn instead(address: SocketAddr, error: &std::io::Error) -> Option<SocketAddr> {
    let every = address.is_ipv6() && address.ip().is_unspecified();
    let port = matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied);
    (every && !port).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

impl Admin {
    /// Answers until `stop`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = open.join_next() => continue,
                accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            open.spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let answer = admin.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that is slow or breaks off is not worth a line.
                let _ = timeout(EXCHANGE, connection).await;
            });
        }
    }

    fn unready(&self) -> Option<String> {
        if self.ready.load(Ordering::Relaxed) {
            return self.health.unready();
        }
        let why = self.health.trouble(Duration::ZERO).unwrap_or_default();
        Some(format!("caches are being filled\n{why}"))
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, body) = match path {
            "/livez" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/readyz" => match self.unready() {
                None => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", why),
            },
            "/metrics" => {
                let mut text = String::new();
                match encode(&mut text, &self.registry) {
                    Ok(()) => (
                        StatusCode::OK,
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                        text,
                    ),
                    Err(_) => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "text/plain",
                        "failed to encode\n".to_owned(),
                    ),
                }
            }
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain",
                "try /livez /readyz /metrics\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;
    use crate::cluster::health::{Fault, Watch};
    use crate::context::Wakes;

    #[test]
    fn a_node_without_ipv6_gets_every_ipv4_address() {
        let (no_family, in_use) = (Error::from_raw_os_error(97), Error::from(ErrorKind::AddrInUse));
        let instead = |address: &str, error| instead(address.parse().unwrap(), error).map(|a| a.to_string());
        assert_eq!(instead("[::]:8080", &no_family).as_deref(), Some("0.0.0.0:8080"));
        assert_eq!(
            instead("[::]:8080", &in_use),
            None,
            "somebody else has the port, and that must show"
        );
        assert_eq!(
            instead("[::1]:8080", &no_family),
            None,
            "an address that was asked for is not widened"
        );
        assert_eq!(instead("0.0.0.0:8080", &no_family), None);
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test asks its own listener")]
        let mut stream = socket.connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_is_alive_at_once_and_ready_when_the_caches_are() {
        let mut registry = Registry::default();
        let metrics = crate::metrics::Metrics::register(&mut registry);
        drop(metrics.reconcile("egresspolicy"));
        let (caches, _writers) = crate::cluster::caches::caches();
        let health = Arc::new(Health::new(metrics, Arc::new(Wakes::new(&caches))));
        let admin = Arc::new(Admin {
            ready: AtomicBool::new(false),
            health: Arc::clone(&health),
            registry,
        });
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(Arc::clone(&admin).serve(listener, stop.clone()));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        health.fails(Watch::Nodes, Fault::Unauthorized);
        let answer = get(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("no watch of nodes: 401"),
            "{answer}"
        );
        admin.ready.store(true, Ordering::Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(
            metrics.contains("controller_runtime_reconcile_total{controller=\"egresspolicy\"} 1"),
            "{metrics}"
        );
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        server.await.unwrap();
    }
}
