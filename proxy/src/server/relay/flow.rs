//! One direction of an exchange: what was read, where the body in it ends, and what is still to be written.
//!
//! The same for both directions. Nothing is read while something waits to be written, so a slow reader holds up the
//! sender, and one direction never keeps more than [`READ_BYTES_MAX`] read and [`OUT_BYTES_MAX`] to be written.

use std::fmt::Write as _;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::server::body::{Decoder, Step};
use crate::server::head::{Fields, Framing};
use crate::server::hop::{self, EndToEnd};
use crate::server::reason::Fault;

/// Bytes read at once to begin with: nearly every message is smaller.
const READ_BYTES: usize = 4 * 1024;
/// Bytes read at once when more keep coming; twice as many move no faster.
const READ_BYTES_MAX: usize = 32 * 1024;
/// Bytes that wait to be written before no more are gathered: a head and what came with it in one write.
const OUT_BYTES_MAX: usize = 16 * 1024;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Encoding {
    /// As it is; a length or the connection's end says where it ends.
    Raw,
    /// In chunks of our own.
    Chunked,
}

/// Why a direction cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The sender ended or reset before the body was complete.
    Sender,
    /// The sender broke the grammar.
    Malformed(Fault),
    /// The receiver takes nothing any more.
    Receiver,
    /// More than the limit.
    TooLarge,
}

/// One direction.
#[derive(Debug)]
pub(in crate::server) struct Flow {
    decoder: Decoder,
    encoding: Encoding,
    out: BytesMut,
    /// Stands behind `out`, as it is: a body that was held.
    behind: Bytes,
    written: usize,
    /// Everything that was written so far still stands in `out`.
    repeatable: bool,
    ended: bool,
    unflushed: bool,
    /// What was read waits to be taken from where it stands.
    passing: bool,
    read_bytes: usize,
    read_bytes_max: usize,
    bytes_max: u64,
    /// Bytes of the body that went on.
    pub(super) bytes: u64,
    /// Bytes that the receiver took, heads and framing included.
    pub(super) wrote: u64,
    /// Grows with everything that moves.
    pub(super) progress: u64,
}

/// What has to happen next.
enum Next {
    Read,
    Write,
    /// So many bytes go on from where they were read, without a copy.
    Pass(usize),
    End,
}

impl Flow {
    /// A direction that begins with these bytes.
    pub(in crate::server) fn new(head: BytesMut, framing: Framing, encoding: Encoding) -> Self {
        let decoder = Decoder::new(framing);
        Self {
            // There is no body, so there is no end of one to be written.
            ended: decoder.is_done(),
            decoder,
            encoding,
            out: head,
            behind: Bytes::new(),
            written: 0,
            repeatable: true,
            unflushed: false,
            passing: false,
            read_bytes: READ_BYTES,
            read_bytes_max: READ_BYTES_MAX,
            bytes_max: u64::MAX,
            bytes: 0,
            wrote: 0,
            progress: 0,
        }
    }

    /// A direction that is a whole message: its head and its body, of which only a short one is copied behind the head.
    pub(in crate::server) fn whole(mut head: BytesMut, body: Bytes) -> Self {
        let bytes = body.len() as u64;
        let behind = if body.len() <= OUT_BYTES_MAX {
            head.extend_from_slice(&body);
            Bytes::new()
        } else {
            body
        };
        Self {
            bytes,
            behind,
            ..Self::new(head, Framing::None, Encoding::Raw)
        }
    }

    /// Goes on with another head, its body, and the most bytes that the body may have.
    pub(super) fn begin(
        &mut self,
        framing: Framing,
        encoding: Encoding,
        bytes_max: Option<u64>,
    ) -> &mut BytesMut {
        self.decoder = Decoder::new(framing);
        self.ended = self.decoder.is_done();
        self.encoding = encoding;
        self.bytes_max = bytes_max.unwrap_or(u64::MAX);
        self.out()
    }

    /// What is to be written, for more of it.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        if self.written > 0 && !self.has_out() {
            self.out.clear();
            self.behind = Bytes::new();
            self.written = 0;
            self.repeatable = false;
        }
        &mut self.out
    }

    /// Bytes that its own buffer takes.
    pub(super) fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Reads no more at once from now on, while there is little memory; nor more than it ever does.
    pub(super) fn read_at_most(&mut self, bytes: usize) {
        self.read_bytes_max = bytes.clamp(READ_BYTES, READ_BYTES_MAX);
        self.read_bytes = self.read_bytes.min(self.read_bytes_max);
    }

    /// Whether the receiver is waited for.
    pub(super) fn is_blocked(&self) -> bool {
        self.passing || self.has_out()
    }

    fn has_out(&self) -> bool {
        self.written < self.out.len() + self.behind.len()
    }

    /// Whether all that the receiver took, or nothing of it, can be written once more.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Begins again, for another receiver.
    pub(in crate::server) fn rewind(&mut self) {
        self.written = 0;
        self.wrote = 0;
    }

    /// Moves what can be moved, until the body's end has been written. `fields` are the head's that the body belongs to.
    /// Nothing is written once `may_write` says no; whoever makes it say so has this polled again.
    pub(super) fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        from: &mut R,
        to: &mut W,
        fields: Option<&Fields>,
        may_write: &impl Fn() -> bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let next = self.gather(input, fields)?;
            if !may_write() {
                return Poll::Pending;
            }
            match next {
                Next::Write => ready!(self.poll_write(cx, to))?,
                Next::Pass(count) => {
                    let part = input.get(..count).unwrap_or_default();
                    self.passing = true;
                    let Ok(taken @ 1..) = ready!(Pin::new(&mut *to).poll_write(cx, part)) else {
                        return Poll::Ready(Err(Broken::Receiver));
                    };
                    self.decoder.take(input, taken);
                    self.bytes += taken as u64;
                    self.took(taken);
                    (self.passing, self.repeatable) = (false, false);
                }
                Next::Read => {
                    ready!(self.poll_flush(cx, to))?;
                    match ready!(self.poll_read(cx, input, from)) {
                        Some(1..) => {}
                        Some(0) if self.decoder.may_end() => self.decoder = Decoder::new(Framing::None),
                        Some(0) | None => return Poll::Ready(Err(Broken::Sender)),
                    }
                }
                Next::End => return self.poll_flush(cx, to),
            }
        }
    }

    /// Decodes what was read and lays out what is to be written.
    fn gather(&mut self, input: &mut BytesMut, fields: Option<&Fields>) -> Result<Next, Broken> {
        loop {
            let waiting = self.out.len() + self.behind.len() - self.written;
            // What was begun is written out first: behind it, a slow receiver would let the rest grow for ever.
            if waiting >= OUT_BYTES_MAX || (waiting > 0 && self.written > 0) {
                return Ok(Next::Write);
            }
            match self.decoder.decode(input).map_err(Broken::Malformed)? {
                Step::Data(count) => {
                    if self.bytes + count as u64 > self.bytes_max {
                        return Err(Broken::TooLarge);
                    }
                    let count = match self.encoding {
                        Encoding::Raw if waiting == 0 => return Ok(Next::Pass(count)),
                        Encoding::Raw | Encoding::Chunked => count.min(OUT_BYTES_MAX - waiting),
                    };
                    self.append(input.get(..count).unwrap_or_default());
                    self.decoder.take(input, count);
                    self.bytes += count as u64;
                }
                Step::Trailers(trailers) => self.end(fields.map(|fields| (fields, &trailers))),
                Step::End => {
                    self.end(None);
                    return Ok(if self.has_out() { Next::Write } else { Next::End });
                }
                Step::More if waiting > 0 => return Ok(Next::Write),
                Step::More => return Ok(Next::Read),
            }
        }
    }

    fn append(&mut self, data: &[u8]) {
        let encoding = self.encoding;
        let out = self.out();
        match encoding {
            Encoding::Raw => out.extend_from_slice(data),
            Encoding::Chunked => {
                // Eight digits are enough for a buffer's length; writing to memory does not fail.
                out.reserve(data.len() + 12);
                let _ = write!(out, "{:x}\r\n", data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The last chunk and the trailers; a body that is no chunks ends without a word, and its trailers with it.
    fn end(&mut self, trailers: Option<(&Fields, &Fields)>) {
        if self.ended {
            return;
        }
        self.ended = true;
        if self.encoding == Encoding::Raw {
            return;
        }
        let out = self.out();
        out.extend_from_slice(b"0\r\n");
        if let Some((fields, trailers)) = trailers {
            for (name, value) in EndToEnd::of(fields).trailers(trailers) {
                hop::print(out, name, value);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Reads once; `None` is a reset.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        from: &mut R,
    ) -> Poll<Option<usize>> {
        let room = self.read_bytes - input.len().min(self.read_bytes / 2);
        // Left to itself a buffer grows by doubling, the bytes that have gone on included.
        if !input.try_reclaim(room) {
            let mut larger = BytesMut::with_capacity(input.len() + room);
            larger.extend_from_slice(input);
            *input = larger;
        }
        let Ok(count) = ready!(pin!(from.read_buf(input)).poll(cx)) else {
            return Poll::Ready(None);
        };
        self.progress += 1;
        if count >= room {
            self.read_bytes = (self.read_bytes * 2).min(self.read_bytes_max);
        }
        Poll::Ready(Some(count))
    }

    /// Writes until nothing waits.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<Result<(), Broken>> {
        while self.has_out() {
            let part = match self.out.get(self.written..) {
                Some(part @ [_, ..]) => part,
                Some([]) | None => self
                    .behind
                    .get(self.written - self.out.len()..)
                    .unwrap_or_default(),
            };
            match ready!(Pin::new(&mut *to).poll_write(cx, part)) {
                Ok(taken @ 1..) => {
                    self.written += taken;
                    self.took(taken);
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Receiver)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, count: usize) {
        self.wrote += count as u64;
        self.progress += 1;
        self.unflushed = true;
    }

    /// TLS may hold back what it took.
    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            if ready!(Pin::new(to).poll_flush(cx)).is_err() {
                return Poll::Ready(Err(Broken::Receiver));
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
