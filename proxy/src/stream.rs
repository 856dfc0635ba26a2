//! A connection's bytes, whatever lies between them and the socket: nothing, TLS accepted, or TLS dialled.
//!
//! Who dials, accepts and shakes hands is decided elsewhere. TLS may hold back what it took from a writer: flush before
//! waiting for an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A connection to a client or to an origin.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS on the side that accepted.
    TlsServer(Box<server::TlsStream<TcpStream>>),
    /// TLS on the side that dialled.
    TlsClient(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket, where its bytes are the connection's own: only those may be moved by the kernel.
    #[must_use]
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::TlsServer(_) | Self::TlsClient(_) => None,
        }
    }

    /// The same, to be changed.
    #[must_use]
    pub fn as_tcp_mut(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::TlsServer(_) | Self::TlsClient(_) => None,
        }
    }

    /// The socket underneath, for its options only.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::TlsServer(stream) => stream.get_ref().0,
            Self::TlsClient(stream) => stream.get_ref().0,
        }
    }

    /// Makes closing a reset.
    ///
    /// # Errors
    /// The socket is gone already.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.socket().set_zero_linger()
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<server::TlsStream<TcpStream>> for Stream {
    fn from(stream: server::TlsStream<TcpStream>) -> Self {
        Self::TlsServer(Box::new(stream))
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(stream: client::TlsStream<TcpStream>) -> Self {
        Self::TlsClient(Box::new(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::TlsServer(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::TlsClient(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsServer(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsClient(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
