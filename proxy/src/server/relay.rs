//! One forwarded exchange: the client's body to the origin, the origin's answer to the client, both at once.
//!
//! An answer that breaks off is never presented as complete: chunked without its last chunk, a length not reached,
//! or a reset. The request's fields are [`super::forward`]'s, its framing [`super::body`]'s.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{Method, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Server;
use super::body::{Decoder, Step};
use super::connection::Connection;
use super::forward::{StillPermitted, strip_answer, via};
use super::head::{FIELDS_MAX, Head, Version};
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::upstream::{Findings, Upstream};
use crate::state::InForce;
use crate::tunnel::End;

/// Bytes read from a client's body at once.
const READ_BYTES: usize = 16 * 1024;
/// Pieces of a body between client and origin; each is at most [`READ_BYTES`].
const PIECES: usize = 2;
const PROCEED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

type RequestBody = Either<Empty<Bytes>, Channel<Bytes, io::Error>>;

/// What an exchange needs besides its streams.
pub(super) struct Exchange<'a> {
    pub(super) server: &'a Server,
    pub(super) head: &'a Head,
    pub(super) upgrade: bool,
    pub(super) in_force: watch::Receiver<Arc<InForce>>,
}

/// How an exchange ended.
pub(super) enum Outcome {
    /// Nothing was written to the client yet.
    Refused(Reason),
    /// An answer was written, to its end or not.
    Done { ending: Ending, keep_alive: bool },
    /// The protocol changed; a tunnel follows.
    Upgraded { stream: TcpStream, early: Bytes },
}

/// Why the client's body does not go on.
enum Stalled {
    Malformed(Fault),
    Gone,
}

impl Exchange<'_> {
    pub(super) async fn run(
        mut self,
        client: &mut Connection,
        origin: TcpStream,
        outgoing: http::Request<()>,
        request: &mut Request,
        still_permitted: StillPermitted<'_>,
    ) -> Outcome {
        let findings = Arc::new(Findings::default());
        let io = TokioIo::new(Upstream::new(origin, Arc::clone(&findings)));
        let handshake = http1::Builder::new().max_headers(FIELDS_MAX).handshake(io).await;
        let (mut sender, connection) = match handshake {
            Ok(parts) => parts,
            Err(error) => return refused(request, &error, &findings),
        };
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
        let decoder = Decoder::new(self.head.framing);
        let (body, feed) = if decoder.is_done() {
            (Either::Left(Empty::new()), None)
        } else {
            let (feed, channel) = Channel::new(PIECES);
            (Either::Right(channel), Some(feed))
        };
        let sent = Counter::default();
        let kill = client.kill.clone();
        let (mut reader, mut writer) = client.stream.split();
        let mut pump = pin!(pump(
            &mut reader,
            &mut client.buffer,
            decoder,
            feed,
            self.server.limits.idle,
            sent.clone()
        ));
        let mut pumped = false;
        let response = {
            let mut response =
                pin!(sender.send_request(outgoing.map(|()| body) as http::Request<RequestBody>));
            let mut proceeded = !self.head.expects_continue;
            let mut sent_before = 0;
            loop {
                tokio::select! {
                    biased;
                    response = &mut response => match response {
                        Ok(response) => break response,
                        Err(error) => return refused(request, &error, &findings),
                    },
                    stalled = &mut pump, if !pumped => match stalled {
                        Ok(()) => pumped = true,
                        Err(Stalled::Malformed(fault)) => return Outcome::Refused(fault.into()),
                        Err(Stalled::Gone) => return self.done(End::ClientReset, None, &sent, 0, false),
                    },
                    () = findings.proceed.notified(), if !proceeded => {
                        proceeded = true;
                        if writer.write_all(PROCEED).await.is_err() {
                            return self.done(End::ClientReset, None, &sent, 0, false);
                        }
                    }
                    () = sleep(self.server.limits.idle) => {
                        // An upload that moves is not idle, however long it takes.
                        if sent.get() == sent_before {
                            return Outcome::Refused(Fault::UpstreamTimeout.into());
                        }
                        sent_before = sent.get();
                    }
                    () = kill.cancelled() => return self.done(End::Killed, None, &sent, 0, false),
                    revoked = revoked(&mut self.in_force, still_permitted) => {
                        if revoked {
                            return self.done(End::PolicyRevoked, None, &sent, 0, false);
                        }
                    }
                }
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(&mut writer, response).await;
        }
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // Only a proxy may say so (RFC 9110, 15.5.8); passed on, it would fetch the client's proxy credentials.
            return Outcome::Refused(Fault::UpstreamMalformed.into());
        }
        let status = response.status().as_u16();
        let mut answer = Answer::new(&response, self.head);
        let head = answer.head(&response, &self.server.name, pumped);
        let received = Counter::default();
        let relay = answer.relay(
            &head,
            response.into_body(),
            &mut writer,
            self.server.limits.idle,
            &received,
        );
        let mut relay = pin!(relay);
        let end = loop {
            tokio::select! {
                biased;
                end = &mut relay => break end,
                stalled = &mut pump, if !pumped => match stalled {
                    Ok(()) => pumped = true,
                    Err(_) => break End::ClientReset,
                },
                () = kill.cancelled() => break End::Killed,
                revoked = revoked(&mut self.in_force, still_permitted) => if revoked { break End::PolicyRevoked },
            }
        };
        self.server.metrics.bytes_received.inc_by(received.get());
        let keep_alive = pumped && !answer.closes && !self.head.closes;
        self.done(end, Some(status), &sent, received.get(), keep_alive)
    }

    fn done(
        &self,
        end: End,
        status: Option<u16>,
        sent: &Counter,
        received: u64,
        keep_alive: bool,
    ) -> Outcome {
        self.server.metrics.bytes_sent.inc_by(sent.get());
        Outcome::Done {
            ending: Ending {
                end,
                status,
                sent: sent.get(),
                received,
            },
            keep_alive,
        }
    }

    /// 101: the head goes to the client, then the stream is taken back from hyper.
    async fn switch(&self, writer: &mut WriteHalf<'_>, mut response: Response<Incoming>) -> Outcome {
        if !self.upgrade {
            return Outcome::Refused(Fault::UpstreamMalformed.into());
        }
        let upgraded = hyper::upgrade::on(&mut response).await;
        let parts = upgraded
            .ok()
            .and_then(|upgraded| upgraded.downcast::<TokioIo<Upstream>>().ok());
        let Some(parts) = parts else {
            return Outcome::Refused(Fault::UpstreamClosed.into());
        };
        let (stream, left) = parts.io.into_inner().into_parts();
        let mut early = BytesMut::from(parts.read_buf.as_ref());
        early.extend_from_slice(&left);
        let protocol = response.headers().get(UPGRADE).cloned();
        let mut fields = std::mem::take(response.headers_mut());
        strip_answer(&mut fields);
        fields.insert(CONNECTION, http::HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            fields.insert(UPGRADE, protocol);
        }
        fields.append(VIA, via(received_version(&response), &self.server.name));
        let head = print_head(&response, &fields, "");
        match writer.write_all(&head).await {
            Ok(()) => Outcome::Upgraded {
                stream,
                early: early.freeze(),
            },
            Err(_) => self.done(End::ClientReset, None, &Counter::default(), 0, false),
        }
    }
}

/// Resolves when documents changed; true when they no longer permit the request.
async fn revoked(in_force: &mut watch::Receiver<Arc<InForce>>, still_permitted: StillPermitted<'_>) -> bool {
    // The sender lives as long as the process's state.
    in_force.changed().await.is_err() || !still_permitted(&in_force.borrow_and_update())
}

fn refused(request: &mut Request, error: &hyper::Error, findings: &Findings) -> Outcome {
    request.detail = Some(crate::error_chain(error).into());
    let fault = if findings.malformed.load(Ordering::Relaxed) || error.is_parse() {
        Fault::UpstreamMalformed
    } else {
        Fault::UpstreamClosed
    };
    Outcome::Refused(fault.into())
}

/// Reads the client's body to its end; what stands behind it stays in the buffer.
async fn pump(
    reader: &mut ReadHalf<'_>,
    buffer: &mut BytesMut,
    mut decoder: Decoder,
    feed: Option<Sender<Bytes, io::Error>>,
    idle: Duration,
    sent: Counter,
) -> Result<(), Stalled> {
    let Some(mut feed) = feed else { return Ok(()) };
    loop {
        match decoder.decode(buffer) {
            Ok(Step::Data(data)) => {
                sent.inc_by(data.len() as u64);
                if feed.send_data(data).await.is_err() {
                    // The origin has answered without reading on. The rest is read by nobody.
                    return std::future::pending().await;
                }
            }
            // Trailers may be left away (RFC 9110, 6.5.1); none that matters to a request is known.
            Ok(Step::Trailers(_)) => {}
            Ok(Step::End) => return Ok(()),
            Ok(Step::More) => {
                buffer.reserve(READ_BYTES);
                match timeout(idle, reader.read_buf(buffer)).await {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) | Err(_) => {
                        feed.abort(io::ErrorKind::ConnectionAborted.into());
                        return Err(Stalled::Gone);
                    }
                }
            }
            Err(fault) => {
                feed.abort(io::ErrorKind::InvalidData.into());
                return Err(Stalled::Malformed(fault));
            }
        }
    }
}

/// How the answer's end is shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    None,
    Length,
    Chunked,
    Close,
}

struct Answer {
    framing: Outgoing,
    closes: bool,
}

impl Answer {
    fn new(response: &Response<Incoming>, head: &Head) -> Self {
        let status = response.status();
        let bodyless = head.method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match (bodyless, response.body().size_hint().exact(), head.version) {
            (true, _, _) => Outgoing::None,
            (false, Some(_), _) => Outgoing::Length,
            (false, None, Version::Http11) => Outgoing::Chunked,
            (false, None, Version::Http10) => Outgoing::Close,
        };
        Self {
            framing,
            closes: head.closes || framing == Outgoing::Close,
        }
    }

    fn head(&mut self, response: &Response<Incoming>, name: &str, pumped: bool) -> Vec<u8> {
        let mut fields = response.headers().clone();
        strip_answer(&mut fields);
        fields.append(VIA, via(received_version(response), name));
        match self.framing {
            Outgoing::None => {}
            Outgoing::Length => {
                let length = response.body().size_hint().exact().unwrap_or(0);
                fields.insert(CONTENT_LENGTH, http::HeaderValue::from(length));
            }
            Outgoing::Chunked => {
                fields.remove(CONTENT_LENGTH);
                fields.insert(TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
            }
            Outgoing::Close => {
                fields.remove(CONTENT_LENGTH);
            }
        }
        // Answered before the request's body has ended: nobody will read the rest of it.
        self.closes |= !pumped;
        print_head(
            response,
            &fields,
            if self.closes { "Connection: close\r\n" } else { "" },
        )
    }

    /// Writes the head and the whole body; says how it ended.
    async fn relay(
        &self,
        head: &[u8],
        mut body: Incoming,
        writer: &mut WriteHalf<'_>,
        idle: Duration,
        received: &Counter,
    ) -> End {
        if !matches!(timeout(idle, writer.write_all(head)).await, Ok(Ok(()))) {
            return End::ClientReset;
        }
        if self.framing == Outgoing::None {
            return End::Completed;
        }
        loop {
            let data = match timeout(idle, Pin::new(&mut body).frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => data,
                    // Trailers may be left away (RFC 9110, 6.5.1).
                    Ok(_) | Err(_) => continue,
                },
                Ok(Some(Err(_))) => return End::OriginReset,
                Ok(None) => break,
                Err(_) => return End::IdleTimeout,
            };
            received.inc_by(data.len() as u64);
            if !matches!(timeout(idle, self.write(&data, writer)).await, Ok(Ok(()))) {
                return End::ClientReset;
            }
        }
        match self.framing {
            Outgoing::Chunked if writer.write_all(b"0\r\n\r\n").await.is_err() => End::ClientReset,
            Outgoing::None | Outgoing::Length | Outgoing::Chunked | Outgoing::Close => End::Completed,
        }
    }

    async fn write(&self, data: &[u8], writer: &mut WriteHalf<'_>) -> io::Result<()> {
        if self.framing != Outgoing::Chunked {
            return writer.write_all(data).await;
        }
        let mut chunk = Vec::with_capacity(data.len() + 20);
        chunk.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        writer.write_all(&chunk).await
    }
}

fn received_version<B>(response: &Response<B>) -> Version {
    if response.version() == http::Version::HTTP_10 {
        Version::Http10
    } else {
        Version::Http11
    }
}

/// Status line with the origin's own phrase, fields, an extra line, the empty line.
fn print_head<B>(response: &Response<B>, fields: &HeaderMap, extra: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(256 + fields.len() * 32);
    head.extend_from_slice(format!("HTTP/1.1 {} ", response.status().as_u16()).as_bytes());
    match response.extensions().get::<ReasonPhrase>() {
        Some(phrase) => head.extend_from_slice(phrase.as_bytes()),
        None => head.extend_from_slice(response.status().canonical_reason().unwrap_or("").as_bytes()),
    }
    head.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(extra.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}
