//! `http://` in absolute form: the request as the origin gets it, and who is asked for an answer.
//!
//! Hop-by-hop fields and Proxy-* never reach the origin, Host follows from the target, `Via` is added and nothing else
//! (RFC 9110, 7.6). The exchange of bytes is [`super::relay`]'s.

use bytes::Bytes;
use egressway_core::acl::Target;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use tokio::io::AsyncWriteExt as _;

use super::Server;
use super::connection::{Connection, Next, Tunnel, still_permitted};
use super::head::{Framing, Head, Version, tokens};
use super::reason::{Fault, Reason};
use super::relay::{Exchange, Outcome};
use super::request::{Ending, Request};
use crate::state::InForce;
use crate::tunnel::{End, Side};

/// The answer to an OPTIONS that may travel no further (RFC 9110, 7.6.2).
const OPTIONS_HERE: &[u8] =
    b"HTTP/1.1 200 OK\r\nAllow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What to do with a request.
enum Plan {
    /// Send it on.
    Forward {
        target: Target,
        outgoing: Box<http::Request<()>>,
        upgrade: bool,
    },
    /// Answer it here.
    OptionsHere(Target),
}

impl Connection {
    /// Serves one request.
    pub(super) async fn forward(mut self, server: &Server, mut request: Request, head: Head) -> Next {
        let (target, outgoing, upgrade) = match plan(&head, &server.name) {
            Ok(Plan::Forward {
                target,
                outgoing,
                upgrade,
            }) => (target, outgoing, upgrade),
            Ok(Plan::OptionsHere(target)) => {
                request.target = Some(target);
                let status = self.stream.write_all(OPTIONS_HERE).await.is_ok().then_some(200);
                let ending = Ending {
                    end: End::Completed,
                    status,
                    sent: 0,
                    received: 0,
                };
                request.served(server, ending);
                return Next::Close(Box::new(self));
            }
            Err(reason) => return self.refused(server, request, reason).await,
        };
        let routed = match server.route(&mut request, target.clone()).await {
            Ok(routed) => routed,
            Err(reason) => return self.refused(server, request, reason).await,
        };
        let active = server.state.track();
        let address = routed.address;
        let exchange = Exchange {
            server,
            head: &head,
            upgrade,
            in_force: server.state.watch_in_force(),
        };
        let permitted = |in_force: &InForce| still_permitted(in_force, &target, address);
        let outcome = exchange
            .run(&mut self, routed.stream, *outgoing, &mut request, &permitted)
            .await;
        drop(active);
        match outcome {
            Outcome::Refused(reason) => self.refused(server, request, reason).await,
            Outcome::Done { ending, keep_alive } => {
                request.served(server, ending);
                if ending.end != End::Completed {
                    // Whoever reads a truncated answer must notice; a clean end would hide it.
                    let _ = self.stream.set_zero_linger();
                    return Next::Ended;
                }
                if keep_alive {
                    Next::KeepAlive(Box::new(self))
                } else {
                    Next::Close(Box::new(self))
                }
            }
            Outcome::Upgraded { stream, early } => Next::Tunnel(Box::new(Tunnel {
                client: Side::new(self.stream, &self.buffer),
                origin: Side::new(stream, &early),
                request,
                target,
                address,
                status: 101,
            })),
        }
    }

    async fn refused(self, server: &Server, request: Request, reason: Reason) -> Next {
        self.refuse(server, request, reason).await;
        Next::Ended
    }
}

fn plan(head: &Head, name: &str) -> Result<Plan, Reason> {
    let (target, path) = destination(head)?;
    if head.method == Method::TRACE {
        return Err(Fault::MethodUnsupported.into());
    }
    let mut fields = head.header_map()?;
    if head.method == Method::OPTIONS && forwards_left(&mut fields)? == Some(0) {
        return Ok(Plan::OptionsHere(target));
    }
    let upgrade = upgrade(head, &fields);
    strip(&mut fields);
    fields.insert(HOST, host(&target)?);
    fields.append(VIA, via(head.version, name));
    match head.framing {
        Framing::Length(length) => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // Said aloud, because hyper takes a GET or HEAD without either field to have no body and drops it.
        Framing::Chunked => {
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Framing::None | Framing::Close => {}
    }
    if head.framing == Framing::None || !head.expects_continue {
        fields.remove(EXPECT);
    }
    if let Some(protocol) = &upgrade {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, protocol.clone());
    } else {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut outgoing = http::Request::new(());
    *outgoing.method_mut() = head.method.clone();
    *outgoing.uri_mut() = path;
    *outgoing.headers_mut() = fields;
    Ok(Plan::Forward {
        target,
        outgoing: Box::new(outgoing),
        upgrade: upgrade.is_some(),
    })
}

/// Target and origin-form of an absolute-form request target.
fn destination(head: &Head) -> Result<(Target, Uri), Reason> {
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
    let target = Target::parse_with_default(authority, 80).map_err(Fault::MalformedTarget)?;
    const BROKEN: Fault = Fault::MalformedRequest("the path is malformed");
    if path.contains('#') {
        return Err(BROKEN.into());
    }
    let path = match path {
        // RFC 9112, 3.2.4: the last proxy sends the asterisk.
        "" if head.method == Method::OPTIONS => "*".to_owned(),
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| BROKEN)?;
    Ok((target, Uri::from(path)))
}

/// The `Max-Forwards` of the request as it arrived; the field is counted down.
fn forwards_left(fields: &mut HeaderMap) -> Result<Option<u32>, Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("Max-Forwards is not a number");
    let Some(value) = fields.get(MAX_FORWARDS) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| BROKEN)?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BROKEN);
    }
    let left: u32 = text.parse().unwrap_or(u32::MAX);
    fields.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    Ok(Some(left))
}

/// The protocol that an HTTP/1.1 client wants to change to, if it asked in full and has no body.
fn upgrade(head: &Head, fields: &HeaderMap) -> Option<HeaderValue> {
    let asked = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()).collect::<Vec<_>>())
        .any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let bodyless = matches!(head.framing, Framing::None | Framing::Length(0));
    (asked && bodyless && head.version == Version::Http11)
        .then(|| fields.get(UPGRADE).cloned())
        .flatten()
}

/// Takes away what ends at this hop: what Connection names, the fields that are always hop-by-hop, and Proxy-*.
pub(super) fn strip(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()).collect::<Vec<_>>())
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in named
        .into_iter()
        .chain([CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE])
    {
        fields.remove(name);
    }
    let fixed = ["keep-alive", "http2-settings"];
    let gone: Vec<HeaderName> = fields
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-") || fixed.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in gone {
        fields.remove(name);
    }
}

/// What an answer loses besides: fields in which the proxy speaks. No origin speaks for it.
pub(super) fn strip_answer(fields: &mut HeaderMap) {
    strip(fields);
    let ours: Vec<HeaderName> = fields
        .keys()
        .filter(|name| name.as_str().starts_with("x-egressway-"))
        .cloned()
        .collect();
    for name in ours {
        fields.remove(name);
    }
}

fn host(target: &Target) -> Result<HeaderValue, Fault> {
    let text = if target.port() == 80 {
        target.host().to_string()
    } else {
        target.to_string()
    };
    // A parsed target is printable ASCII.
    HeaderValue::try_from(text).map_err(|_| Fault::MalformedRequest("Host is malformed"))
}

/// RFC 9110, 7.6.3: the received version and a pseudonym.
pub(super) fn via(version: Version, name: &str) -> HeaderValue {
    let version = match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    HeaderValue::try_from(format!("{version} {name}"))
        .unwrap_or_else(|_| HeaderValue::from_static("1.1 egressway"))
}

/// Shared by value with the relay: a forwarded request's question to new documents.
pub(super) type StillPermitted<'a> = &'a (dyn Fn(&InForce) -> bool + Send + Sync);
