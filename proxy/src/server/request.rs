//! One request's record, from its head to its line in the log: gathered on the way, written once at the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Permit, Policy, Target};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Server;
use super::id::Id;
use super::reason::Reason;
use super::reply::{Refusal, WithBody};
use crate::access_log::Entry;
use crate::metrics::{ErrorLabels, RequestLabels};
use crate::tunnel::End;

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) client: SocketAddr,
    started: Instant,
    pub(super) method: Option<Box<str>>,
    pub(super) target: Option<Target>,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) rule: Option<Arc<str>>,
    pub(super) peer: Option<IpAddr>,
    pub(super) dns: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) detail: Option<Box<str>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) end: End,
    pub(super) status: Option<u16>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Request {
    pub(super) fn new(server: &Server, client: SocketAddr) -> Self {
        Self {
            id: server.ids.next(),
            client,
            started: Instant::now(),
            method: None,
            target: None,
            policy: None,
            rule: None,
            peer: None,
            dns: None,
            connect: None,
            detail: None,
        }
    }

    /// Notes what permitted.
    pub(super) fn permitted(&mut self, permit: &Permit) {
        self.rule = permit.rule().cloned();
    }

    /// The refusal's bytes; noting it in the log is [`Self::refused`].
    pub(super) fn refusal(&self, server: &Server, reason: &Reason) -> Vec<u8> {
        let body = if self.method.as_deref() == Some("HEAD") {
            WithBody::No
        } else {
            WithBody::Yes
        };
        let refusal = Refusal {
            reason,
            id: self.id,
            proxy: &server.name,
            policy: self.policy.as_deref(),
            target: self.target.as_ref(),
        };
        refusal.bytes(body)
    }

    /// Logs and counts a refusal.
    pub(super) fn refused(mut self, server: &Server, reason: &Reason) {
        let decision = match reason {
            Reason::Deny(deny) => {
                self.rule = deny.rule().map(Arc::from).or(self.rule);
                "deny"
            }
            Reason::Fault(fault) => {
                if fault.is_upstream() {
                    server
                        .metrics
                        .upstream_errors
                        .get_or_create(&ErrorLabels { error: reason.code() })
                        .inc();
                }
                "error"
            }
        };
        self.write(
            server,
            decision,
            reason.code(),
            Some(reason.status().as_u16()),
            0,
            0,
        );
    }

    /// Logs and counts a request that was served, to whatever end.
    pub(super) fn served(self, server: &Server, ending: Ending) {
        self.write(
            server,
            "allow",
            ending.end.code(),
            ending.status,
            ending.sent,
            ending.received,
        );
    }

    fn write(
        self,
        server: &Server,
        decision: &'static str,
        reason: &'static str,
        status: Option<u16>,
        sent: u64,
        received: u64,
    ) {
        server
            .metrics
            .requests
            .get_or_create(&RequestLabels { decision, reason })
            .inc();
        let lost = server.log.record(&Entry {
            time: Timestamp::now(),
            client: self.client,
            id: self.id,
            method: self.method,
            target: self.target,
            policy: self.policy,
            rule: self.rule,
            decision,
            reason,
            status,
            peer: self.peer,
            detail: self.detail,
            bytes_sent: sent,
            bytes_received: received,
            duration: self.started.elapsed(),
            dns: self.dns,
            connect: self.connect,
        });
        server.metrics.log_lines_dropped.inc_by(lost);
    }
}
