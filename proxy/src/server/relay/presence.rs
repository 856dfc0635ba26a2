//! Whether the client is still there while it waits for the origin's answer.
//!
//! A reset is a client that has gone: nobody waits for the answer any more. An end alone is not: whoever has said all
//! may still read (RFC 9112, 9.6), and only a write finds out otherwise. To hear of a reset the bytes before it have to
//! be read; they are the next request's and stay in its buffer.

use std::io::ErrorKind;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::server::connection::poll_more;
use crate::stream::Stream;

/// Bytes of requests to come that are read ahead; a client that has sent more is missed at the write only.
const AHEAD_BYTES_MAX: usize = 32 * 1024;

/// What is known of the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Presence {
    /// It can be heard of.
    #[default]
    Open,
    /// It has said all that it will, and may read on.
    Finished,
}

impl Presence {
    /// Completes once the client has gone.
    pub(super) fn poll_gone(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        ahead: &mut BytesMut,
    ) -> Poll<()> {
        while matches!(self, Self::Open) && ahead.len() < AHEAD_BYTES_MAX {
            match poll_more(cx, stream, ahead) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => *self = Self::Finished,
                // TLS that was not closed in form: the client sends no more, which is all that it says.
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => *self = Self::Finished,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}
