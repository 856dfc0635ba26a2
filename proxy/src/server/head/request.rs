//! The head of a request.

use bytes::Bytes;
use egressway_core::acl::Target;
use http::Method;

use super::fields::Facts;
use super::{Fields, Framing, Version};
use crate::server::reason::Fault;

/// Longest method; the longest registered is 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

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
    /// The client will close, or speaks HTTP/1.0: a proxy keeps no connection of such a client, whatever it asks for
    /// (RFC 9112, 9.3), because some older proxy may have passed on the wish of somebody else.
    pub closes: bool,
    /// The fields.
    pub fields: Fields,
}

impl Head {
    /// Parses a complete head, as [`super::Scan`] found it.
    ///
    /// # Errors
    /// What is wrong with it; the connection cannot be used any further.
    pub fn parse(bytes: Bytes) -> Result<Self, Fault> {
        let line_end = bytes
            .iter()
            .position(|byte| *byte == b'\r')
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
        let (expects_continue, closes) = (facts.expectation(version)?, facts.closes);
        Ok(Self {
            framing: framing.unwrap_or(Framing::None),
            expects_continue,
            closes: version == Version::Http10 || closes,
            method,
            target,
            version,
            fields,
        })
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
    if target.is_empty() {
        return Err(BROKEN);
    }
    let version = match (Version::of(version.as_bytes()), version.as_bytes()) {
        (Some(version), _) => version,
        (None, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Fault::VersionUnsupported);
        }
        (None, _) => return Err(BROKEN),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BROKEN)?;
    if method.as_str().len() > METHOD_BYTES_MAX {
        return Err(Fault::MethodTooLong);
    }
    Ok((method, target, version))
}

/// It has to be there, once and well-formed, and is then never read: the target decides (RFC 9112, 3.2 and 3.2.2). An
/// empty one is well-formed: it says that the target has no authority, whatever the target says.
fn check_host(facts: &Facts<'_>, version: Version) -> Result<(), Fault> {
    match (facts.hosts, version) {
        (0, Version::Http10) => Ok(()),
        (0, Version::Http11) => Err(Fault::MalformedRequest("Host is missing")),
        (1, _) if facts.host.is_empty() => Ok(()),
        (1, _) => match std::str::from_utf8(facts.host).map(|host| Target::parse_with_default(host, 80)) {
            Ok(Ok(_)) if facts.host.is_ascii() => Ok(()),
            _ => Err(Fault::MalformedRequest("Host is malformed")),
        },
        (_, _) => Err(Fault::MalformedRequest("more than one Host")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FIELDS_MAX, Scan, Section};
    use super::*;
    use crate::server::reason::Reason;

    fn head(text: &str) -> Result<Head, Fault> {
        let mut scan = Scan::default();
        match scan.advance(text.as_bytes(), Section::Request, 4096)? {
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
                .map_err(|fault| Reason::from(fault).status().as_u16());
            assert_eq!(got, expected, "{fields:?}");
        }
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
}
