//! One connection of the client: one head, then one body and one answer; or, once the proxy has granted it, a tunnel or
//! another protocol. What is not granted is an answer like any other, and nothing more leaves over its connection.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Shared;
use super::head::{Kind, with_credential};
use super::upstream::Wire;
use crate::limits::Limits;
use crate::linger;
use crate::server::body::{Decoder, Step};
use crate::server::head::{EmptyLines, Framing, Head, ResponseHead, Scan, Section};
use crate::server::reason::{Fault, Reason};
use crate::server::reply::{Refusal, WithBody};

/// Longest head; the real proxy takes no longer one by default.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// From the connection's start to the end of its head. A client's pool may hold a connection ready for a while.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Longest head of an answer, as the real proxy takes it from origins.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most time that an answer of our own takes to be written.
const FAREWELL: Duration = Duration::from_secs(2);
/// Name in `Proxy-Status`.
const NAME: &str = "egressway-forward";

/// Serves one connection to its end.
pub(super) async fn serve(shared: &Shared, mut client: TcpStream) {
    if crate::dial::tune(&client).is_err() {
        return;
    }
    let mut buffer = BytesMut::new();
    let (head, raw) = match timeout(HEAD_TIME, read_head(&mut client, &mut buffer)).await {
        Ok(Ok(Some(read))) => read,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(fault)) => {
            let id = shared.ids.next();
            let refusal = Refusal {
                reason: &Reason::Fault(fault),
                id,
                proxy: NAME,
                policy: None,
                target: None,
                limits: &Limits::default(),
            };
            return farewell(client, &refusal.bytes(WithBody::Yes)).await;
        }
    };
    let credential = match shared.credential.field() {
        Ok(credential) => credential,
        Err(error) => return fail(client, "credential_unreadable", &format!("{error:#}")).await,
    };
    let (kind, sent) = with_credential(&head, &raw, &credential);
    let mut upstream = match shared.upstream.connect().await {
        Ok(upstream) => upstream,
        Err(error) => {
            let what = format!("the proxy {} cannot be reached: {error}", shared.upstream);
            return fail(client, "proxy_unreachable", &what).await;
        }
    };
    let outcome = match kind {
        Kind::Tunnel | Kind::Upgrade => switch(client, &mut upstream, kind, &head, &sent, buffer).await,
        Kind::Request => request(client, upstream, &sent, buffer, Decoder::new(head.framing)).await,
    };
    if let Err(error) = outcome {
        debug!(error = &error as &dyn std::error::Error, "a connection broke");
    }
}

async fn read_head(client: &mut TcpStream, buffer: &mut BytesMut) -> Result<Option<(Head, Bytes)>, Fault> {
    let (mut scan, mut empty_lines, mut begun) = (Scan::default(), EmptyLines::default(), false);
    loop {
        begun = begun || empty_lines.pass(buffer);
        let bytes_max = empty_lines.left_of(HEAD_BYTES_MAX);
        if begun && let Some(end) = scan.advance(buffer, Section::Request, bytes_max)? {
            let raw = buffer.split_to(end).freeze();
            return Head::parse(raw.clone()).map(|head| Some((head, raw)));
        }
        buffer.reserve(READ_BYTES);
        match client.read_buf(buffer).await {
            Ok(0) if !buffer.is_empty() => return Err(Fault::MalformedRequest("the head is not complete")),
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// The head up; bytes both ways once the proxy has granted what it asks for, else its answer down, and the end.
async fn switch(
    mut client: TcpStream,
    upstream: &mut Box<dyn Wire>,
    kind: Kind,
    head: &Head,
    sent: &[u8],
    mut early: BytesMut,
) -> std::io::Result<()> {
    upstream.write_all(sent).await?;
    if kind == Kind::Tunnel {
        // Whoever sends before it was granted means the tunnel.
        upstream.write_all(&early.split()).await?;
    }
    upstream.flush().await?;
    let mut input = BytesMut::new();
    loop {
        let (raw, answer) = answer_head(&mut client, upstream, &mut input, &mut early).await?;
        client.write_all(&raw).await?;
        if kind.is_granted(answer.status) {
            client.write_all(&input).await?;
            upstream.write_all(&early).await?;
            upstream.flush().await?;
            return tokio::io::copy_bidirectional(&mut client, upstream)
                .await
                .map(|_| ());
        }
        if !answer.status.is_informational() {
            // What the client sends now is its next request, or was meant for what it did not get.
            let passed = match answer.body(&head.method) {
                Framing::Close => {
                    client.write_all(&input).await?;
                    tokio::io::copy(upstream, &mut client).await.map(|_| ())
                }
                framing => body(upstream, &mut client, input, Decoder::new(framing)).await,
            };
            linger::close(&mut client, linger::TIME).await;
            return passed;
        }
    }
}

/// The next head of an answer, as it came and parsed. What the client sends meanwhile waits in `early`.
async fn answer_head(
    client: &mut TcpStream,
    upstream: &mut Box<dyn Wire>,
    input: &mut BytesMut,
    early: &mut BytesMut,
) -> std::io::Result<(Bytes, ResponseHead)> {
    let malformed =
        |fault: Fault| std::io::Error::new(ErrorKind::InvalidData, Reason::Fault(fault).sentence());
    let (mut scan, mut finished) = (Scan::default(), false);
    loop {
        let end = scan.advance(input, Section::Response, ANSWER_BYTES_MAX);
        if let Some(end) = end.map_err(malformed)? {
            let raw = input.split_to(end).freeze();
            let head = ResponseHead::parse(&raw).map_err(malformed)?;
            return Ok((raw, head));
        }
        input.reserve(READ_BYTES);
        early.reserve(READ_BYTES);
        let hears = !finished && early.len() < HEAD_BYTES_MAX;
        tokio::select! {
            read = upstream.read_buf(input) => if read? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            },
            // One that has gone waits for no answer; one that has said all may.
            read = client.read_buf(early), if hears => finished = read? == 0,
        }
    }
}

/// The head and its body up; whatever the proxy answers down, until it closes. The answer may come before the body has
/// gone, and then nobody wants the rest.
async fn request(
    client: TcpStream,
    upstream: Box<dyn Wire>,
    head: &[u8],
    buffer: BytesMut,
    decoder: Decoder,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let outcome = {
        let up = async {
            to_upstream.write_all(head).await?;
            body(&mut from_client, &mut to_upstream, buffer, decoder).await
        };
        let down = down(&mut from_upstream, &mut to_client);
        tokio::pin!(up, down);
        tokio::select! {
            done = &mut down => done,
            sent = &mut up => match sent {
                // The client broke off, or what it sends is no body: nobody waits for an answer.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Err(error),
                // Whether the body went or the proxy took no more of it: its answer tells.
                Ok(()) | Err(_) => down.await,
            },
        }
    };
    linger::close(&mut from_client.unsplit(to_client), linger::TIME).await;
    outcome
}

async fn down(
    upstream: &mut ReadHalf<Box<dyn Wire>>,
    client: &mut WriteHalf<TcpStream>,
) -> std::io::Result<()> {
    tokio::io::copy(upstream, client).await?;
    client.shutdown().await
}

/// Sends exactly the body, byte for byte as it came.
async fn body(
    client: &mut (impl AsyncRead + Unpin),
    upstream: &mut (impl AsyncWrite + Unpin),
    mut buffer: BytesMut,
    mut decoder: Decoder,
) -> std::io::Result<()> {
    // The decoder eats a copy, and says by that how much belongs to the body.
    let mut raw = buffer.clone();
    loop {
        let malformed =
            |fault: Fault| std::io::Error::new(ErrorKind::InvalidData, Reason::Fault(fault).sentence());
        let (ends, waits) = match decoder.decode(&mut buffer).map_err(malformed)? {
            Step::Data(count) => {
                decoder.take(&mut buffer, count);
                (false, false)
            }
            Step::Trailers(_) => (false, false),
            Step::End => (true, false),
            Step::More => (false, true),
        };
        let eaten = raw.len().saturating_sub(buffer.len());
        upstream.write_all(&raw.split_to(eaten)).await?;
        if ends {
            return upstream.flush().await;
        }
        if waits {
            upstream.flush().await?;
            let before = buffer.len();
            buffer.reserve(READ_BYTES);
            if client.read_buf(&mut buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            raw.extend_from_slice(buffer.get(before..).unwrap_or_default());
        }
    }
}

/// An answer of our own: the real proxy could not be asked.
async fn fail(client: TcpStream, code: &str, what: &str) {
    warn!(reason = code, error = what, "a request failed here");
    let what: String = what
        .chars()
        .filter(|c| matches!(c, ' '..='~'))
        .take(160)
        .collect();
    let text = format!("Egress failed: {what}\n");
    let reply = format!(
        "HTTP/1.1 502 Egress failed: {what}\r\nProxy-Status: {NAME}; error=proxy_internal_error\r\n\
         X-Egressway-Reason: {code}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    farewell(client, reply.as_bytes()).await;
}

/// Closes so that the client reads what was written.
async fn farewell(mut client: TcpStream, reply: &[u8]) {
    let _ = timeout(FAREWELL, client.write_all(reply)).await;
    linger::close(&mut client, linger::TIME).await;
}
