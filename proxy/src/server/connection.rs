//! One client connection: heads one after the other, each handed to CONNECT or to the forwarder.
//!
//! Whatever is refused ends the connection: after a message that cannot be framed nobody knows where the next one
//! begins, and behind a refused CONNECT may stand bytes that were meant for the tunnel (RFC 9931).

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use egressway_core::acl::{Target, VettedAddr};
use http::Method;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::head::{EmptyLines, Head, Scan, Section};
use super::listener::{Source, may_speak_plainly};
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::timer::Timer;
use crate::auth::{Certified, Credential, MalformedCredential};
use crate::linger;
use crate::state::InForce;
use crate::stream::Stream;
use crate::tunnel::live::{Meter, Open};
use crate::tunnel::{self, Cuts, Means, Side};

/// Most time that a refusal takes to be written: the client may be slow, the answer is short.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes of a head read at once; nearly every head fits.
const READ_BYTES: usize = 4 * 1024;
/// Once a drain refuses, an idle connection is closed when it has been silent for so long. A client writes in the very
/// moment of an end that it has not heard of yet, or it does not: whoever uses a connection at all uses it within this, and
/// is answered with the end of the connection; most have been silent since the drain was announced.
const DRAIN_SILENCE: Duration = Duration::from_secs(3);

/// One client connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) buffer: BytesMut,
    pub(super) source: Source,
    /// The client certificate of a TLS connection.
    pub(super) certified: Option<Box<Certified>>,
    pub(super) stop: CancellationToken,
    pub(super) kill: CancellationToken,
    pub(super) timer: Timer,
    /// It ends because nothing came over it for too long.
    idle: bool,
}

/// What follows a forwarded request.
#[derive(Debug)]
pub(super) enum Next {
    /// Another head may follow.
    KeepAlive,
    /// Nothing is read any more.
    Close,
    /// The connection has ended.
    Ended,
    /// The request is refused.
    Refused(Box<Request>, Reason),
    /// The protocol changed.
    Tunnel(Box<Upgraded>),
}

/// What a tunnel behind a forwarded request needs, besides the client's connection.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) origin: Side,
    pub(super) request: Request,
    pub(super) target: Target,
    pub(super) address: VettedAddr,
}

/// A connection that has become a tunnel, and what is still to be known about it.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) client: Side,
    pub(super) origin: Side,
    pub(super) request: Request,
    pub(super) target: Target,
    pub(super) address: VettedAddr,
    /// What the client was told.
    pub(super) status: u16,
}

impl Tunnel {
    async fn run(self: Box<Self>, server: &Server, kill: CancellationToken) {
        let Self {
            client,
            origin,
            mut request,
            target,
            address,
            status,
        } = unboxed(self);
        let mut in_force = server.state.watch_in_force();
        if !server.state.is_current(&request.documents) {
            // They changed since it was decided: asked before the first byte.
            in_force.mark_changed();
        }
        // What was proved is not proved again, and a tunnel is open for hours.
        request.credential = Credential::None;
        let (_tunnel, _active) = (server.metrics.tunnel(), server.state.track());
        let listed = server.live.list(Open {
            id: request.id,
            client: request.client,
            policy: request.policy.clone(),
            target,
            address,
            meter: Meter::new(Instant::now()),
        });
        let open = listed.open();
        let cuts = Cuts {
            idle: request.limits.idle,
            deadline: request.deadline(),
            in_force,
            kill,
        };
        let means = Means {
            counters: &server.counters,
            meter: &open.meter,
            pipes: &server.pipes,
        };
        // It keeps the newest documents alive, never old ones.
        let permitted = |documents: &Arc<InForce>| request.goes_on(documents, open.address);
        let outcome = tunnel::run(client, origin, cuts, means, permitted).await;
        let ending = Ending {
            end: outcome.end,
            status: Some(status),
            sent: outcome.sent,
            received: outcome.received,
        };
        request.served(server, ending);
    }
}

/// The content of a box, which is given back here: moved out of in place it would live as long as what moved it.
#[expect(clippy::boxed_local, reason = "giving the box back is what it is for")]
fn unboxed<T>(content: Box<T>) -> T {
    *content
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        source: Source,
        stop: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        Self {
            stream: stream.into(),
            buffer: BytesMut::new(),
            source,
            certified: None,
            stop,
            kill,
            timer: Timer::default(),
            idle: false,
        }
    }

    pub(super) async fn run(self, server: &Server) {
        let kill = self.kill.clone();
        // Apart, because a tunnel lives for hours: what it took to open it is gone by then, buffers and all.
        let requests = Box::pin(async {
            match self.open(server).await {
                Some(connection) => connection.requests(server).await,
                None => None,
            }
        });
        let tunnel = tokio::select! {
            tunnel = requests => tunnel,
            // A forwarded request hears of the kill itself, in order to log its end; this ends what does not listen.
            () = after(&kill, FAREWELL) => None,
        };
        if let Some(tunnel) = tunnel {
            tunnel.run(server, kill).await;
        }
    }

    /// Serves requests until the connection ends or becomes a tunnel.
    async fn requests(mut self, server: &Server) -> Option<Box<Tunnel>> {
        let mut first = true;
        loop {
            let read = self.head(server, first).await;
            let asks = match &read {
                Ok(bytes) => bytes.as_deref().unwrap_or_default(),
                Err(_) => &self.buffer,
            };
            let is_head = asks.starts_with(b"HEAD ");
            let head = match read.and_then(|bytes| bytes.map(Head::parse).transpose()) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    // A request that crosses the end on its way is read away: its sender sees an end before any answer, and
                    // no reset.
                    if self.idle {
                        self.close().await;
                    }
                    return None;
                }
                Err(fault) => {
                    let mut request = Request::new(server, self.source);
                    // Its answer has no body (RFC 9110, 9.3.2), whatever is wrong with it.
                    request.method = is_head.then(|| "HEAD".into());
                    self.refuse(server, request, fault.into()).await;
                    return None;
                }
            };
            first = false;
            let mut request = Request::new(server, self.source);
            request.method = Some(head.method.as_str().into());
            match Credential::of(head.fields.iter()) {
                Ok(credential) => request.credential = credential,
                Err(malformed) => {
                    self.refuse(server, request, malformed_credential(malformed).into())
                        .await;
                    return None;
                }
            }
            if head.method == Method::CONNECT {
                return self.connect(server, request, &head).await;
            }
            match self.forward(server, request, head).await {
                Next::KeepAlive => {}
                Next::Close => {
                    self.close().await;
                    return None;
                }
                Next::Ended => return None,
                Next::Refused(request, reason) => {
                    self.refuse(server, *request, reason).await;
                    return None;
                }
                Next::Tunnel(upgraded) => {
                    let Upgraded {
                        origin,
                        request,
                        target,
                        address,
                    } = *upgraded;
                    return Some(Box::new(Tunnel {
                        client: Side::new(self.stream, &self.buffer),
                        origin,
                        request,
                        target,
                        address,
                        status: 101,
                    }));
                }
            }
        }
    }

    /// The bytes of the next head; `None` when the client is done, or idle while the pod drains.
    async fn head(&mut self, server: &Server, opening: bool) -> Result<Option<Bytes>, Fault> {
        let limits = server.limits_in_force();
        let patience = if opening {
            limits.head_time
        } else {
            limits.keep_alive
        };
        let begun = Instant::now();
        let mut deadline = begun + limits.head_time;
        let mut empty_lines = EmptyLines::default();
        // Whoever sent no more than a line end behind a body has asked for nothing: the connection is idle.
        while !empty_lines.pass(&mut self.buffer) {
            let first = first_bytes(&mut self.stream, &mut self.buffer);
            let read = tokio::select! {
                biased;
                read = self.timer.until(begun + patience, first) => read,
                // An idle connection of a draining pod: the client opens another, to another pod.
                () = silent(&self.stop, begun) => {
                    self.idle = true;
                    return Ok(None);
                }
            };
            match read {
                Some(Ok(1..)) => {}
                None if opening => return Err(Fault::HeadTimeout),
                None => {
                    self.idle = true;
                    return Ok(None);
                }
                Some(Ok(0) | Err(_)) => return Ok(None),
            }
            if !opening {
                deadline = Instant::now() + limits.head_time;
            }
        }
        let (mut scan, bytes_max) = (Scan::default(), empty_lines.left_of(limits.head_bytes));
        loop {
            if let Some(end) = scan.advance(&self.buffer, Section::Request, bytes_max)? {
                return Ok(Some(self.buffer.split_to(end).freeze()));
            }
            self.buffer.reserve(READ_BYTES);
            let more = self.stream.read_buf(&mut self.buffer);
            match self.timer.until(deadline, more).await {
                Some(Ok(1..)) => {}
                Some(Ok(0)) if self.buffer.is_empty() => return Ok(None),
                Some(Ok(0)) => return Err(Fault::MalformedRequest("the head is not complete")),
                Some(Err(_)) => return Ok(None),
                None => return Err(Fault::HeadTimeout),
            }
        }
    }

    /// Says why, logs it, and closes.
    pub(super) async fn refuse(self, server: &Server, request: Request, reason: Reason) {
        self.refuse_within(server, request, reason, linger::TIME).await;
    }

    async fn refuse_within(mut self, server: &Server, request: Request, reason: Reason, time: Duration) {
        let bytes = request.refusal(server, &reason);
        request.refused(server, &reason);
        let _ = timeout(FAREWELL, self.stream.write_all(&bytes)).await;
        linger::close(&mut self.stream, time).await;
    }

    /// Refuses before anything was read: the pod has as many connections as it takes.
    pub(super) async fn turn_away(self, server: &Server) {
        let request = Request::new(server, self.source);
        if !may_speak_plainly(server) {
            return request.refused(server, &Fault::TooManyConnections.into());
        }
        // There are few places for it.
        self.refuse_within(server, request, Fault::TooManyConnections.into(), FAREWELL)
            .await;
    }

    /// Closes so that the client reads what was written: a reset would take it away.
    pub(super) async fn close(&mut self) {
        self.buffer = BytesMut::new();
        linger::close(&mut self.stream, linger::TIME).await;
    }
}

/// Waits for bytes without holding a buffer, since most connections wait most of the time.
async fn first_bytes(stream: &mut Stream, buffer: &mut BytesMut) -> std::io::Result<usize> {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
    poll_fn(|cx| poll_more(cx, stream, buffer)).await
}

/// Reads once; no memory is taken before there is something to read.
pub(super) fn poll_more(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    buffer: &mut BytesMut,
) -> Poll<std::io::Result<usize>> {
    let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
    let mut read = ReadBuf::uninit(&mut chunk);
    let polled = Pin::new(stream).poll_read(cx, &mut read);
    polled.map_ok(|()| {
        buffer.extend_from_slice(read.filled());
        read.filled().len()
    })
}

const fn malformed_credential(malformed: MalformedCredential) -> Fault {
    Fault::MalformedRequest(match malformed {
        MalformedCredential::Twice => "Proxy-Authorization stands twice",
        MalformedCredential::TooLong => "Proxy-Authorization is longer than 8 KiB",
    })
}

/// Completes once the token was cancelled and nothing has come for long enough.
async fn silent(stop: &CancellationToken, since: Instant) {
    stop.cancelled().await;
    tokio::time::sleep_until(since + DRAIN_SILENCE).await;
}

/// Completes some time after the token was cancelled.
async fn after(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}
