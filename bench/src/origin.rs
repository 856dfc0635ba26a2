//! What the proxies forward to: one process, a port for each service, on every address of the origin.
//!
//! Its first line on standard output names the ports; it serves until it is killed.

mod dns;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::HandshakeKind;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::args::OriginArgs;
use crate::load;
use crate::{certificates, net};

/// Bytes of the answer to a request: a webhook's acknowledgement.
pub(crate) const BODY_BYTES: usize = 64;
/// What an answer's body begins with where the TLS session was resumed.
pub(crate) const RESUMED: &str = "resumed";
/// Read or written at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// First byte of a bulk connection: the origin sends, or it receives. Eight bytes with the amount follow.
pub(crate) const SEND: u8 = b'S';
pub(crate) const RECEIVE: u8 = b'R';
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The port of each service.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// Sends back what comes.
    pub(crate) echo: u16,
    /// The same inside TLS.
    pub(crate) tls_echo: u16,
    /// HTTP/1.1, kept alive.
    pub(crate) http: u16,
    /// Amounts of bytes, see [`SEND`].
    pub(crate) bulk: u16,
    /// HTTP inside TLS, kept alive.
    pub(crate) https_kept: u16,
    /// One request a connection; sessions can be resumed.
    pub(crate) https_resumed: u16,
    /// One request a connection, a full handshake each.
    pub(crate) https_full: u16,
    /// DNS over UDP, on the origin's first address: any name is there.
    pub(crate) dns: u16,
}

/// Whether a connection outlives its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Keep,
    Close,
}

/// Serves for ever.
pub(crate) fn serve(args: &OriginArgs) -> Result<()> {
    let tls = TlsAcceptor::from(Arc::new(certificates::server(args)?));
    let full_only = TlsAcceptor::from(Arc::new(certificates::server_without_resumption(args)?));
    load::runtime()?.block_on(async {
        let ports = Ports {
            echo: listen(|stream| async move { echo(stream).await }).await?,
            tls_echo: {
                let tls = tls.clone();
                listen(move |stream| {
                    let tls = tls.clone();
                    async move { echo(tls.accept(stream).await?).await }
                })
                .await?
            },
            http: listen(|stream| http(stream, "ok", After::Keep)).await?,
            bulk: listen(bulk).await?,
            https_kept: listen_https(tls.clone(), After::Keep).await?,
            https_resumed: listen_https(tls, After::Close).await?,
            https_full: listen_https(full_only, After::Close).await?,
            dns: dns::serve().await?,
        };
        let mut out = std::io::stdout();
        writeln!(out, "{}", serde_json::to_string(&ports)?)?;
        out.flush()?;
        std::future::pending::<Result<()>>().await
    })
}

/// Accepts on every address of the origin; the port.
async fn listen<Served>(serve: impl Fn(TcpStream) -> Served + Clone + Send + 'static) -> Result<u16>
where
    Served: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let port = net::free_origin_port()?;
    for address in net::origin_addresses(port) {
        let listener = bind(address).with_context(|| format!("failed to listen on {address}"))?;
        let serve = serve.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Otherwise an answer behind a handshake's last flight waits 40 ms for the client's delayed ACK.
                if stream.set_nodelay(true).is_ok() {
                    tokio::spawn(serve(stream));
                }
            }
        });
    }
    Ok(port)
}

async fn listen_https(tls: TlsAcceptor, after: After) -> Result<u16> {
    listen(move |stream| {
        let tls = tls.clone();
        async move {
            let stream = tls.accept(stream).await?;
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            http(stream, if resumed { RESUMED } else { "full" }, after).await
        }
    })
    .await
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    // Small: thousands of idle tunnels end here.
    let mut buffer = [0; 256];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(buffer.get(..count).unwrap_or_default()).await?;
        stream.flush().await?;
    }
}

async fn http(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    body: &str,
    after: After,
) -> std::io::Result<()> {
    let close = if after == After::Close {
        "Connection: close\r\n"
    } else {
        ""
    };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n{close}\r\n{body:BODY_BYTES$}");
    let (mut kept, mut chunk) = (Vec::<u8>::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        kept.extend(chunk.iter().take(count));
        while let Some(end) = message(&kept) {
            let asked: Vec<u8> = kept.drain(..end).collect();
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            // tinyproxy asks for it, and waits for the end.
            let close = |line: &[u8]| line.eq_ignore_ascii_case(b"connection: close\r");
            if after == After::Close || asked.split(|byte| *byte == b'\n').any(close) {
                return stream.shutdown().await;
            }
        }
        if kept.len() > MESSAGE_BYTES_MAX {
            return Ok(());
        }
    }
}

/// Where the first message ends, its body included; none while it is not complete.
fn message(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let lines = bytes.get(..head)?.split(|byte| *byte == b'\n');
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        let length = value.trim().parse().ok()?;
        name.eq_ignore_ascii_case("content-length").then_some(length)
    });
    let end = head.checked_add(lengths.next().unwrap_or(0))?;
    (end <= bytes.len()).then_some(end)
}

async fn bulk(mut stream: TcpStream) -> std::io::Result<()> {
    let (direction, mut left) = (stream.read_u8().await?, stream.read_u64().await?);
    let mut chunk = vec![0; CHUNK_BYTES];
    if direction == SEND {
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            stream.write_all(chunk.get(..part).unwrap_or_default()).await?;
            left -= part as u64;
        }
        return stream.shutdown().await;
    }
    while left > 0 {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        left = left.saturating_sub(count as u64);
    }
    stream.write_u8(RECEIVE).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_behind_its_body() {
        for (bytes, end) in [
            ("GET / HTTP/1.1\r\nA: b\r\n", None),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nGET", Some(24)),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", None),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcd", Some(41)),
        ] {
            assert_eq!(message(bytes.as_bytes()), end, "{bytes:?}");
        }
    }
}
