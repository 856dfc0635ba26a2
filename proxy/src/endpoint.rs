//! A small, bounded HTTP/1 listener: what admin, report and observer stand on.
//!
//! One request a connection, a bound on connections, on the head and on the whole exchange, so that none of the three
//! can be used up by clients that are slow or many; and a few spare descriptors ([`spare`]), so that each answers when
//! the data path has taken all others. It is not the proxy's data path and never connects anywhere.

mod spare;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::spare::Spare;

/// Most bytes of a request head; hyper takes no smaller buffer, and none of our requests needs more.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of the body of a PUT: a filter of log levels, and nothing else is put.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Most header fields.
const FIELDS_MAX: usize = 32;
/// Pause after a failed accept once no spare descriptor is left: a retry at once would not cure it.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What one endpoint allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once; one more takes the place of the oldest.
    pub connections: usize,
    /// From accept to the last byte of the answer.
    pub exchange: Duration,
}

/// The answer of an endpoint.
pub type Answer = Response<Full<Bytes>>;

/// Where requests are accepted.
#[derive(Debug)]
pub struct Endpoint {
    /// For logs.
    pub name: &'static str,
    /// Bound already, so that its address is known before anything starts.
    pub listener: TcpListener,
    /// What it allows.
    pub limits: Limits,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Endpoint {
    /// Serves until `stop`, then cuts what is left: every exchange is short and can be asked again.
    pub async fn serve<H>(self, stop: CancellationToken, handler: H)
    where
        H: Fn(SocketAddr, &Request<Bytes>) -> Answer + Clone + Send + Sync + 'static,
    {
        let mut running = VecDeque::new();
        let tls = self.tls.clone().map(TlsAcceptor::from);
        let mut exchanges = JoinSet::new();
        let mut spare = Spare::default();
        loop {
            spare.fill(&self.listener);
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = exchanges.join_next() => continue,
                accepted = accept(&self.listener, &mut spare) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    make_room(&mut running, self.limits.connections);
                    let (handler, tls, limit) = (handler.clone(), tls.clone(), self.limits.exchange);
                    running.push_back(exchanges.spawn(async move {
                        // Neither a broken nor a slow client is worth a line: probes and scanners do both all day.
                        let _ = timeout(limit, exchange(stream, peer, tls, handler, limit)).await;
                    }));
                }
                Err(error) => {
                    warn!(
                        endpoint = self.name,
                        error = &error as &dyn std::error::Error,
                        "failed to accept"
                    );
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

/// Whoever asks is answered in milliseconds; what holds a place for longer is slow, or silent on purpose, and waiting for
/// it would keep a health check out.
fn make_room(running: &mut VecDeque<AbortHandle>, max: usize) {
    running.retain(|exchange| !exchange.is_finished());
    while running.len() >= max
        && let Some(oldest) = running.pop_front()
    {
        oldest.abort();
    }
}

async fn accept(listener: &TcpListener, spare: &mut Spare) -> std::io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Ok(accepted),
            Err(error) if out_of_descriptors(&error) && spare.give_up() => {}
            Err(error) => return Err(error),
        }
    }
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

async fn exchange<H>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    handler: H,
    limit: Duration,
) where
    H: Fn(SocketAddr, &Request<Bytes>) -> Answer,
{
    match tls {
        None => answer(stream, peer, handler, limit).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, peer, handler, limit).await;
            }
        }
    }
}

async fn answer<S, H>(stream: S, peer: SocketAddr, handler: H, limit: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(SocketAddr, &Request<Bytes>) -> Answer,
{
    let handler = &handler;
    let service = service_fn(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        // What reads has no body worth waiting for.
        let body = if head.method == Method::PUT {
            match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n")),
            }
        } else {
            Bytes::new()
        };
        Ok::<_, Infallible>(handler(peer, &Request::from_parts(head, body)))
    });
    let _ = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Plain text that nobody may keep.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

/// A body of a content type that nobody may keep.
#[must_use]
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The refusal of any method that does not read.
///
/// # Errors
/// 405 with the methods that are served.
pub fn read_only(method: &Method) -> Result<(), Box<Answer>> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Err(Box::new(answer))
}
