//! From an accepted socket to a connection that can bring requests: PROXY protocol, then TLS, as the policy says.
//!
//! Either mode is taken from the documents in force when the connection is made. A connection that fails here gets no
//! reply, since nobody knows what it speaks; its line in the log says why. Never plain where the policy says TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use egressway_core::acl::{Policy, cidr};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::Server;
use super::connection::Connection;
use super::reason::Unopened;
use super::request::Request;
use crate::auth::{Certified, Presented};
use crate::limits::source::Source as From;
use crate::proxy_protocol;
use crate::stream::Stream;

/// Who a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// The client: the TCP peer, or whom a load balancer names.
    pub(super) client: SocketAddr,
    /// The load balancer, where its word was taken.
    pub(super) balancer: Option<SocketAddr>,
    /// It was let in before the pod began to refuse, and is served to its end.
    pub(super) welcome: bool,
}

impl Connection {
    /// Does what stands before the first request; `None` when the connection has ended.
    pub(super) async fn open(mut self, server: &Server) -> Option<Self> {
        let in_force = server.state.in_force();
        let Some(policy) = in_force.policy() else {
            return Some(self);
        };
        let listener = policy.listener();
        if listener.tls.is_none() && listener.proxy_protocol.is_empty() {
            return Some(self);
        }
        let deadline = Instant::now() + server.limits_in_force().head_time;
        let Stream::Plain(mut tcp) = self.stream else {
            return Some(self);
        };
        if believes(policy, self.source.client) {
            let ticket = self.who.ticket();
            let read = server
                .strangers
                .unless_ended(ticket, proxy_protocol::read(&mut tcp));
            match timeout_at(deadline, read).await {
                Ok(Some(Ok(client))) => {
                    self.source = Source {
                        client: client.unwrap_or(self.source.client),
                        balancer: Some(self.source.client),
                        ..self.source
                    };
                    self.who.comes_from(server, From::of(self.source.client.ip()));
                }
                Ok(None) => return unopened(server, self.source, Unopened::CrowdedOut, None),
                Ok(Some(Err(error))) => {
                    let detail = error.to_string();
                    return unopened(server, self.source, Unopened::ProxyProtocol, Some(detail));
                }
                Err(_) => return unopened(server, self.source, Unopened::Timeout, None),
            }
        }
        let config = match in_force.secrets.of(policy).listener() {
            None if listener.tls.is_none() => {
                self.stream = tcp.into();
                return Some(self);
            }
            Some(Ok(config)) => config,
            // Without a word and without TLS: whoever listens on the way must not learn what is asked for.
            Some(Err(problem)) => {
                let detail = problem.to_string();
                return unopened(server, self.source, Unopened::TlsUnavailable, Some(detail));
            }
            None => return unopened(server, self.source, Unopened::TlsUnavailable, None),
        };
        let ticket = self.who.ticket();
        // Whoever says nothing needs no session yet.
        let begun = server.strangers.unless_ended(ticket, tcp.readable());
        match timeout_at(deadline, begun).await {
            Ok(Some(_)) if self.who.speaks_tls(server).is_ok() => {}
            Ok(_) => return unopened(server, self.source, Unopened::CrowdedOut, None),
            Err(_) => return unopened(server, self.source, Unopened::Timeout, None),
        }
        let accepted = TlsAcceptor::from(Arc::clone(config)).accept(tcp);
        let accepted = server.strangers.unless_ended(ticket, accepted);
        match timeout_at(deadline, accepted).await {
            Ok(None) => unopened(server, self.source, Unopened::CrowdedOut, None),
            Ok(Some(Ok(tls))) => {
                let chain = tls.get_ref().1.peer_certificates();
                self.certified = Presented::of(chain).map(|presented| Box::new(Certified::new(presented)));
                self.stream = tls.into();
                Some(self)
            }
            Ok(Some(Err(error))) => {
                let detail = error.to_string();
                unopened(server, self.source, Unopened::TlsHandshake, Some(detail))
            }
            Err(_) => unopened(server, self.source, Unopened::Timeout, None),
        }
    }
}

impl Source {
    /// A peer that speaks for itself.
    pub(super) fn peer(client: SocketAddr, welcome: bool) -> Self {
        Self {
            client,
            balancer: None,
            welcome,
        }
    }
}

/// Whether the peer is a load balancer whose header is believed, and therefore required.
fn believes(policy: &Policy, peer: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    let mut listed = policy.listener().proxy_protocol.iter();
    // Compiling the policy has checked the ranges; there are one or two.
    listed.any(|net| cidr::parse(net).is_ok_and(|net| net.contains(&ip)))
}

fn unopened(server: &Server, source: Source, why: Unopened, detail: Option<String>) -> Option<Connection> {
    let mut request = Request::new(server, source);
    request.detail = detail.map(Into::into);
    request.unopened(server, why);
    None
}

/// A listener that speaks TLS says nothing in plain text, not even that it is full.
pub(super) fn may_speak_plainly(server: &Server) -> bool {
    let in_force = server.state.in_force();
    in_force
        .policy()
        .is_none_or(|policy| policy.listener().tls.is_none())
}
