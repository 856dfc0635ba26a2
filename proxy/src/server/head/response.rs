//! The head of a response.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::fields::Facts;
use super::{Fields, Framing, Version};
use crate::server::reason::Fault;

/// The head of a response, checked.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The version.
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// Where the fields say that the body ends; [`Self::body`] knows whether there is one.
    pub framing: Framing,
    /// The origin keeps its connection open for another request.
    pub persistent: bool,
    /// The fields.
    pub fields: Fields,
    line: Bytes,
}

impl ResponseHead {
    /// Parses a complete response head, as [`super::Scan`] found it.
    ///
    /// # Errors
    /// [`Fault::UpstreamMalformed`], which says what is.
    pub fn parse(bytes: &Bytes) -> Result<Self, Fault> {
        Self::parse_strictly(bytes).map_err(Fault::of_answer)
    }

    fn parse_strictly(bytes: &Bytes) -> Result<Self, Fault> {
        const NO_STATUS: Fault =
            Fault::UpstreamMalformed("the answer does not begin with a status line such as HTTP/1.1 200 OK");
        let line_end = bytes.iter().position(|byte| *byte == b'\r').ok_or(NO_STATUS)?;
        let line = bytes.slice(..line_end);
        let (version, status) = status_line(&line).ok_or(NO_STATUS)?;
        let fields = Fields::parse(bytes.slice(line_end + 2..))?;
        let facts = Facts::of(&fields)?;
        let framing = facts.framing(version)?.unwrap_or(Framing::Close);
        // An interim response has no body, and one that says otherwise is read differently by whoever believes it.
        if status.is_informational() && !matches!(framing, Framing::Close | Framing::Length(0)) {
            return Err(Fault::UpstreamMalformed("an interim answer announces a body"));
        }
        let persistent = !facts.closes && (version == Version::Http11 || facts.keeps_alive);
        Ok(Self {
            version,
            status,
            framing,
            persistent,
            fields,
            line,
        })
    }

    /// The phrase behind the status, which may be empty.
    #[must_use]
    pub fn phrase(&self) -> &[u8] {
        self.line.get(13..).unwrap_or_default()
    }

    /// Where the body ends, given the request's method (RFC 9112, 6.3).
    #[must_use]
    pub fn body(&self, method: &Method) -> Framing {
        if *method == Method::HEAD
            || self.status.is_informational()
            || self.status == StatusCode::NO_CONTENT
            || self.status == StatusCode::NOT_MODIFIED
        {
            Framing::None
        } else {
            self.framing
        }
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }
}

/// `HTTP/1.x SP ddd [SP phrase]`; a missing space before an empty phrase is common and harmless.
fn status_line(line: &[u8]) -> Option<(Version, StatusCode)> {
    let version = Version::of(line.get(..8)?)?;
    if line.get(8) != Some(&b' ') || !matches!(line.get(12), None | Some(b' ')) {
        return None;
    }
    let status = StatusCode::from_bytes(line.get(9..12)?).ok()?;
    (status.as_u16() < 600).then_some((version, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_held_to_the_same_rules() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, Framing::Close))),
            ("HTTP/1.1 204\r\n\r\n", Some((204, Framing::Close))),
            ("HTTP/1.2 200 OK\r\n\r\n", Some((200, Framing::Close))),
            ("HTTP/1.10 200 OK\r\n\r\n", None),
            ("HTTP/2.1 200 OK\r\n\r\n", None),
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
