//! Where a head ends, found while its bytes arrive.
//!
//! Bytes that no head contains are refused here, before anything is split: no later step has to think of them.

use bytes::{Buf as _, BytesMut};

use super::FIELDS_MAX;
use crate::server::reason::Fault;

/// Incremental search for the end of a head; refuses bytes that have no business in one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    at: usize,
    lines: usize,
    line_start: usize,
}

/// What a [`Scan`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// A request line, then fields.
    Request,
    /// A status line, whose phrase may hold what a field's value may hold (RFC 9112, 4), then fields.
    Response,
    /// Fields only.
    Trailers,
}

impl Scan {
    /// Looks at the bytes that are new since the last call; returns the length of the section once it is complete,
    /// its empty line included.
    ///
    /// # Errors
    /// A byte that no head contains, or more than `bytes_max` bytes or [`FIELDS_MAX`] fields, or a request line that alone
    /// has so many.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        section: Section,
        bytes_max: usize,
    ) -> Result<Option<usize>, Fault> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            // Nearly every byte is plain; the others are looked at one by one.
            let plain = rest.iter().position(|byte| !matches!(byte, 0x20..=0x7e));
            self.at += plain.unwrap_or(rest.len());
            let Some(&byte) = bytes.get(self.at) else { break };
            match byte {
                b'\r' => match bytes.get(self.at + 1) {
                    Some(b'\n') => {
                        let empty = self.at == self.line_start;
                        self.at += 2;
                        self.line_start = self.at;
                        if self.at > bytes_max {
                            return Err(self.too_long(section));
                        }
                        self.lines += 1;
                        if empty {
                            return Ok(Some(self.at));
                        }
                        if self.lines > FIELDS_MAX + usize::from(section != Section::Trailers) {
                            return Err(Fault::HeadTooLarge);
                        }
                        continue;
                    }
                    Some(_) => return Err(Fault::MalformedRequest("a CR stands without its LF")),
                    None => break,
                },
                b'\n' => return Err(Fault::MalformedRequest("a line ends with LF alone")),
                b'\t' | 0x80.. if self.lines > 0 || section != Section::Request => {}
                0x16 if self.at == 0 && section == Section::Request => {
                    return Err(Fault::MalformedRequest("this port speaks plain HTTP, not TLS"));
                }
                4 | 5 if self.at == 0 && section == Section::Request => {
                    return Err(Fault::MalformedRequest("this port speaks HTTP, not SOCKS"));
                }
                0x80.. => return Err(Fault::MalformedRequest("the request line is not ASCII")),
                _ => return Err(Fault::MalformedRequest("the head has a control byte")),
            }
            self.at += 1;
        }
        if self.at >= bytes_max {
            return Err(self.too_long(section));
        }
        Ok(None)
    }

    /// RFC 9112, 3: a request line that alone is too long is told apart.
    fn too_long(&self, section: Section) -> Fault {
        if section == Section::Request && self.lines == 0 {
            Fault::TargetTooLong
        } else {
            Fault::HeadTooLarge
        }
    }
}

/// Most empty lines before a request. RFC 9112, 2.2, asks for one, which old clients send behind a body.
const EMPTY_LINES_MAX: usize = 4;

/// The empty lines before a request line, which are ignored; more than [`EMPTY_LINES_MAX`] are left to [`Scan`], and
/// are no request.
#[derive(Debug, Default)]
pub struct EmptyLines(usize);

impl EmptyLines {
    /// Takes them away; whether something else has begun behind them.
    pub fn pass(&mut self, buffer: &mut BytesMut) -> bool {
        while self.0 < EMPTY_LINES_MAX && buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.0 += 1;
        }
        !matches!(buffer.as_ref(), b"" | b"\r")
    }

    /// What is left of a head's bytes.
    #[must_use]
    pub fn left_of(&self, bytes_max: usize) -> usize {
        bytes_max.saturating_sub(2 * self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_same_however_the_bytes_arrive() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..text.len() {
            let mut scan = Scan::default();
            let first = scan.advance(&text[..cut], Section::Request, 1024).unwrap();
            let end = first.or_else(|| scan.advance(text, Section::Request, 1024).unwrap());
            assert_eq!(end, Some(text.len() - 4), "cut at {cut}");
        }
    }

    #[test]
    fn empty_lines_are_bounded_and_count() {
        for (lines, rest, left) in [
            ("", "GET", 100),
            ("\r\n", "GET", 98),
            ("\r\n\r\n\r\n\r\n", "GET", 92),
            ("\r\n\r\n\r\n\r\n\r\n", "\r\nGET", 92),
            ("\n", "\nGET", 100),
            ("\r", "\rGET", 100),
        ] {
            let (mut empty, mut buffer) = (EmptyLines::default(), BytesMut::new());
            for byte in lines.bytes() {
                buffer.extend_from_slice(&[byte]);
                empty.pass(&mut buffer);
            }
            buffer.extend_from_slice(b"GET");
            assert!(empty.pass(&mut buffer), "{lines:?}");
            assert_eq!(buffer, rest, "{lines:?}");
            assert_eq!(empty.left_of(100), left, "{lines:?}");
        }
        let mut half = BytesMut::from("\r");
        assert!(!EmptyLines::default().pass(&mut half));
    }

    #[test]
    fn the_bound_on_bytes_is_exact() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let scan = |max| Scan::default().advance(text, Section::Request, max);
        assert_eq!(scan(text.len()), Ok(Some(text.len())));
        assert_eq!(scan(text.len() - 1), Err(Fault::HeadTooLarge));
    }

    #[test]
    fn a_request_line_that_fills_the_head_is_the_targets_fault() {
        let text = b"GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n";
        let line = 32;
        for (max, section, expected) in [
            (line - 1, Section::Request, Fault::TargetTooLong),
            (line - 8, Section::Request, Fault::TargetTooLong),
            (line, Section::Request, Fault::HeadTooLarge),
            (line - 1, Section::Response, Fault::HeadTooLarge),
        ] {
            let whole = Scan::default().advance(text, section, max);
            assert_eq!(whole, Err(expected), "{max}");
            let mut scan = Scan::default();
            let first = scan.advance(&text[..max], section, max);
            let both = first.and_then(|_| scan.advance(text, section, max));
            assert_eq!(both, whole, "{max}, in two parts");
        }
    }

    #[test]
    fn only_a_request_line_is_plain_ascii_without_tabs() {
        for (bytes, request, other) in [
            (&b"GET /\xe4 HTTP/1.1\r\n\r\n"[..], false, true),
            (b"GET\t/ HTTP/1.1\r\n\r\n", false, true),
            (b"GET / HTTP/1.1\r\nA: \xe4\tb\r\n\r\n", true, true),
            (b"GET / HTTP/1.1\r\nA: \x0bb\r\n\r\n", false, false),
            (b"GET / HTTP/1.1\r\nA: \x7fb\r\n\r\n", false, false),
            (b"GET / HTTP/1.1\r\nA: \0b\r\n\r\n", false, false),
        ] {
            let scan = |section| Scan::default().advance(bytes, section, 1024).is_ok();
            assert_eq!(scan(Section::Request), request, "{bytes:?}");
            assert_eq!(scan(Section::Response), other, "{bytes:?}");
            assert_eq!(scan(Section::Trailers), other, "{bytes:?}");
        }
    }
}
