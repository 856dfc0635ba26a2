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
}

impl TlsOrigin {
    pub(super) fn new(stream: TlsStream<TcpStream>, met: Met) -> Self {
        Self {
            stream,
            met,
            failed: None,
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
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.noted(polled)
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
