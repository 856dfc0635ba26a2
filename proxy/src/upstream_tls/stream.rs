//! A TLS connection to a destination, which remembers why it broke.
//!
//! With TLS 1.3 a destination says only after the handshake that it wants another client certificate: the alert arrives
//! in place of an answer. An end without `close_notify` is an error, so what ends with the connection was not cut short.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::access_log::Session;

use super::failure::{Failed, Failure, Kind, Met};

/// The connection.
#[derive(Debug)]
pub struct TlsOrigin {
    stream: TlsStream<TcpStream>,
    met: Met,
    failed: Option<Failed>,
    /// Something of the destination's was read behind the handshake.
    spoke: bool,
}

impl TlsOrigin {
    pub(super) fn new(stream: TlsStream<TcpStream>, met: Met) -> Self {
        Self {
            stream,
            met,
            failed: None,
            spoke: false,
        }
    }

    /// What came of the handshake.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        let (_, connection) = self.stream.get_ref();
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "1.2",
            ProtocolVersion::TLSv1_3 => "1.3",
            _ => return None,
        };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(Session { version, resumed })
    }

    /// Why TLS broke, if it did: an alert or a broken record, not the mere end of the connection.
    #[must_use]
    pub fn failed(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }

    /// The socket underneath, for its options only.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// Says that nothing follows (RFC 8446, 6.1), if the kernel takes it at once; whoever does not hear it takes the end
    /// for an attack. Nobody waits: the connection is over for the proxy.
    pub fn farewell(&mut self) {
        let (socket, connection) = self.stream.get_mut();
        connection.send_close_notify();
        let mut last = Vec::new();
        // Writing to memory does not fail, and who has gone needs no farewell.
        let _ = connection
            .write_tls(&mut last)
            .and_then(|_| socket.try_write(&last));
    }

    /// The connection without its memory.
    #[must_use]
    pub fn into_inner(self) -> TlsStream<TcpStream> {
        self.stream
    }

    fn note(&mut self, error: &io::Error) {
        let failure = Failure::from_io(error, self.met);
        if self.failed.is_none() && failure.kind != Kind::Closed {
            self.failed = Some(Failed {
                failure,
                detail: crate::error_chain(error).into(),
            });
        }
    }

    /// What the end of the connection means where TLS itself names no cause.
    fn note_end(&mut self) {
        // TLS 1.3 has a destination judge the certificate behind the handshake, and one that closes in the middle of the
        // request may reset its own alert away.
        let is_13 = self.stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if self.failed.is_none() && is_13 && !self.spoke && self.met.asked && !self.met.has_one {
            self.failed = Some(Failed::new(
                Kind::ClientCertificateRequired,
                "the destination asked for a client certificate, got none, and closed the connection without a word",
            ));
        }
    }

    /// A request to shake hands again (TLS 1.2) is refused by the library, whose refusal waits to be written, and the
    /// destination for it. Most ask because only some of their paths demand a client certificate.
    fn note_renegotiation(&mut self, cx: &mut Context<'_>) {
        if self.failed.is_none() {
            self.failed = Some(Failed::new(
                Kind::RenegotiationAsked,
                "the destination wanted another handshake after the request (TLS 1.2 renegotiation)",
            ));
        }
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
    }

    /// Whether bytes of TLS wait to be written.
    fn has_out(&self) -> bool {
        self.stream.get_ref().1.wants_write()
    }

    fn noted<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.note(error);
        }
        polled
    }
}

impl AsyncRead for TlsOrigin {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (filled, waited) = (buffer.filled().len(), this.has_out());
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let polled = this.noted(polled);
        let is_12 = || this.stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        if !waited && this.has_out() && is_12() && !matches!(polled, Poll::Ready(Err(_))) {
            this.note_renegotiation(cx);
        }
        match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() > filled => this.spoke = true,
            Poll::Ready(_) => this.note_end(),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for TlsOrigin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.noted(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.noted(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
