//! Which fields end at this hop, for requests, answers and trailers alike (RFC 9110, 7.6.1).
//!
//! Whatever Connection names goes, as the RFC demands, Authorization and cookies included: the sender of the message
//! took back its own field. It cannot take back what the proxy says itself: Host, Content-Length, Transfer-Encoding and
//! Via are written anew from what was parsed, after fields have been dropped, so naming them changes nothing.

use std::fmt::Write as _;

use bytes::BytesMut;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::head::{Fields, Version, tokens};

/// The fields of a message that go on.
#[derive(Debug)]
pub struct EndToEnd<'a> {
    fields: &'a Fields,
    named: Vec<&'a [u8]>,
}

impl<'a> EndToEnd<'a> {
    /// Those of these fields.
    #[must_use]
    pub fn of(fields: &'a Fields) -> Self {
        let named = fields
            .all("connection")
            .flat_map(tokens)
            // These name no field, or one that ends here in any case.
            .filter(|token| {
                ![&b"close"[..], b"keep-alive", b"te", b"upgrade"]
                    .iter()
                    .any(|usual| token.eq_ignore_ascii_case(usual))
            })
            .collect();
        Self { fields, named }
    }

    /// Names and values, in order. Framing is left to whoever prints the message.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter().filter(|(name, _)| !self.ends(name))
    }

    /// What the message announces of its trailers; it goes on only where trailers do.
    pub(super) fn announced_trailers(&self) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(b"trailer"));
        self.fields.all("trailer").filter(move |_| !named)
    }

    /// The fields of this message's trailer section that may stand in one and go on.
    pub(super) fn trailers<'b>(&self, trailers: &'b Fields) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        trailers
            .iter()
            .filter(|(name, _)| !self.ends(name) && !matters_before_the_body(name))
    }

    fn ends(&self, name: &[u8]) -> bool {
        ends_here(name) || self.named.iter().any(|named| name.eq_ignore_ascii_case(named))
    }
}

/// Fields of one connection, of framing, and those in which the proxy itself is spoken to or speaks.
fn ends_here(name: &[u8]) -> bool {
    const FIXED: [&str; 8] = [
        "connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "content-length",
        "trailer",
    ];
    const PREFIXES: [&str; 3] = ["proxy-", "x-egressway-", "x-whsentry-"];
    is_one_of(name, &FIXED) || PREFIXES.iter().any(|prefix| begins(name, prefix))
}

/// RFC 9110, 6.5.1: framing, routing, request modifiers, authentication, answer control and content format. Merged into
/// a head by some receiver, they would change what the head meant.
fn matters_before_the_body(name: &[u8]) -> bool {
    const NAMES: [&str; 29] = [
        "host",
        "via",
        "forwarded",
        "max-forwards",
        "expect",
        "cache-control",
        "pragma",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "authorization",
        "www-authenticate",
        "cookie",
        "set-cookie",
        "age",
        "date",
        "expires",
        "location",
        "retry-after",
        "vary",
        "warning",
        "content-encoding",
        "content-type",
        "content-range",
        "origin",
        "referer",
    ];
    is_one_of(name, &NAMES) || begins(name, "x-forwarded-")
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|other| other.len() == name.len() && begins(name, other))
}

/// Any case, and an underscore for a hyphen: servers behind CGI and WSGI cannot tell them apart.
fn begins(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix.as_bytes()).all(|(byte, expected)| {
            byte.to_ascii_lowercase() == *expected || (*byte == b'_' && *expected == b'-')
        })
}

/// Adds a field's line.
pub(super) fn print(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110, 6.6.1: when an answer was made, or received without a word about that.
pub(super) fn print_date(out: &mut BytesMut) {
    if let Some(now) = http_date(Timestamp::now()) {
        print(out, b"Date", now.as_bytes());
    }
}

/// RFC 9110, 5.6.7; `None` outside of the years 0 to 9999, which no clock shows.
pub(super) fn http_date(time: Timestamp) -> Option<String> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}

/// RFC 9110, 7.6.3: the received version and a pseudonym, behind what others said.
pub(super) fn print_via(out: &mut BytesMut, received: Version, name: &str) {
    let version = match received {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    // Writing to memory does not fail.
    let _ = write!(out, "Via: {version} {name}\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_goes_on_keeps_order_and_spelling() {
        let all = fields(
            "B: 1\r\nConnection: close, X-Hop , AUTHORIZATION\r\na: 2\r\nx-hop: 3\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
             Proxy-Authorization: 1\r\nPROXY-anything: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: 1\r\nTrailer: a\r\n\
             Authorization: Basic\r\nX-Egressway-TLS: true\r\nx-whsentry-tls: 1\r\nX-Egress: kept\r\nB: 4\r\nproxy: kept\r\n\r\n",
        );
        let got: Vec<String> = EndToEnd::of(&all)
            .iter()
            .map(|(name, value)| format!("{}={}", str(name), str(value)))
            .collect();
        assert_eq!(got, ["B=1", "a=2", "X-Egress=kept", "B=4", "proxy=kept"]);
    }

    #[test]
    fn trailers_that_would_change_the_head_are_dropped() {
        let head = fields("Connection: x-named\r\n\r\n");
        let trailers = fields(
            "Content-MD5: kept\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\nHost: a\r\nAuthorization: b\r\n\
             Set-Cookie: c\r\nCache-Control: d\r\nX-Named: e\r\nProxy-Status: f\r\nContent-Type: g\r\nTrailer: h\r\n\
             Via: i\r\nX-Forwarded-For: j\r\nX-Checksum: kept\r\n\r\n",
        );
        let got: Vec<&str> = EndToEnd::of(&head)
            .trailers(&trailers)
            .map(|(name, _)| str(name))
            .collect();
        assert_eq!(got, ["Content-MD5", "X-Checksum"]);
    }

    fn str(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }
}
