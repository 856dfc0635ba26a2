//! Bodies of requests: where they end, byte by byte, and nothing behind it.
//!
//! A strict decoder of its own, because the head's reader must be the one that finds the next head as well. Chunk
//! extensions are checked and dropped (RFC 9112, 7.1.1); a bare LF, an odd CR or a stray space ends the connection.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{Framing, Scan, Section, parse_trailers};
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
    /// Bytes of the body.
    Data(Bytes),
    /// Its trailers; the end follows.
    Trailers(HeaderMap),
    /// The end; whatever is left in the buffer is the next message.
    End,
    /// More bytes are needed.
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
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
    End,
}

impl Decoder {
    /// A decoder for a request's body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            // A request never ends with its connection (RFC 9112, 6.3).
            Framing::None | Framing::Close | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
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

    /// Takes what it can from the buffer.
    ///
    /// # Errors
    /// The body is malformed; the connection cannot be used any further.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            match &mut self.state {
                State::End => return Ok(Step::End),
                State::Length(left) => {
                    let Some(data) = take(buffer, left) else {
                        return Ok(Step::More);
                    };
                    if *left == 0 {
                        self.state = State::End;
                    }
                    return Ok(Step::Data(data));
                }
                State::Size => {
                    let Some(line) = size_line(buffer)? else {
                        return Ok(Step::More);
                    };
                    let (size, digits) = chunk_size(&line)?;
                    self.extension_bytes += line.len() - digits;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(Fault::MalformedRequest("too many chunk extensions"));
                    }
                    self.state = if size == 0 {
                        State::Trailers(Scan::default())
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(left) => {
                    let Some(data) = take(buffer, left) else {
                        return Ok(Step::More);
                    };
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Step::Data(data));
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
                    let trailers = buffer.split_to(end).freeze();
                    self.state = State::End;
                    if trailers.len() > 2 {
                        return parse_trailers(trailers)
                            .map(Step::Trailers)
                            .map_err(|_| Fault::MalformedRequest("the trailers are malformed"));
                    }
                }
            }
        }
    }
}

/// At most `left` bytes, if there are any.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    if length == 0 {
        return None;
    }
    *left -= length as u64;
    Some(buffer.split_to(length).freeze())
}

/// The chunk-size line without its CRLF, once it is complete.
fn size_line(buffer: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("a chunk size line is malformed");
    let odd = buffer
        .iter()
        .position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte >= 0x7f);
    if odd.unwrap_or(buffer.len()) > SIZE_LINE_BYTES_MAX {
        return Err(BROKEN);
    }
    let Some(at) = odd else { return Ok(None) };
    match (buffer.get(at), buffer.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => {
            let line = buffer.split_to(at).freeze();
            buffer.advance(2);
            Ok(Some(line))
        }
        (Some(b'\r'), None) => Ok(None),
        _ => Err(BROKEN),
    }
}

/// The size, and how many digits it took. Behind it, only well-formed extensions.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("a chunk size is malformed");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // 15 digits cannot overflow; more are leading zeros or a lie.
    if digits == 0 || digits > 15 {
        return Err(BROKEN);
    }
    let (size, extensions) = line.split_at(digits);
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|size| u64::from_str_radix(size, 16).ok())
        .ok_or(BROKEN)?;
    if extensions_are_valid(extensions) {
        Ok((size, digits))
    } else {
        Err(BROKEN)
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, a value being a token or a quoted string.
fn extensions_are_valid(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((b';', tail)) = blank(rest).split_first() else {
            return false;
        };
        let Some(tail) = token(blank(tail)) else {
            return false;
        };
        rest = tail;
        if let Some((b'=', tail)) = blank(tail).split_first() {
            let tail = blank(tail);
            let value = if tail.first() == Some(&b'"') {
                quoted(tail)
            } else {
                token(tail)
            };
            let Some(tail) = value else { return false };
            rest = tail;
        }
    }
    true
}

fn blank(bytes: &[u8]) -> &[u8] {
    let count = bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    bytes.get(count..).unwrap_or_default()
}

/// What is behind a token of at least one character.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
        .count();
    if count == 0 { None } else { bytes.get(count..) }
}

/// What is behind a quoted string.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(1..)?;
    loop {
        match rest {
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', _, tail @ ..] | [_, tail @ ..] => rest = tail,
            [] => return None,
        }
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
                Step::Data(data) => body.extend_from_slice(&data),
                Step::Trailers(map) => trailers = map.len(),
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
    }
}
