//! What is known about one request while it runs, and the one place that turns it into a log line and counters.
//!
//! Every request ends in exactly one of [`Record::refused`] and [`Record::ended`].

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Permit, Policy, Target};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Server;
use super::id::Id;
use super::reason::{Fault, Reason};
use super::reply::{Refusal, WithBody};
use crate::access_log::Entry;
use crate::metrics::{ErrorLabels, RequestLabels};
use crate::tunnel::End;

/// One request so far.
#[derive(Debug)]
pub struct Record {
    /// Its id.
    pub id: Id,
    client: SocketAddr,
    began: Instant,
    method: Option<http::Method>,
    /// What it asks for.
    pub target: Option<Target>,
    /// Who decides.
    pub policy: Option<Arc<Policy>>,
    rule: Option<Arc<str>>,
    /// The address that was dialled.
    pub peer: Option<IpAddr>,
    /// What a library said about a fault.
    pub detail: Option<Box<str>>,
    /// Time of the look-up.
    pub dns: Option<Duration>,
    /// Time of the connect.
    pub connect: Option<Duration>,
    /// Bytes of bodies or of the tunnel, from the client.
    pub sent: u64,
    /// Bytes of bodies or of the tunnel, to the client.
    pub received: u64,
}

impl Record {
    /// A request of which nothing is known but who sent it.
    #[must_use]
    pub fn new(id: Id, client: SocketAddr, began: Instant) -> Self {
        Self {
            id,
            client,
            began,
            method: None,
            target: None,
            policy: None,
            rule: None,
            peer: None,
            detail: None,
            dns: None,
            connect: None,
            sent: 0,
            received: 0,
        }
    }

    /// With its method.
    #[must_use]
    pub fn with_method(mut self, method: &http::Method) -> Self {
        self.method = Some(method.clone());
        self
    }

    /// Notes that a rule permitted it.
    pub fn permitted(&mut self, permit: &Permit) {
        self.rule = Some(Arc::clone(permit.rule()));
    }

    /// The reply of a refusal; logs and counts it.
    #[must_use]
    pub fn refused(mut self, server: &Server, reason: &Reason) -> Vec<u8> {
        let decision = match reason {
            Reason::Deny(deny) => {
                if let Some(rule) = deny.rule() {
                    self.rule = Some(Arc::from(rule));
                }
                "deny"
            }
            Reason::Fault(fault) => {
                if is_upstream(*fault) {
                    let labels = ErrorLabels { error: reason.code() };
                    server.metrics.upstream_errors.get_or_create(&labels).inc();
                }
                if self.detail.is_none() && reason.status().is_client_error() {
                    self.detail = Some(reason.sentence().into());
                }
                "error"
            }
        };
        let body = if self.method == Some(http::Method::HEAD) { WithBody::No } else { WithBody::Yes };
        let reply = Refusal {
            reason,
            id: self.id,
            proxy: &server.name,
            policy: self.policy.as_deref(),
            target: self.target.as_ref(),
        }
        .bytes(body);
        self.finish(server, decision, reason.code(), Some(reason.status().as_u16()));
        reply
    }

    /// Logs and counts a request that was let through.
    pub fn ended(self, server: &Server, end: End, status: Option<u16>) {
        self.finish(server, "allow", end.code(), status);
    }

    fn finish(self, server: &Server, decision: &'static str, reason: &'static str, status: Option<u16>) {
        server
            .metrics
            .requests
            .get_or_create(&RequestLabels { decision, reason })
            .inc();
        let lost = server.log.record(Entry {
            time: Timestamp::now(),
            client: self.client,
            id: self.id,
            method: self.method.map(|method| method.as_str().into()),
            target: self.target,
            policy: self.policy,
            rule: self.rule,
            decision,
            reason,
            status,
            peer: self.peer,
            detail: self.detail,
            bytes_sent: self.sent,
            bytes_received: self.received,
            duration: self.began.elapsed(),
            dns: self.dns,
            connect: self.connect,
        });
        if lost > 0 {
            server.metrics.log_lines_dropped.inc_by(lost);
        }
    }
}

const fn is_upstream(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::DnsNotFound
            | Fault::DnsFailed
            | Fault::DnsTimeout
            | Fault::ConnectionRefused
            | Fault::ConnectionTimeout
            | Fault::DestinationUnreachable
            | Fault::ConnectionFailed
            | Fault::UpstreamMalformed
            | Fault::UpstreamClosed
            | Fault::UpstreamTimeout
    )
}
