//! Bodies: where they end, byte by byte, and nothing behind it.
//!
//! A strict decoder of its own, for requests and answers alike, because the head's reader must be the one that finds the
//! next head as well. Chunk extensions are checked and dropped (RFC 9112, 7.1.1); a bare LF, an odd CR or a stray space
//! ends the connection. Bytes stay where they are: the decoder says how many of them are body, the caller moves them.

mod chunk;

use bytes::{Buf as _, BytesMut};

use self::chunk::{chunk_size, size_line};
use super::head::{Fields, Framing, Scan, Section};
use super::reason::Fault;

/// Longest chunk-size line; hyper allows 16 KiB of extensions in all, no known client sends any.
const SIZE_LINE_BYTES_MAX: usize = 1024;
/// Most bytes that size lines may take beyond their digits over one body: endless extensions are an attack.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Longest trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// What the next bytes are.
#[derive(Debug)]
pub enum Step {
    /// So many bytes at the buffer's start, at least one, are body; [`Decoder::take`] says how many went on.
    Data(usize),
    /// Its trailers; the end follows.
    Trailers(Fields),
    /// The end; whatever is left in the buffer is the next message.
    End,
    /// More bytes are needed; if none come, [`Decoder::may_end`] says whether that is the body's end.
    More,
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extension_bytes: usize,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Close,
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
    End,
}

impl Decoder {
    /// A decoder for a body that ends so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        };
        Self {
            state,
            extension_bytes: 0,
        }
    }

    /// Whether the body has been read to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Whether the connection's end is the body's; any other body that the connection breaks off is not complete.
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::End | State::Close)
    }

    /// Says what stands at the buffer's start, and takes from it what is no body.
    ///
    /// # Errors
    /// The body is malformed; the connection cannot be used any further.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            match &mut self.state {
                State::End => return Ok(Step::End),
                State::Length(left) | State::Data(left) => return Ok(data(buffer, *left)),
                State::Close => return Ok(data(buffer, u64::MAX)),
                State::Size => {
                    let Some(line) = size_line(buffer)? else {
                        return Ok(Step::More);
                    };
                    let (size, digits) = chunk_size(line)?;
                    self.extension_bytes += line.len() - digits;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(Fault::MalformedRequest("too many chunk extensions"));
                    }
                    let end = line.len() + 2;
                    buffer.advance(end);
                    self.state = if size == 0 {
                        State::Trailers(Scan::default())
                    } else {
                        State::Data(size)
                    };
                }
                State::DataEnd => match (buffer.first(), buffer.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    (None, _) | (Some(b'\r'), None) => return Ok(Step::More),
                    (Some(_), _) => return Err(Fault::MalformedRequest("a chunk is longer than its size")),
                },
                State::Trailers(scan) => {
                    let end = match scan.advance(buffer, Section::Trailers, TRAILER_BYTES_MAX) {
                        Ok(Some(end)) => end,
                        Ok(None) => return Ok(Step::More),
                        Err(_) => return Err(Fault::MalformedRequest("the trailers are malformed")),
                    };
                    self.state = State::End;
                    if end == 2 {
                        buffer.advance(2);
                        return Ok(Step::End);
                    }
                    return Fields::parse(buffer.split_to(end).freeze())
                        .map(Step::Trailers)
                        .map_err(|_| Fault::MalformedRequest("the trailers are malformed"));
                }
            }
        }
    }

    /// Takes body bytes from the buffer: at most as many as [`Step::Data`] said.
    pub fn take(&mut self, buffer: &mut BytesMut, count: usize) {
        buffer.advance(count);
        match &mut self.state {
            State::Length(left) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    self.state = State::End;
                }
            }
            State::Data(left) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    self.state = State::DataEnd;
                }
            }
            State::Close | State::Size | State::DataEnd | State::Trailers(_) | State::End => {}
        }
    }
}

fn data(buffer: &BytesMut, left: u64) -> Step {
    match usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len()) {
        0 => Step::More,
        count => Step::Data(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes byte by byte: every state has to survive a cut anywhere.
    fn decode(framing: Framing, bytes: &[u8]) -> Result<(String, usize, String), Fault> {
        let mut decoder = Decoder::new(framing);
        let (mut buffer, mut body, mut trailers) = (BytesMut::new(), Vec::new(), 0);
        let mut bytes = bytes.iter();
        loop {
            match decoder.decode(&mut buffer)? {
                Step::Data(count) => {
                    body.extend_from_slice(&buffer[..count]);
                    decoder.take(&mut buffer, count);
                }
                Step::Trailers(fields) => trailers = fields.iter().count(),
                Step::End => {
                    let mut rest = buffer.to_vec();
                    rest.extend(bytes);
                    return Ok((
                        String::from_utf8(body).unwrap(),
                        trailers,
                        String::from_utf8(rest).unwrap(),
                    ));
                }
                Step::More => match bytes.next() {
                    Some(byte) => buffer.extend_from_slice(&[*byte]),
                    None if decoder.may_end() => {
                        return Ok((String::from_utf8(body).unwrap(), trailers, String::new()));
                    }
                    None => return Err(Fault::UpstreamClosed),
                },
            }
        }
    }

    #[track_caller]
    fn good(bytes: &str, body: &str, trailers: usize, rest: &str) {
        assert_eq!(
            decode(Framing::Chunked, bytes.as_bytes()),
            Ok((body.to_owned(), trailers, rest.to_owned())),
            "{bytes:?}"
        );
    }

    #[test]
    fn well_formed_chunks() {
        good("0\r\n\r\n", "", 0, "");
        good("5\r\nhello\r\n0\r\n\r\nGET", "hello", 0, "GET");
        good("a\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", "0123456789x", 0, "");
        good("1;a\r\nx\r\n0;b=c\r\n\r\n", "x", 0, "");
        good("1 ; a = \"q;\\\"uoted\" ;b\r\nx\r\n0\r\n\r\n", "x", 0, "");
        good("0\r\nA: b\r\nC: d\r\n\r\nrest", "", 2, "rest");
    }

    #[test]
    fn malformed_chunks() {
        for bytes in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\nx\r\n",
            "0x1\r\nx\r\n",
            " 1\r\nx\r\n",
            "1 \r\nx\r\n",
            "1\nx\r\n",
            "1\r\nx\n",
            "1\r\nx0\r\n\r\n",
            "1\r\nxy\r\n",
            "1\rx\r\n",
            "1;\r\nx\r\n",
            "1;a\nb\r\nx\r\n",
            "1;a\rb\r\nx\r\n",
            "1;a=\r\nx\r\n",
            "1;a=\"b\r\nx\r\n",
            "1;a=\"b\nc\"\r\nx\r\n",
            "1;a b\r\nx\r\n",
            "1;\u{0}\r\nx\r\n",
            "10000000000000000\r\n",
            "ffffffffffffffff1\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            let got = decode(Framing::Chunked, bytes.as_bytes());
            assert!(
                matches!(got, Err(Fault::MalformedRequest(_))),
                "{bytes:?}: {got:?}"
            );
        }
        let endless = format!("1;{}\r\nx\r\n", "a".repeat(SIZE_LINE_BYTES_MAX));
        assert!(decode(Framing::Chunked, endless.as_bytes()).is_err());
        let many = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(17);
        assert!(decode(Framing::Chunked, many.as_bytes()).is_err());
    }

    #[test]
    fn lengths() {
        assert_eq!(
            decode(Framing::Length(3), b"abcdef"),
            Ok(("abc".to_owned(), 0, "def".to_owned()))
        );
        assert_eq!(
            decode(Framing::None, b"GET"),
            Ok((String::new(), 0, "GET".to_owned()))
        );
        assert!(Decoder::new(Framing::Length(0)).is_done());
        assert_eq!(decode(Framing::Length(4), b"abc"), Err(Fault::UpstreamClosed));
    }

    #[test]
    fn without_a_length_the_connection_is_the_end() {
        assert_eq!(
            decode(Framing::Close, b"abc"),
            Ok(("abc".to_owned(), 0, String::new()))
        );
    }
}
