//! The fields of a head: split once, kept as they arrived, and what they say about framing.
//!
//! Order, spelling and repetition stay; whoever passes fields on sees exactly what was received.

use std::ops::Range;

use bytes::Bytes;

use super::{FIELDS_MAX, Framing, Version};
use crate::server::reason::Fault;

/// Fields of a head that has room for more without growing; most have about so many.
const FIELDS_USUAL: usize = 16;

/// Fields, in order.
#[derive(Clone, Debug)]
pub struct Fields {
    bytes: Bytes,
    ranges: Vec<(Range<usize>, Range<usize>)>,
}

impl Fields {
    /// Splits complete lines, the last of them empty, as [`super::Scan`] found them: `name: value`, no white space before
    /// the colon, no folding.
    ///
    /// # Errors
    /// A line that is no field, or more than [`FIELDS_MAX`] of them.
    pub fn parse(bytes: Bytes) -> Result<Self, Fault> {
        let mut ranges = Vec::with_capacity(FIELDS_USUAL);
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|byte| *byte == b'\r')
                .ok_or(Fault::MalformedRequest("the head is not complete"))?;
            if end == 0 {
                return Ok(Self { bytes, ranges });
            }
            if ranges.len() == FIELDS_MAX {
                return Err(Fault::HeadTooLarge);
            }
            let line = rest.get(..end).unwrap_or_default();
            let name = line.iter().take_while(|byte| is_token(**byte)).count();
            if name == 0 || line.get(name) != Some(&b':') {
                return Err(Fault::MalformedRequest("a field name is not a token"));
            }
            let value = line.get(name + 1..).unwrap_or_default();
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let before = value.iter().take_while(|byte| blank(byte)).count();
            let behind = value.iter().rev().take_while(|byte| blank(byte)).count();
            let start = at + name + 1 + before;
            ranges.push((at..at + name, start..(at + end).saturating_sub(behind).max(start)));
            at += end + 2;
        }
    }

    /// Names and values as they arrived.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(name, value)| {
            let at = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            (at(name), at(value))
        })
    }

    /// The values of a field, wherever it stands.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// What the fields say about framing and routing, each with how often it was said.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    lengths: usize,
    length: Option<u64>,
    codings: usize,
    chunked: bool,
    pub(super) hosts: usize,
    pub(super) host: &'a [u8],
    expects: usize,
    expect: &'a [u8],
    pub(super) closes: bool,
    pub(super) keeps_alive: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(fields: &'a Fields) -> Result<Self, Fault> {
        let mut facts = Self::default();
        for (name, value) in fields.iter() {
            // The length is looked at first: nearly every field is told apart by it alone.
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    facts.lengths += 1;
                    facts.length = Some(length(value)?);
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    facts.codings += 1;
                    facts.chunked = value.eq_ignore_ascii_case(b"chunked");
                }
                4 if name.eq_ignore_ascii_case(b"host") => {
                    facts.hosts += 1;
                    facts.host = value;
                }
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    facts.expects += 1;
                    facts.expect = value;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for token in tokens(value) {
                        facts.closes |= token.eq_ignore_ascii_case(b"close");
                        facts.keeps_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Where the message's body ends, if a field says so.
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, Fault> {
        match (self.lengths, self.codings) {
            (0, 0) => Ok(None),
            (1, 0) => Ok(self.length.map(Framing::Length)),
            (2.., 0) => Err(Fault::MalformedRequest("more than one Content-Length")),
            (1.., 1..) => Err(Fault::MalformedRequest("Content-Length beside Transfer-Encoding")),
            (0, _) if version == Version::Http10 => {
                Err(Fault::MalformedRequest("Transfer-Encoding in HTTP/1.0"))
            }
            (0, 1) if self.chunked => Ok(Some(Framing::Chunked)),
            (0, 1) => Err(Fault::TransferCodingUnsupported),
            (0, _) => Err(Fault::MalformedRequest("more than one Transfer-Encoding")),
        }
    }

    /// HTTP/1.0 has no expectations (RFC 9110, 10.1.1).
    pub(super) fn expectation(&self, version: Version) -> Result<bool, Fault> {
        match (version, self.expects) {
            (Version::Http10, _) | (Version::Http11, 0) => Ok(false),
            (Version::Http11, 1) if self.expect.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            (Version::Http11, _) => Err(Fault::ExpectationUnsupported),
        }
    }
}

/// One `Content-Length`: digits only. Leading zeros are digits too, but no parser reads them as octal.
fn length(value: &[u8]) -> Result<u64, Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("Content-Length is not a number");
    // 18 digits are an exabyte and cannot overflow.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(BROKEN);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(BROKEN)
}

/// The members of a comma-separated list, without their white space.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// RFC 9110, 5.6.2.
pub(in crate::server) const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_and_nothing_is_changed() {
        let text = Bytes::from_static(
            b"a:b\r\nX-Odd_Name~: \t v a l \t\r\nempty:\r\nblank: \t \r\na: again: b\r\n\r\n",
        );
        let fields = Fields::parse(text).unwrap();
        let got: Vec<(&[u8], &[u8])> = fields.iter().collect();
        let expected: [(&[u8], &[u8]); 5] = [
            (b"a", b"b"),
            (b"X-Odd_Name~", b"v a l"),
            (b"empty", b""),
            (b"blank", b""),
            (b"a", b"again: b"),
        ];
        assert_eq!(got, expected);
        assert_eq!(fields.all("A").count(), 2);
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in [
            "a : b\r\n\r\n",
            "a\t: b\r\n\r\n",
            " a: b\r\n\r\n",
            "\ta: b\r\n\r\n",
            ": b\r\n\r\n",
            "a\r\n\r\n",
            "a b: c\r\n\r\n",
            "a/b: c\r\n\r\n",
            "a\u{e4}: c\r\n\r\n",
            "(a): c\r\n\r\n",
            "a: b",
        ] {
            assert!(
                Fields::parse(Bytes::copy_from_slice(text.as_bytes())).is_err(),
                "{text:?}"
            );
        }
    }
}
