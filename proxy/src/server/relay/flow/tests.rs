//! A body is whole whatever the pace, and little of it is kept.

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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
        let polled = flow.poll(cx, &mut input, &mut from, &mut to, Some(&fields), &|| true);
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

#[tokio::test]
async fn a_held_body_is_sent_from_where_it_stands_and_can_be_sent_again() {
    for length in [0, 1, OUT_BYTES_MAX, OUT_BYTES_MAX + 1, 5 * OUT_BYTES_MAX] {
        let body = Bytes::from(vec![b'x'; length]);
        let mut flow = Flow::whole(BytesMut::from("head"), body.clone());
        assert!(
            flow.capacity() <= 2 * (OUT_BYTES_MAX + 4),
            "a long body was copied"
        );
        for _ in 0..2 {
            let (mut from, mut to) = (Trickle::new(b"", 1), Trickle::new(b"", 1000));
            let mut input = BytesMut::new();
            let moved =
                std::future::poll_fn(|cx| flow.poll(cx, &mut input, &mut from, &mut to, None, &|| true));
            assert_eq!(moved.await, Ok(()));
            assert!(to.bytes == [b"head", &body[..]].concat(), "{length}");
            assert!(flow.is_repeatable() && flow.bytes == length as u64);
            flow.rewind();
        }
    }
}
