//! One direction of an exchange: what was read, where the body in it ends, and what is still to be written.
//!
//! The same for both directions. Nothing is read while something waits to be written, so a slow reader holds up the
//! sender, and one direction never keeps more than [`READ_BYTES_MAX`] read and [`OUT_BYTES_MAX`] to be written.

use std::fmt::Write as _;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
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
    written: usize,
    /// Everything that was written so far still stands in `out`.
    repeatable: bool,
    ended: bool,
    unflushed: bool,
    /// What was read waits to be taken from where it stands.
    passing: bool,
    read_bytes: usize,
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
            written: 0,
            repeatable: true,
            unflushed: false,
            passing: false,
            read_bytes: READ_BYTES,
            bytes_max: u64::MAX,
            bytes: 0,
            wrote: 0,
            progress: 0,
        }
    }

    /// A direction that begins with a whole message, of which so many bytes are its body.
    pub(in crate::server) fn whole(message: BytesMut, body_bytes: usize) -> Self {
        Self {
            bytes: body_bytes as u64,
            ..Self::new(message, Framing::None, Encoding::Raw)
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
        if self.written > 0 && self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.repeatable = false;
        }
        &mut self.out
    }

    /// Whether the receiver is waited for.
    pub(super) fn is_blocked(&self) -> bool {
        self.passing || self.has_out()
    }

    fn has_out(&self) -> bool {
        self.written < self.out.len()
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
    pub(super) fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        from: &mut R,
        to: &mut W,
        fields: Option<&Fields>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.gather(input, fields)? {
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
            let waiting = self.out.len() - self.written;
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
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
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
            let part = self.out.get(self.written..).unwrap_or_default();
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
mod tests {
    use std::io;

    use bytes::Bytes;
    use tokio::io::ReadBuf;

    use super::*;

    /// A chunk's size line and ends, around the last piece that was gathered.
    const FRAMING_BYTES: usize = 32;

    /// Gives and takes so many bytes at a time, and makes wait before each.
    struct Trickle {
        bytes: Vec<u8>,
        at_once: usize,
        waits: bool,
    }

    impl Trickle {
        fn new(bytes: &[u8], at_once: usize) -> Self {
            Self {
                bytes: bytes.to_vec(),
                at_once,
                waits: false,
            }
        }

        fn ready(&mut self, cx: &Context<'_>) -> bool {
            self.waits = !self.waits;
            cx.waker().wake_by_ref();
            !self.waits
        }
    }

    impl AsyncRead for Trickle {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.ready(cx) {
                return Poll::Pending;
            }
            let count = self.at_once.min(self.bytes.len()).min(buffer.remaining());
            let rest = self.bytes.split_off(count);
            buffer.put_slice(&std::mem::replace(&mut self.bytes, rest));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if !self.ready(cx) {
                return Poll::Pending;
            }
            let count = self.at_once.min(bytes.len());
            self.bytes.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is written, how it ended, and the most that was kept at one time.
    async fn flow(
        body: &[u8],
        framing: Framing,
        encoding: Encoding,
        (read, write): (usize, usize),
    ) -> (Vec<u8>, Result<(), Broken>, usize) {
        let fields = Fields::parse(Bytes::from_static(b"\r\n")).unwrap();
        let mut flow = Flow::new(BytesMut::from(&b"HEAD"[..]), framing, encoding);
        let (mut input, mut kept) = (BytesMut::new(), 0);
        let (mut from, mut to) = (Trickle::new(body, read), Trickle::new(&[], write));
        let end = std::future::poll_fn(|cx| {
            let polled = flow.poll(cx, &mut input, &mut from, &mut to, Some(&fields));
            kept = kept.max(input.capacity() + flow.out.len());
            polled
        })
        .await;
        (to.bytes, end, kept)
    }

    #[tokio::test]
    async fn a_body_is_the_same_however_it_is_read_and_taken() {
        let paces = [(1, 1), (1, 100_000), (100_000, 1), (7, 3), (100_000, 100_000)];
        for (body, framing, encoding, expected) in [
            ("", Framing::None, Encoding::Raw, "HEAD"),
            ("hello", Framing::Length(5), Encoding::Raw, "HEADhello"),
            ("hello", Framing::Close, Encoding::Raw, "HEADhello"),
            (
                "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
                Framing::Chunked,
                Encoding::Raw,
                "HEADhello",
            ),
        ] {
            for pace in paces {
                let (got, end, _) = flow(body.as_bytes(), framing, encoding, pace).await;
                assert_eq!(
                    (&*String::from_utf8(got).unwrap(), end),
                    (expected, Ok(())),
                    "{pace:?}"
                );
            }
        }
        for pace in paces {
            let (got, end, _) = flow(
                b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
                Framing::Chunked,
                Encoding::Chunked,
                pace,
            )
            .await;
            let got = String::from_utf8(got).unwrap();
            assert!(
                end.is_ok() && got.ends_with("\r\n0\r\nA: b\r\n\r\n"),
                "{pace:?}: {got}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_ended() {
        for (body, framing) in [
            (&b"hell"[..], Framing::Length(5)),
            (b"5\r\nhell", Framing::Chunked),
            (b"5\r\nhello\r\n0\r\n", Framing::Chunked),
        ] {
            let (got, end, _) = flow(body, framing, Encoding::Chunked, (100, 100)).await;
            assert_eq!(end, Err(Broken::Sender));
            assert!(!got.ends_with(b"0\r\n\r\n"), "{got:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_receiver_does_not_make_it_keep_more() {
        let raw = vec![b'x'; 1 << 20];
        let chunks = [
            b"10\r\n0123456789abcdef\r\n".repeat(40_000),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat();
        for (body, framing) in [
            (&raw, Framing::Length(1 << 20)),
            (&raw, Framing::Close),
            (&chunks, Framing::Chunked),
        ] {
            for encoding in [Encoding::Raw, Encoding::Chunked] {
                let (_, end, kept) = flow(body, framing, encoding, (100_000, 500)).await;
                assert_eq!(end, Ok(()));
                assert!(
                    kept <= READ_BYTES_MAX + OUT_BYTES_MAX + FRAMING_BYTES,
                    "{framing:?} {encoding:?}: {kept}"
                );
            }
        }
    }
}
