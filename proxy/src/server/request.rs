//! One request's record, from its head to its line in the log: gathered on the way, written once at the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Ask, Caller, Deny, Permit, Policy, Target, VettedAddr};
use egressway_core::wire::document::{Mode, Revoke, Scheme};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Server;
use super::id::Id;
use super::listener::Source;
use super::reason::{Fault, Reason, Unopened};
use super::reply::{Refusal, WithBody};
use crate::access_log::{Entry, Session};
use crate::auth::{self, Certified, Credential, Evidence, Identity};
use crate::limits::Limits;
use crate::limits::places::{Destination, Place};
use crate::metrics::{ErrorLabels, RequestLabels};
use crate::state::InForce;
use crate::tunnel::End;

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) client: SocketAddr,
    /// The load balancer that named the client.
    balancer: Option<SocketAddr>,
    /// Its connection was let in before the pod began to refuse.
    pub(super) welcome: bool,
    started: Instant,
    /// The documents that decide about it, all of them of one moment: those in force when it began, and later ones from
    /// the decision on that was made by them.
    pub(super) documents: Arc<InForce>,
    /// The bounds that it is held to: those of its documents.
    pub(super) limits: Limits,
    /// What the client presented; a tunnel drops it once it is open.
    pub(super) credential: Credential,
    pub(super) method: Option<Box<str>>,
    pub(super) target: Option<Target>,
    pub(super) policy: Option<Arc<Policy>>,
    /// It may end as a tunnel although it was forwarded.
    pub(super) upgrades: bool,
    /// The path of a forwarded request, for rules; never logged.
    pub(super) path: Option<Box<str>>,
    /// The clients of the policy that it comes from.
    pub(super) caller: Caller,
    /// The client pod.
    pub(super) client_pod: Option<Arc<str>>,
    /// The mode of the policy.
    pub(super) mode: Mode,
    /// In mode Report: what mode Enforce would have said.
    reported: Option<Deny>,
    /// One of the places that the policy has for tunnels and forwarded requests.
    pub(super) place: Option<Place>,
    /// The same for the destination.
    pub(super) destination: Option<Destination>,
    pub(super) rule: Option<Arc<str>>,
    pub(super) peer: Option<IpAddr>,
    pub(super) dns: Option<Duration>,
    pub(super) connect: Option<Duration>,
    /// TLS of the connection that it went over.
    pub(super) tls: Option<Session>,
    /// How it was signed when it went out.
    pub(super) signature: Option<Scheme>,
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
    pub(super) fn new(server: &Server, source: Source) -> Self {
        let documents = server.state.in_force();
        Self {
            id: server.ids.next(),
            client: source.client,
            balancer: source.balancer,
            welcome: source.welcome,
            started: Instant::now(),
            limits: server.limits_of(&documents),
            documents,
            credential: Credential::None,
            method: None,
            target: None,
            policy: None,
            upgrades: false,
            path: None,
            caller: Caller::UNKNOWN,
            client_pod: None,
            mode: Mode::Enforce,
            reported: None,
            place: None,
            destination: None,
            rule: None,
            peer: None,
            dns: None,
            connect: None,
            tls: None,
            signature: None,
            detail: None,
        }
    }

    /// Notes who asks, and of what policy.
    pub(super) fn recognised(&mut self, identity: &Identity) -> Result<(), Fault> {
        let documents = &self.documents;
        let policy = documents.policy().ok_or(Fault::NoPolicy)?;
        self.mode = documents.wall.caps.mode(policy.mode());
        self.policy = Some(Arc::clone(policy));
        self.caller = identity.caller;
        self.client_pod.clone_from(&identity.pod);
        Ok(())
    }

    /// Notes what permitted.
    pub(super) fn permitted(&mut self, permit: &Permit) {
        self.rule = permit.rule().cloned();
    }

    /// Notes, once, what mode Enforce would have refused.
    pub(super) fn report(&mut self, server: &Server, permit: &Permit, deny: Deny) {
        if self.reported.is_some() {
            return;
        }
        let denies = server.state.would_denies();
        denies.note(permit.policy(), permit.target(), deny.code());
        self.rule = deny.rule_name().cloned().or_else(|| self.rule.take());
        self.reported = Some(deny);
    }

    /// When it ends in any case.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A lifetime past the end of the clock is none.
        self.limits
            .lifetime
            .and_then(|lifetime| self.started.checked_add(lifetime))
    }

    /// Is decided about by these documents from now on.
    pub(super) fn follow(&mut self, server: &Server, documents: Arc<InForce>) {
        self.limits = server.limits_of(&documents);
        self.documents = documents;
    }

    /// Whether documents, which it follows from now on, let it go on once it is open: the same caller, the same request,
    /// the very address that it leads to. What was proved when it began is not proved again.
    pub(super) fn goes_on(&mut self, documents: &Arc<InForce>, address: VettedAddr) -> bool {
        self.documents = Arc::clone(documents);
        let (Some(before), Some(now)) = (&self.policy, documents.policy()) else {
            return false;
        };
        self.still_permits(now, now.caller(before.names_of(self.caller)), address)
    }

    /// The same while the client still sends: a credential, a certificate or a row of the pod table that has gone stops
    /// the rest of its request.
    pub(super) fn goes_on_proved(
        &mut self,
        documents: &Arc<InForce>,
        certified: Option<&mut Certified>,
        address: VettedAddr,
    ) -> bool {
        self.documents = Arc::clone(documents);
        let Some(now) = documents.policy() else {
            return false;
        };
        let caller = self.identify(now, certified).caller;
        self.still_permits(now, caller, address)
    }

    /// Who asks, as far as its documents know.
    pub(super) fn identify(&self, policy: &Policy, certified: Option<&mut Certified>) -> Identity {
        let documents = &self.documents;
        let evidence = Evidence {
            ip: self.client.ip(),
            credential: &self.credential,
            certified: certified.map_or(&[], |certified| certified.clients(policy, &documents.secrets)),
        };
        auth::identify(policy, &documents.clients, &documents.secrets, evidence)
    }

    fn still_permits(&self, policy: &Arc<Policy>, caller: Caller, address: VettedAddr) -> bool {
        let Some(target) = &self.target else { return false };
        let ask = Ask::tunnel(target.clone()).by(caller);
        let ask = match (&self.method, &self.path) {
            (Some(method), Some(path)) => ask.http(method, path),
            _ => ask,
        };
        let unsigned = || {
            let permit = policy.permit(&self.documents.wall, ask.clone());
            permit.is_ok_and(|permit| permit.check_upgrade().is_err())
        };
        if self.upgrades && policy.revoke_tunnels() == Revoke::Immediate && unsigned() {
            return false;
        }
        policy.still_permits(&self.documents.wall, ask, address)
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
            limits: &self.limits,
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
                // Their code stands for many a mistake; none of their texts has a part of the request in it.
                if let Fault::UpstreamMalformed(what) = fault {
                    self.detail.get_or_insert_with(|| (*what).into());
                } else if matches!(fault, Fault::MalformedRequest(_) | Fault::MalformedTarget(_)) {
                    self.detail.get_or_insert_with(|| reason.sentence().into());
                }
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
            None,
            (0, 0),
        );
    }

    /// Logs and counts a connection that ended before it could bring a request.
    pub(super) fn unopened(self, server: &Server, why: Unopened) {
        self.write(server, "error", why.code(), None, None, (0, 0));
    }

    /// Logs and counts a request that was served, to whatever end.
    pub(super) fn served(mut self, server: &Server, ending: Ending) {
        if let End::UpstreamMalformed(what) = ending.end {
            self.detail.get_or_insert_with(|| what.into());
            let error = ErrorLabels {
                error: ending.end.code(),
            };
            server.metrics.upstream_errors.get_or_create(&error).inc();
        }
        let (end, bytes) = (ending.end.code(), (ending.sent, ending.received));
        match self.reported.as_ref().map(Deny::code) {
            Some(reason) => self.write(server, "report", reason, ending.status, Some(end), bytes),
            None => self.write(server, "allow", end, ending.status, None, bytes),
        }
    }

    fn write(
        self,
        server: &Server,
        decision: &'static str,
        reason: &'static str,
        status: Option<u16>,
        end: Option<&'static str>,
        (bytes_sent, bytes_received): (u64, u64),
    ) {
        server
            .metrics
            .requests
            .get_or_create(&RequestLabels { decision, reason })
            .inc();
        server.log.record(&Entry {
            time: Timestamp::now(),
            client: self.client,
            balancer: self.balancer,
            clients: self.caller,
            client_pod: self.client_pod,
            mode: self.mode,
            id: self.id,
            method: self.method,
            target: self.target,
            policy: self.policy,
            rule: self.rule,
            decision,
            reason,
            end,
            status,
            peer: self.peer,
            detail: self.detail,
            bytes_sent,
            bytes_received,
            duration: self.started.elapsed(),
            dns: self.dns,
            connect: self.connect,
            tls: self.tls,
            signature: self.signature,
        });
    }
}
