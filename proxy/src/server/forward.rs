//! `http://` in absolute form: the request as the origin gets it, over which connection, and what follows.
//!
//! Fields of this hop never reach the origin ([`super::hop`]), Host follows from the target, `Via` is added and nothing
//! else (RFC 9110, 7.6). The exchange of bytes is [`super::relay`]'s.

use std::fmt::Write as _;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use egressway_core::acl::{HttpAsk, Permit, Target, VettedAddr};
use futures::FutureExt as _;
use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::connection::{Connection, Next, Upgraded};
use super::head::{Framing, Head, Version, tokens};
use super::held::NotHeld;
use super::hop::{self, EndToEnd};
use super::origin::Origin;
use super::pool::{Key, Pooled};
use super::reason::{Fault, Reason};
use super::relay::{Encoding, Exchange, Flow, Outcome};
use super::request::{Ending, Request};
use super::route::{Decided, What};
use super::terms::{Signed, Terms, asks_for_tls, failure};
use crate::state::InForce;
use crate::tunnel::{End, Side};

/// The answer to an OPTIONS that may travel no further (RFC 9110, 7.6.2).
const OPTIONS_HERE: &[u8] =
    b"HTTP/1.1 200 OK\r\nAllow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Bytes of a head that is printed without growing; its body, if it came along, fits behind it.
const HEAD_BYTES_USUAL: usize = 1024;

/// A request that goes on.
#[derive(Debug)]
struct Outgoing<'a> {
    head: &'a Head,
    target: Target,
    /// Whether the port was written, or is the scheme's.
    port_was_written: bool,
    path: &'a str,
    /// `Max-Forwards` of an OPTIONS, counted down.
    forwards: Option<u32>,
    /// The protocol that the client wants to change to.
    upgrade: Option<&'a [u8]>,
}

impl Connection {
    /// Serves one request.
    pub(super) async fn forward(&mut self, server: &Server, mut request: Request, head: Head) -> Next {
        let outgoing = match Outgoing::of(&head) {
            Ok(outgoing) => outgoing,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        if head.method == Method::OPTIONS && outgoing.forwards == Some(0) {
            return self.options(server, request, outgoing.target).await;
        }
        // Watched from before the decision, so that no change between the two is missed.
        let in_force = server.state.watch_in_force();
        let what = outgoing.what();
        let decided = server
            .decide(&mut request, self.certified.as_deref_mut(), what)
            .await;
        let permitted = decided.and_then(|decided| outgoing.terms(server, &mut request, decided));
        let (permit, terms) = match permitted {
            Ok(permitted) => permitted,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        let (kill, deadline) = (self.kill.clone(), request.deadline());
        let signed = tokio::select! {
            biased;
            signed = terms.sign(server, self, &head, &mut request) => signed,
            () = kill.cancelled() => Err(NotHeld::Ended(End::Killed)),
            () = passed(deadline) => Err(NotHeld::Ended(End::Lifetime)),
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(NotHeld::Refused(fault)) => return Next::Refused(Box::new(request), fault.into()),
            Err(NotHeld::Ended(end)) => {
                let ending = Ending {
                    end,
                    status: None,
                    sent: 0,
                    received: 0,
                };
                request.served(server, ending);
                let _ = self.stream.set_zero_linger();
                return Next::Ended;
            }
        };
        let sending = Sending {
            outgoing: &outgoing,
            permit: &permit,
            terms: &terms,
            signed: signed.as_ref(),
        };
        let (outcome, pooled) = match self.exchange(server, &mut request, &sending, in_force).await {
            Ok(ended) => ended,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        match outcome {
            Outcome::Refused(reason) => Next::Refused(Box::new(request), reason),
            // Only a connection that served before is stale, and it was tried once.
            Outcome::Stale => Next::Refused(Box::new(request), Fault::UpstreamClosed.into()),
            Outcome::Done {
                ending,
                keep_alive,
                keeps_origin,
            } => {
                request.served(server, ending);
                if let Some(patience) = keeps_origin {
                    server
                        .pool
                        .put(Key::new(&permit, terms.tls_id()), pooled, patience);
                }
                match (ending.end, keep_alive) {
                    (End::Completed, true) => Next::KeepAlive,
                    (End::Completed, false) => Next::Close,
                    _ => {
                        // Whoever reads a truncated answer must notice; a clean end would hide it.
                        let _ = self.stream.set_zero_linger();
                        Next::Ended
                    }
                }
            }
            Outcome::Upgraded { early } => Next::Tunnel(Box::new(Upgraded {
                origin: Side::new(pooled.origin.into_stream(), &early),
                request,
                target: permit.target().clone(),
                address: pooled.address,
            })),
        }
    }

    /// The exchange, over a connection that waits for one or over a new one; over a second one where the first turns
    /// out to have been closed.
    async fn exchange(
        &mut self,
        server: &Server,
        request: &mut Request,
        sending: &Sending<'_>,
        in_force: watch::Receiver<Arc<InForce>>,
    ) -> Result<(Outcome, Pooled), Reason> {
        let _active = server.state.track();
        let (outgoing, permit, head) = (sending.outgoing, sending.permit, sending.outgoing.head);
        let mut upload = sending.flow(&server.name);
        let key = Key::new(permit, sending.terms.tls_id());
        let mut waiting = server.pool.take(&key, permit, &head.method);
        loop {
            let reused = waiting.is_some();
            let mut pooled = match waiting.take() {
                Some(pooled) => pooled,
                None => {
                    let (stream, address) = server.connect(request, permit).await?;
                    let born = Instant::now();
                    let origin = match sending.terms.connector() {
                        None => Origin::from(stream),
                        Some(connector) => server.handshake(request, permit, connector, stream).await?,
                    };
                    Pooled {
                        origin,
                        address,
                        born,
                    }
                }
            };
            server.reach(request, permit, pooled.address)?;
            let exchange = Exchange {
                server,
                head,
                upgrade: outgoing.upgrade.is_some(),
                reused,
                idle: request.limits.idle,
                response_bytes_max: request.limits.response_bytes_max,
            };
            let outcome = {
                let mut cut = pin!(cut(self.kill.clone(), in_force.clone(), request, pooled.address));
                // A body takes its time to be held; documents may have changed before anything is sent.
                let ended = sending.signed.and_then(|_| cut.as_mut().now_or_never());
                match ended {
                    Some(end) => Outcome::cut(end),
                    None => exchange.run(self, &mut pooled.origin, &mut upload, cut).await,
                }
            };
            match outcome {
                Outcome::Stale if reused => upload.rewind(),
                Outcome::Refused(Reason::Fault(Fault::UpstreamClosed))
                    if let Some(failed) = pooled.origin.tls_failure() =>
                {
                    return Err(failure(request, failed.clone()));
                }
                outcome => return Ok((outcome, pooled)),
            }
        }
    }

    async fn options(&mut self, server: &Server, mut request: Request, target: Target) -> Next {
        let greeted = server.greet(&mut request, self.certified.as_deref_mut(), target);
        if let Err(reason) = greeted.await {
            return Next::Refused(Box::new(request), reason);
        }
        let status = self.stream.write_all(OPTIONS_HERE).await.is_ok().then_some(200);
        let ending = Ending {
            end: End::Completed,
            status,
            sent: 0,
            received: 0,
        };
        request.served(server, ending);
        Next::Close
    }
}

/// What ends a request that is under way: the pod's end, or documents that no longer permit it.
async fn cut(
    kill: CancellationToken,
    mut in_force: watch::Receiver<Arc<InForce>>,
    request: &Request,
    address: VettedAddr,
) -> End {
    let mut lifetime = pin!(passed(request.deadline()));
    loop {
        tokio::select! {
            biased;
            () = kill.cancelled() => return End::Killed,
            () = &mut lifetime => return End::Lifetime,
            changed = in_force.changed() => {
                // The sender lives as long as the process's state.
                if changed.is_err() || !request.still_permitted(&in_force.borrow_and_update(), address) {
                    return End::PolicyRevoked;
                }
            }
        }
    }
}

/// Completes once the deadline, if there is one, has passed.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

impl<'a> Outgoing<'a> {
    fn of(head: &'a Head) -> Result<Self, Reason> {
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
    fn what(&self) -> What<'a> {
        let path = self.path.split('?').next().unwrap_or_default();
        let path = match path {
            "" if self.path.is_empty() && self.head.method == Method::OPTIONS => "*",
            "" => "/",
            path => path,
        };
        What::Http {
            target: self.target.clone(),
            port_was_written: self.port_was_written,
            http: HttpAsk {
                method: self.head.method.as_str(),
                path,
            },
            asks_tls: asks_for_tls(self.head),
        }
    }

    /// What is to be done for a request that was permitted.
    fn terms(
        &self,
        server: &Server,
        request: &mut Request,
        decided: Decided,
    ) -> Result<(Permit, Terms), Reason> {
        let Decided { permit, tls } = decided;
        let terms = server.terms(request, &permit, tls)?;
        Ok((permit, terms))
    }
}

/// A request with all that was decided about it.
#[derive(Clone, Copy, Debug)]
struct Sending<'a> {
    outgoing: &'a Outgoing<'a>,
    permit: &'a Permit,
    terms: &'a Terms,
    /// The body, where it was signed; else it follows from the client.
    signed: Option<&'a Signed>,
}

impl Sending<'_> {
    fn flow(&self, name: &str) -> Flow {
        let head = self.outgoing.head;
        let mut out = self.print(name);
        match self.signed {
            Some(signed) => {
                out.extend_from_slice(&signed.body);
                Flow::whole(out, signed.body.len())
            }
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
