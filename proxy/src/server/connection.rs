//! One client connection: heads one after the other, each handed to CONNECT or to the forwarder.
//!
//! Whatever is refused ends the connection: after a message that cannot be framed nobody knows where the next one
//! begins, and behind a refused CONNECT may stand bytes that were meant for the tunnel (RFC 9931).

mod tunnel;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use egressway_core::acl::{Target, VettedAddr};
use http::Method;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(super) use self::tunnel::Tunnel;
use super::Server;
use super::head::{EmptyLines, Head, Scan, Section};
use super::listener::{Source, may_speak_plainly};
use super::reason::{Fault, Reason};
use super::request::Request;
use super::timer::Timer;
use super::who::{FIRST_BYTES, Who};
use crate::auth::{Certified, Credential, MalformedCredential};
use crate::linger;
use crate::stream::Stream;
use crate::tunnel::Side;

/// Most time that a refusal takes to be written: the client may be slow, the answer is short.
const FAREWELL: Duration = Duration::from_secs(2);

/// Most time that one takes whose place somebody else needs.
const LAST_WORD: Duration = Duration::from_millis(250);

/// Bytes of a head read at once; nearly every head fits.
const READ_BYTES: usize = FIRST_BYTES;
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
    pub(super) who: Who,
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

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        source: Source,
        who: Who,
        stop: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        Self {
            stream: stream.into(),
            buffer: BytesMut::new(),
            source,
            who,
            certified: None,
            stop,
            kill,
            timer: Timer::default(),
            idle: false,
        }
    }

    pub(super) async fn run(self, server: &Server) {
        let kill = self.kill.clone();
        let ticket = self.who.ticket();
        let ended = async {
            let never = std::future::pending::<()>();
            server.strangers.unless_ended(ticket, never).await;
            sleep(LAST_WORD).await;
        };
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
            // The same for one that is ended for the sake of others.
            () = ended => None,
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
                        who: self.who.of_tunnel(),
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
            // Nothing is kept but the room for a first piece.
            let kept = if self.buffer.is_empty() {
                0
            } else {
                self.buffer.capacity()
            };
            self.who.holds(server, kept)?;
            let first = first_bytes(&mut self.stream, &mut self.buffer);
            let first = server.strangers.unless_ended(self.who.ticket(), first);
            let read = tokio::select! {
                biased;
                read = self.timer.until(begun + patience, first) => read,
                // An idle connection of a draining pod: the client opens another, to another pod.
                () = silent(&self.stop, begun) => {
                    self.idle = true;
                    return Ok(None);
                }
            };
            let read = match read {
                Some(None) => return Err(Fault::CrowdedOut),
                Some(Some(read)) => Some(read),
                None => None,
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
            self.grow(server, bytes_max)?;
            let more = self.stream.read_buf(&mut self.buffer);
            let more = server.strangers.unless_ended(self.who.ticket(), more);
            match self.timer.until(deadline, more).await {
                Some(Some(Ok(1..))) => {}
                Some(Some(Ok(0))) if self.buffer.is_empty() => return Ok(None),
                Some(Some(Ok(0))) => return Err(Fault::MalformedRequest("the head is not complete")),
                Some(Some(Err(_))) => return Ok(None),
                Some(None) => return Err(Fault::CrowdedOut),
                None => return Err(Fault::HeadTimeout),
            }
        }
    }

    /// Makes room for more of a head: twice as much as there is, and never more than a head may have, so that a buffer is
    /// as large as what is counted for it.
    fn grow(&mut self, server: &Server, bytes_max: usize) -> Result<(), Fault> {
        let (length, capacity) = (self.buffer.len(), self.buffer.capacity());
        let size = (2 * length).min(bytes_max).max(FIRST_BYTES);
        if capacity >= size && capacity > length {
            return Ok(());
        }
        self.who.holds(server, size)?;
        let mut larger = BytesMut::with_capacity(size);
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
        Ok(())
    }

    /// Says why, logs it, and closes.
    pub(super) async fn refuse(self, server: &Server, request: Request, reason: Reason) {
        self.refuse_within(server, request, reason, linger::TIME).await;
    }

    async fn refuse_within(mut self, server: &Server, request: Request, reason: Reason, time: Duration) {
        let bytes = request.refusal(server, &reason);
        request.refused(server, &reason);
        // What was read of it is not needed any more.
        self.buffer = BytesMut::new();
        let _ = timeout(FAREWELL, self.stream.write_all(&bytes)).await;
        linger::close(&mut self.stream, time).await;
    }

    /// Refuses before anything was read: the pod has as many connections as it takes.
    pub(super) async fn turn_away(self, server: &Server, full: Fault) {
        let request = Request::new(server, self.source);
        if !may_speak_plainly(server) {
            return request.refused(server, &full.into());
        }
        // There are few places for it.
        self.refuse_within(server, request, full.into(), FAREWELL).await;
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
    sleep(grace).await;
}
