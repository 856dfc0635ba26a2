//! Heads of HTTP/1 messages: found, checked and framed here, once, for requests and responses alike.
//!
//! Strict, because a client's bodies are chosen by strangers: whatever two parsers could read differently is refused,
//! and the connection with it (RFC 9112, 2.2, 5 and 6.3; request smuggling). [`Scan`] finds the end and refuses bytes;
//! httparse splits fields; nothing else in this crate decides where a request ends. No sockets here.

use bytes::Bytes;
use egressway_core::acl::Target;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::reason::Fault;

/// Most fields of a head. Go allows any number, nginx and hyper 100; webhooks carry a dozen.
pub const FIELDS_MAX: usize = 100;
/// Longest method; the longest registered is 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// HTTP/1's minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No chunked, no 1xx, the connection closes.
    Http10,
    /// All of it.
    Http11,
}

/// Where the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection; responses only.
    Close,
}

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
    /// A start line, then fields.
    Head,
    /// Fields only.
    Trailers,
}

impl Scan {
    /// Looks at the bytes that are new since the last call; returns the length of the section once it is complete,
    /// its empty line included.
    ///
    /// # Errors
    /// A byte that no head contains, or more than `bytes_max` bytes or [`FIELDS_MAX`] fields.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        section: Section,
        bytes_max: usize,
    ) -> Result<Option<usize>, Fault> {
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\r' => match bytes.get(self.at + 1) {
                    Some(b'\n') => {
                        let empty = self.at == self.line_start;
                        self.at += 2;
                        self.line_start = self.at;
                        self.lines += 1;
                        if self.at > bytes_max {
                            return Err(Fault::HeadTooLarge);
                        }
                        if empty {
                            return Ok(Some(self.at));
                        }
                        if self.lines > FIELDS_MAX + usize::from(section == Section::Head) {
                            return Err(Fault::HeadTooLarge);
                        }
                        continue;
                    }
                    Some(_) => return Err(Fault::MalformedRequest("a CR stands without its LF")),
                    None => break,
                },
                b'\n' => return Err(Fault::MalformedRequest("a line ends with LF alone")),
                b'\t' if self.lines > 0 || section == Section::Trailers => {}
                0x16 if self.at == 0 && section == Section::Head => {
                    return Err(Fault::MalformedRequest("this port speaks plain HTTP, not TLS"));
                }
                0..0x20 | 0x7f => return Err(Fault::MalformedRequest("the head has a control byte")),
                0x80.. if self.lines == 0 && section == Section::Head => {
                    return Err(Fault::MalformedRequest("the request line is not ASCII"));
                }
                _ => {}
            }
            self.at += 1;
        }
        if self.at >= bytes_max {
            return Err(Fault::HeadTooLarge);
        }
        Ok(None)
    }
}

/// The head of a request, checked.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The request target as it was sent: printable ASCII without spaces.
    pub target: String,
    /// The version.
    pub version: Version,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// The client will close, or speaks HTTP/1.0.
    pub closes: bool,
    fields: Fields,
}

#[derive(Clone, Debug)]
struct Fields {
    bytes: Bytes,
    ranges: Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>,
}

impl Head {
    /// Parses a complete head, as [`Scan`] found it.
    ///
    /// # Errors
    /// What is wrong with it; the connection cannot be used any further.
    pub fn parse(bytes: Bytes) -> Result<Self, Fault> {
        let line_end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Fault::MalformedRequest("the request line is not complete"))?;
        let line = bytes
            .get(..line_end)
            .and_then(|line| std::str::from_utf8(line).ok())
            .ok_or(Fault::MalformedRequest("the request line is not ASCII"))?;
        let (method, target, version) = request_line(line)?;
        let target = target.to_owned();
        let fields = Fields::parse(bytes.slice(line_end + 2..))?;
        let facts = Facts::of(&fields)?;
        check_host(&facts, version)?;
        let framing = facts.framing(version)?;
        Ok(Self {
            framing: framing.unwrap_or(Framing::None),
            expects_continue: facts.expectation(version)?,
            closes: version == Version::Http10 || facts.closes,
            method,
            target,
            version,
            fields,
        })
    }

    /// The fields as a map.
    ///
    /// # Errors
    /// A name or value that the `http` crate does not take.
    pub fn header_map(&self) -> Result<HeaderMap, Fault> {
        self.fields.header_map()
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }
}

/// `METHOD SP target SP HTTP/1.x`, single spaces.
fn request_line(line: &str) -> Result<(Method, &str, Version), Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("the request line is not METHOD target HTTP/1.1");
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BROKEN);
    };
    if target.is_empty() || method.len() > METHOD_BYTES_MAX {
        return Err(BROKEN);
    }
    let version = match version.as_bytes() {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Fault::VersionUnsupported);
        }
        _ => return Err(BROKEN),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BROKEN)?;
    Ok((method, target, version))
}

/// Parses fields that stand alone: trailers.
///
/// # Errors
/// What is wrong with them.
pub fn parse_trailers(bytes: Bytes) -> Result<HeaderMap, Fault> {
    Fields::parse(bytes)?.header_map()
}

/// The head of a response, as far as it decides about framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// Where the body ends, if the request's method lets it have one.
    pub framing: Framing,
}

impl ResponseHead {
    /// Parses a complete response head, as [`Scan`] found it.
    ///
    /// # Errors
    /// [`Fault::UpstreamMalformed`].
    pub fn parse(bytes: &Bytes) -> Result<Self, Fault> {
        Self::parse_strictly(bytes).map_err(|_| Fault::UpstreamMalformed)
    }

    fn parse_strictly(bytes: &Bytes) -> Result<Self, Fault> {
        let line_end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(Fault::UpstreamMalformed)?;
        let line = bytes.get(..line_end).ok_or(Fault::UpstreamMalformed)?;
        let (version, status) = status_line(line).ok_or(Fault::UpstreamMalformed)?;
        let facts_of = Fields::parse(bytes.slice(line_end + 2..))?;
        let facts = Facts::of(&facts_of)?;
        let framing = facts.framing(version)?.unwrap_or(Framing::Close);
        Ok(Self { status, framing })
    }
}

/// `HTTP/1.x SP ddd [SP phrase]`; a missing space before an empty phrase is common and harmless.
fn status_line(line: &[u8]) -> Option<(Version, StatusCode)> {
    let version = match line.get(..9)? {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return None,
    };
    if !matches!(line.get(12), None | Some(b' ')) {
        return None;
    }
    let status = StatusCode::from_bytes(line.get(9..12)?).ok()?;
    (status.as_u16() < 600).then_some((version, status))
}

impl Fields {
    fn parse(bytes: Bytes) -> Result<Self, Fault> {
        let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let fields = match httparse::parse_headers(&bytes, &mut slots) {
            Ok(httparse::Status::Complete((_, fields))) => fields,
            Ok(httparse::Status::Partial) => return Err(Fault::MalformedRequest("the head is not complete")),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
            Err(httparse::Error::HeaderName) => {
                return Err(Fault::MalformedRequest("a field name is not a token"));
            }
            Err(_) => return Err(Fault::MalformedRequest("a field is malformed")),
        };
        // Ranges instead of references, so that the head can outlive the parser's slots without copying bytes.
        let base = bytes.as_ptr().addr();
        let range = |part: &[u8]| {
            let start = part.as_ptr().addr().saturating_sub(base);
            start..start + part.len()
        };
        let ranges = fields
            .iter()
            .map(|field| (range(field.name.as_bytes()), range(field.value)))
            .collect();
        Ok(Self { bytes, ranges })
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(name, value)| {
            let at = |range: &std::ops::Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            (at(name), at(value))
        })
    }

    fn header_map(&self) -> Result<HeaderMap, Fault> {
        let mut map = HeaderMap::with_capacity(self.ranges.len());
        for (name, value) in &self.ranges {
            let name = self
                .bytes
                .get(name.clone())
                .and_then(|name| HeaderName::from_bytes(name).ok())
                .ok_or(Fault::MalformedRequest("a field name is not a token"))?;
            let value = HeaderValue::from_maybe_shared(self.bytes.slice(value.clone()))
                .map_err(|_| Fault::MalformedRequest("a field value is malformed"))?;
            map.append(name, value);
        }
        Ok(map)
    }
}

/// What the fields say about framing and routing, each with how often it was said.
#[derive(Debug, Default)]
struct Facts<'a> {
    lengths: usize,
    length: Option<u64>,
    codings: usize,
    chunked: bool,
    hosts: usize,
    host: &'a [u8],
    expects: usize,
    expect: &'a [u8],
    closes: bool,
}

impl<'a> Facts<'a> {
    fn of(fields: &'a Fields) -> Result<Self, Fault> {
        let mut facts = Self::default();
        for (name, value) in fields.iter() {
            if name.eq_ignore_ascii_case(b"content-length") {
                facts.lengths += 1;
                facts.length = Some(length(value)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                facts.codings += 1;
                facts.chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"host") {
                facts.hosts += 1;
                facts.host = value;
            } else if name.eq_ignore_ascii_case(b"expect") {
                facts.expects += 1;
                facts.expect = value;
            } else if name.eq_ignore_ascii_case(b"connection") {
                facts.closes |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"close"));
            }
        }
        Ok(facts)
    }

    fn framing(&self, version: Version) -> Result<Option<Framing>, Fault> {
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
    fn expectation(&self, version: Version) -> Result<bool, Fault> {
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

fn check_host(facts: &Facts<'_>, version: Version) -> Result<(), Fault> {
    match (facts.hosts, version) {
        (0, Version::Http10) => Ok(()),
        (0, Version::Http11) => Err(Fault::MalformedRequest("Host is missing")),
        (1, _) => match std::str::from_utf8(facts.host).map(|host| Target::parse_with_default(host, 80)) {
            Ok(Ok(_)) if facts.host.is_ascii() => Ok(()),
            _ => Err(Fault::MalformedRequest("Host is malformed")),
        },
        (_, _) => Err(Fault::MalformedRequest("more than one Host")),
    }
}

/// The members of a comma-separated list, without their white space.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, Fault> {
        let mut scan = Scan::default();
        match scan.advance(text.as_bytes(), Section::Head, 4096)? {
            Some(end) => Head::parse(Bytes::copy_from_slice(&text.as_bytes()[..end])),
            None => panic!("{text:?} is not complete"),
        }
    }

    #[test]
    fn framing_of_requests() {
        for (fields, expected) in [
            ("", Ok(Framing::None)),
            ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
            ("Content-Length: 12\r\n", Ok(Framing::Length(12))),
            ("Content-Length:\t12 \r\n", Ok(Framing::Length(12))),
            ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
            ("tRANSFER-eNCODING: CHUNKED\r\n", Ok(Framing::Chunked)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(501)),
            ("Transfer-Encoding: identity\r\n", Err(501)),
            ("Transfer-Encoding: xchunked\r\n", Err(501)),
            ("Transfer-Encoding:\r\n", Err(501)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(400),
            ),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Err(400)),
            ("Content-Length: 1\r\nTransfer-Encoding: xchunked\r\n", Err(400)),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(400)),
            ("Content-Length: 1, 1\r\n", Err(400)),
            ("Content-Length: +1\r\n", Err(400)),
            ("Content-Length: -1\r\n", Err(400)),
            ("Content-Length: 0x1\r\n", Err(400)),
            ("Content-Length: 1 2\r\n", Err(400)),
            ("Content-Length:\r\n", Err(400)),
            ("Content-Length: 9999999999999999999\r\n", Err(400)),
        ] {
            let text = format!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
            let got = head(&text)
                .map(|head| head.framing)
                .map_err(|fault| super::super::reason::Reason::from(fault).status().as_u16());
            assert_eq!(got, expected, "{fields:?}");
        }
    }

    #[test]
    fn the_scan_finds_the_same_end_however_the_bytes_arrive() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..text.len() {
            let mut scan = Scan::default();
            let first = scan.advance(&text[..cut], Section::Head, 1024).unwrap();
            let end = first.or_else(|| scan.advance(text, Section::Head, 1024).unwrap());
            assert_eq!(end, Some(text.len() - 4), "cut at {cut}");
        }
    }

    #[test]
    fn the_bound_on_bytes_is_exact() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let scan = |max| Scan::default().advance(text, Section::Head, max);
        assert_eq!(scan(text.len()), Ok(Some(text.len())));
        assert_eq!(scan(text.len() - 1), Err(Fault::HeadTooLarge));
    }

    #[test]
    fn the_bound_on_fields_is_exact() {
        let text = |fields: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(fields.saturating_sub(1))
            )
        };
        assert!(head(&text(FIELDS_MAX)).is_ok());
        assert_eq!(head(&text(FIELDS_MAX + 1)).unwrap_err(), Fault::HeadTooLarge);
    }

    #[test]
    fn responses_are_held_to_the_same_rules() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, Framing::Close))),
            ("HTTP/1.1 204\r\n\r\n", Some((204, Framing::Close))),
            (
                "HTTP/1.0 200 \r\nContent-Length: 3\r\n\r\n",
                Some((200, Framing::Length(3))),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some((200, Framing::Chunked)),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                None,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
                None,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", None),
            ("HTTP/1.1 20 OK\r\n\r\n", None),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("HTTP/1.1 999 OK\r\n\r\n", None),
            ("HTTP/2 200 OK\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", None),
            ("ICY 200 OK\r\n\r\n", None),
        ] {
            let got = ResponseHead::parse(&Bytes::from_static(text.as_bytes()));
            assert_eq!(
                got.ok().map(|head| (head.status.as_u16(), head.framing)),
                expected,
                "{text:?}"
            );
        }
    }
}
