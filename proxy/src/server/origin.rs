//! An origin's stream, whatever lies between its bytes and the socket.
//!
//! Plain today's requests; TLS where a rule has the proxy make it. Who dials and who shakes hands is decided before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::access_log::Session;
use crate::stream::Stream;
use crate::upstream_tls::{Failed, TlsOrigin};

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// A connection to an origin.
#[derive(Debug)]
pub(super) enum Origin {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS made by the proxy.
    Tls(Box<TlsOrigin>),
}

impl From<TcpStream> for Origin {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsOrigin> for Origin {
    fn from(stream: TlsOrigin) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Origin {
    /// Its bytes.
    pub(super) fn stream(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }

    /// Whether nothing arrived that nobody asked for: bytes before a request, or the end, make an idle connection useless.
    ///
    /// It costs a system call only where the kernel has said that there is something to read.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        match self {
            Self::Plain(stream) => stream
                .try_read(&mut byte)
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            // What arrives may be a session ticket, which is nobody's answer.
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                let read = Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
                read.is_pending()
            }
        }
    }

    /// The TLS session, where the proxy made one.
    pub(super) fn tls_session(&self) -> Option<Session> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.session(),
        }
    }

    /// Why TLS broke, if it did.
    pub(super) fn tls_failure(&self) -> Option<&Failed> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.failed(),
        }
    }

    /// Makes closing a reset: what the kernel still holds for the origin does not go out any more.
    pub(super) fn reset(&self) {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        };
        // A socket that is gone already cannot be reset any more.
        let _ = socket.set_zero_linger();
    }

    /// Before a connection is let go whose exchanges all came to their end.
    pub(super) fn farewell(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(stream) => stream.farewell(),
        }
    }

    /// The connection without its past: what a tunnel takes over.
    pub(super) fn into_stream(self) -> Stream {
        match self {
            Self::Plain(stream) => stream.into(),
            Self::Tls(stream) => stream.into_inner().into(),
        }
    }
}
