//! One client connection: bytes in, heads out; replies back; and a close that lets the client read the last reply.
//!
//! It knows limits and time. What a head means is for `connect` and `forward`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::head::{Head, Scan, Section};
use super::reason::Fault;

/// First read of a head; most heads fit.
const READ_BYTES: usize = 4 * 1024;
/// How long a refused client may take to read its reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a closed client may go on sending before it is reset (RFC 9112, 9.6: a reset can destroy the reply).
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that are read away for it.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// After a drain began, how long a connection without any request may still bring its first: it was opened before the
/// client could know.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// One client connection.
#[derive(Debug)]
pub struct Client {
    /// The stream.
    pub stream: TcpStream,
    /// Read, but not yet part of a message.
    pub buffer: BytesMut,
    /// Who it is.
    pub peer: SocketAddr,
    served: u64,
    began: Instant,
}

/// What a connection brings next.
#[derive(Debug)]
pub enum Next {
    /// A request, and when its first byte came.
    Request(Box<Head>, Instant),
    /// Nothing that can be served.
    Refuse(Fault, Instant),
    /// The client is gone, or has nothing more to say.
    Close,
}

impl Client {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            peer,
            served: 0,
            began: Instant::now(),
        }
    }

    /// Reads the next head.
    pub async fn next(&mut self, limits: &Limits, stop: &CancellationToken) -> Next {
        if self.buffer.is_empty() && !self.wait(limits, stop).await {
            return Next::Close;
        }
        let first_byte_at = Instant::now();
        let deadline = if self.served == 0 { self.began } else { first_byte_at } + limits.head_timeout;
        self.served += 1;
        match timeout_at(deadline, self.read_head(limits)).await {
            Ok(Ok(Some(head))) => Next::Request(Box::new(head), first_byte_at),
            Ok(Ok(None)) => Next::Close,
            Ok(Err(fault)) => Next::Refuse(fault, first_byte_at),
            Err(_) => Next::Refuse(Fault::HeadTimeout, first_byte_at),
        }
    }

    /// Waits for the first byte of a head, holding no buffer; `false` when none will come.
    async fn wait(&self, limits: &Limits, stop: &CancellationToken) -> bool {
        let (deadline, grace) = if self.served == 0 {
            (self.began + limits.head_timeout, DRAIN_GRACE)
        } else {
            (Instant::now() + limits.keep_alive_idle, Duration::ZERO)
        };
        tokio::select! {
            biased;
            ready = timeout_at(deadline, self.stream.readable()) => matches!(ready, Ok(Ok(()))),
            () = after(stop, grace) => false,
        }
    }

    async fn read_head(&mut self, limits: &Limits) -> Result<Option<Head>, Fault> {
        let mut scan = Scan::default();
        let mut skipped_line = false;
        loop {
            // RFC 9112, 2.2: an empty line before a request line is tolerated; one, not a stream of them.
            if !skipped_line && self.buffer.starts_with(b"\r\n") {
                let _ = self.buffer.split_to(2);
                skipped_line = true;
            }
            if self.buffer.starts_with(b"\r\n") {
                return Err(Fault::MalformedRequest("empty lines stand before the request line"));
            }
            // A lone CR may become that empty line.
            if &self.buffer[..] != b"\r"
                && let Some(end) = scan.advance(&self.buffer, Section::Head, limits.head_bytes_max)?
            {
                return Head::parse(self.buffer.split_to(end).freeze()).map(Some);
            }
            match self.fill().await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Writes a whole reply; a client that does not read it in time loses it.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn reply(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(REPLY_TIMEOUT, self.stream.write_all(bytes))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the connection; what still comes is read away for a moment, so that the last reply arrives.
    pub async fn close(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            let mut left = LINGER_BYTES_MAX;
            loop {
                self.buffer.clear();
                match self.fill().await {
                    Ok(count) if count > 0 && count < left => left -= count,
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let _ = timeout(LINGER_TIMEOUT, drain).await;
    }
}

/// Completes some time after the token was cancelled.
async fn after(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}
