//! A forwarded request as the origin gets it, and what of the client's head it is made from.
//!
//! Fields of this hop never go on ([`hop`]), Host follows from the target, `Via` is added and nothing else (RFC 9110,
//! 7.6). Over which connection it goes, and what follows, is [`super`]'s.

use std::fmt::Write as _;

use bytes::BytesMut;
use egressway_core::acl::{HttpAsk, Permit, Target};
use egressway_core::wire::document::Scheme;
use http::Method;

use crate::server::head::{Framing, Head, Version, tokens};
use crate::server::hop::{self, EndToEnd};
use crate::server::reason::{Fault, Reason};
use crate::server::relay::{Encoding, Flow};
use crate::server::route::{Forwarded, What};
use crate::server::terms::{Signed, Terms, asks_for_tls};

/// Bytes of a head that is printed without growing; its body, if it came along, fits behind it.
const HEAD_BYTES_USUAL: usize = 1024;

/// A request that goes on.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) head: &'a Head,
    pub(super) target: Target,
    /// Whether the port was written, or is the scheme's.
    port_was_written: bool,
    path: &'a str,
    /// `Max-Forwards` of an OPTIONS, counted down.
    pub(super) forwards: Option<u32>,
    /// The protocol that the client wants to change to.
    pub(super) upgrade: Option<&'a [u8]>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn of(head: &'a Head) -> Result<Self, Reason> {
        let (target, port_was_written, path) = destination(head)?;
        if head.method == Method::TRACE {
            return Err(Fault::MethodUnsupported.into());
        }
        let forwards = if head.method == Method::OPTIONS {
            forwards_left(head)?
        } else {
            None
        };
        Ok(Self {
            head,
            target,
            port_was_written,
            path,
            forwards,
            upgrade: upgrade(head),
        })
    }

    /// The request as rules see it.
    pub(super) fn what(&self) -> What<'_> {
        let path = self.path.split('?').next().unwrap_or_default();
        let path = match path {
            "" if self.path.is_empty() && self.head.method == Method::OPTIONS => "*",
            "" => "/",
            path => path,
        };
        let http = Forwarded {
            port_was_written: self.port_was_written,
            http: HttpAsk {
                method: self.head.method.as_str(),
                path,
            },
            upgrades: self.upgrade.is_some(),
        };
        What::forwarded(&self.target, asks_for_tls(self.head), http)
    }
}

/// A request with all that was decided about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending<'a> {
    pub(super) outgoing: &'a Outgoing<'a>,
    pub(super) permit: &'a Permit,
    pub(super) terms: &'a Terms,
    /// The body, where it was signed; else it follows from the client.
    pub(super) signed: Option<&'a Signed>,
}

impl Sending<'_> {
    /// How the proxy signed it, if it did.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        let signing = self.permit.settings().signing.as_ref();
        self.signed.and(signing).map(|signing| signing.scheme)
    }

    /// The request, as it is sent.
    pub(super) fn flow(&self, name: &str) -> Flow {
        let head = self.outgoing.head;
        let out = self.print(name);
        match self.signed {
            Some(signed) => Flow::whole(out, signed.body.clone()),
            None if head.framing == Framing::Chunked => Flow::new(out, head.framing, Encoding::Chunked),
            None => Flow::new(out, head.framing, Encoding::Raw),
        }
    }

    /// The head as the origin gets it: our own line, Host first (RFC 9110, 7.2), the fields that go on as they arrived,
    /// then what the proxy says.
    fn print(&self, name: &str) -> BytesMut {
        let (outgoing, head) = (self.outgoing, self.outgoing.head);
        let mut out = BytesMut::with_capacity(HEAD_BYTES_USUAL);
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        if outgoing.path.is_empty() || outgoing.path.starts_with('?') {
            // RFC 9112, 3.2.4: the last proxy sends the asterisk.
            let asterisk = outgoing.path.is_empty() && head.method == Method::OPTIONS;
            out.extend_from_slice(if asterisk { b"*" } else { b"/" });
        }
        out.extend_from_slice(outgoing.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        // Writing to memory does not fail.
        let target = self.permit.target();
        let usual_port = if self.terms.connector().is_some() { 443 } else { 80 };
        let _ = if target.port() == usual_port {
            write!(out, "{}", target.host())
        } else {
            write!(out, "{target}")
        };
        out.extend_from_slice(b"\r\n");
        let end_to_end = EndToEnd::of(&head.fields);
        let expects = head.expects_continue && head.framing != Framing::None && self.signed.is_none();
        for (field, value) in end_to_end.iter() {
            if field.eq_ignore_ascii_case(b"host")
                || (!expects && field.eq_ignore_ascii_case(b"expect"))
                || self.signed.is_some_and(|signed| signed.owns(field))
            {
                continue;
            }
            if let Some(left) = outgoing.forwards
                && field.eq_ignore_ascii_case(b"max-forwards")
            {
                let left = left.saturating_sub(1).to_string();
                hop::print(&mut out, field, left.as_bytes());
                continue;
            }
            hop::print(&mut out, field, value);
        }
        hop::print_via(&mut out, head.version, name);
        for (field, value) in self.signed.iter().flat_map(|signed| &signed.added) {
            hop::print(&mut out, field.as_bytes(), value.as_bytes());
        }
        match (head.framing, self.signed) {
            (Framing::Length(_) | Framing::Chunked, Some(signed)) => {
                hop::print(
                    &mut out,
                    b"Content-Length",
                    signed.body.len().to_string().as_bytes(),
                );
            }
            (Framing::Length(length), None) => {
                hop::print(&mut out, b"Content-Length", length.to_string().as_bytes());
            }
            (Framing::Chunked, None) => {
                for value in end_to_end.announced_trailers() {
                    hop::print(&mut out, b"Trailer", value);
                }
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            (Framing::None | Framing::Close, _) => {}
        }
        match (outgoing.upgrade, takes_trailers(head)) {
            (None, false) => {}
            (None, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
            (Some(protocol), trailers) => {
                hop::print(&mut out, b"Upgrade", protocol);
                out.extend_from_slice(if trailers {
                    b"TE: trailers\r\nConnection: upgrade, TE\r\n"
                } else {
                    b"Connection: upgrade\r\n"
                });
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Of an absolute-form request target: the target, whether it names its port, and the origin-form, which may lack its
/// slash.
fn destination(head: &Head) -> Result<(Target, bool, &str), Reason> {
    let text = head.target.as_str();
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if !scheme.contains('/') && !scheme.is_empty() => {
            return Err(Fault::SchemeUnsupported.into());
        }
        Some(_) | None => return Err(Fault::NotAProxyRequest.into()),
    };
    let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(split).unwrap_or((rest, ""));
    let (target, port_was_written) =
        Target::parse_optional_port(authority, 80).map_err(Fault::MalformedTarget)?;
    // A fragment is never sent; the others have no place in a path or query that any server takes (RFC 3986, 3.3).
    if path.contains(['#', '<', '>']) {
        return Err(Fault::MalformedRequest("the path is malformed").into());
    }
    Ok((target, port_was_written, path))
}

/// The `Max-Forwards` of the request as it arrived.
fn forwards_left(head: &Head) -> Result<Option<u32>, Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("Max-Forwards is not a number");
    let mut values = head.fields.all("max-forwards");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BROKEN);
    }
    let text = std::str::from_utf8(value).map_err(|_| BROKEN)?;
    Ok(Some(text.parse().unwrap_or(u32::MAX)))
}

/// The protocol that an HTTP/1.1 client wants to change to, if it asked in full and has no body.
///
/// Never HTTP/2, which RFC 9113 no longer lets be asked for so: it would carry further requests past their rules.
fn upgrade(head: &Head) -> Option<&[u8]> {
    let bodyless = matches!(head.framing, Framing::None | Framing::Length(0));
    let asked = bodyless
        && head.version == Version::Http11
        && lists(head, "connection", "upgrade")
        && !lists(head, "upgrade", "h2c");
    if asked {
        head.fields.all("upgrade").next()
    } else {
        None
    }
}

/// Whether the client takes trailers; then the origin may know, because they are passed on (RFC 9110, 10.1.4).
fn takes_trailers(head: &Head) -> bool {
    head.version == Version::Http11 && lists(head, "te", "trailers")
}

fn lists(head: &Head, name: &str, member: &str) -> bool {
    head.fields
        .all(name)
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(member.as_bytes()))
}
