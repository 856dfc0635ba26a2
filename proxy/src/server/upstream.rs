//! An origin's stream with every response head checked before hyper reads it.
//!
//! hyper is lenient where a proxy must not be: it drops a Content-Length beside Transfer-Encoding and unfolds fields.
//! Heads that two parsers could read differently end the exchange here. Bodies pass through untouched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::head::{ResponseHead, Scan, Section};

/// Most bytes of a response head; larger ones are refused as malformed.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most interim responses before the final one.
const INTERIM_MAX: usize = 16;

/// What the checker found, for whoever waits for the response.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// A response head broke the grammar.
    pub(super) malformed: AtomicBool,
    /// The origin said `100 Continue`.
    pub(super) proceed: Notify,
}

/// The stream.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: TcpStream,
    findings: Arc<Findings>,
    held: BytesMut,
    checked: Bytes,
    scan: Scan,
    interim: usize,
    passing: bool,
}

impl Upstream {
    pub(super) fn new(stream: TcpStream, findings: Arc<Findings>) -> Self {
        let (held, checked) = (BytesMut::new(), Bytes::new());
        Self {
            stream,
            findings,
            held,
            checked,
            scan: Scan::default(),
            interim: 0,
            passing: false,
        }
    }

    /// The stream, and bytes read from it that nobody has taken.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        let mut left = BytesMut::from(self.checked.as_ref());
        left.extend_from_slice(&self.held);
        (self.stream, left.freeze())
    }

    /// Moves complete heads, and everything behind the final one, from `held` to `checked`.
    fn check(&mut self) -> io::Result<()> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the response head is malformed");
        while !self.passing {
            let end = self
                .scan
                .advance(&self.held, Section::Head, HEAD_BYTES_MAX)
                .map_err(|_| malformed())?;
            let Some(end) = end else { return Ok(()) };
            self.scan = Scan::default();
            let head = self.held.split_to(end).freeze();
            let parsed = ResponseHead::parse(&head).map_err(|_| malformed())?;
            if parsed.status.is_informational() && parsed.status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(malformed());
                }
                if parsed.status == StatusCode::CONTINUE {
                    self.findings.proceed.notify_one();
                }
                // Interim responses end here: the client's are written by whoever waits for `proceed`.
                continue;
            }
            self.passing = true;
            let mut checked = BytesMut::from(head.as_ref());
            checked.extend_from_slice(&self.held.split());
            self.checked = checked.freeze();
        }
        Ok(())
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.checked.is_empty() {
                let part = this.checked.split_to(this.checked.len().min(buffer.remaining()));
                buffer.put_slice(&part);
                return Poll::Ready(Ok(()));
            }
            if this.passing {
                return Pin::new(&mut this.stream).poll_read(cx, buffer);
            }
            let mut chunk = [0; 8 * 1024];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(read.filled());
            if let Err(error) = this.check() {
                this.findings.malformed.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
