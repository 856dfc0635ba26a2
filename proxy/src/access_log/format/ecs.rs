//! The Elastic Common Schema's names, as its logging libraries write them: one flat object with dots in the keys. What
//! it has no name for keeps ours.

use egressway_core::acl::{Host, Target};
use serde::{Serialize, Serializer};

use super::super::{Entry, Place};
use super::fields::Fields;
use super::names::{PolicyName, Text};

/// The version whose names these are.
const VERSION: &str = "8.11.0";

pub(super) struct Line<'a>(pub(super) &'a Entry, pub(super) &'a Place);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(entry, place) = self;
        let (level, kind, outcome) = match entry.decision {
            "allow" => ("info", "allowed", "success"),
            "deny" => ("warn", "denied", "failure"),
            // Let through, and Enforce would not have.
            "report" => ("warn", "allowed", "success"),
            _ => ("error", "error", "failure"),
        };
        let (domain, written) = match entry.target.as_ref().map(Target::host) {
            Some(Host::Name(name)) => (Some(name.as_str()), None),
            Some(Host::Address(ip)) => (None, Some(*ip)),
            None => (None, None),
        };
        let mut line = Fields::begin(serializer)?;
        line.put("@timestamp", entry.time)?;
        line.put("log.level", level)?;
        line.put("message", "egress request")?;
        line.put("ecs.version", VERSION)?;
        line.put("service.name", "egressway-proxy")?;
        line.put("event.kind", "event")?;
        line.put("event.category", ["network"])?;
        line.put("event.type", ["connection", kind])?;
        line.put("event.action", entry.decision)?;
        line.put("event.outcome", outcome)?;
        line.put("event.reason", entry.reason)?;
        line.put("event.id", Text(entry.id))?;
        let nanoseconds = u64::try_from(entry.duration.as_nanos()).unwrap_or(u64::MAX);
        line.put("event.duration", nanoseconds)?;
        line.put("source.ip", entry.client.ip().to_canonical())?;
        line.put("source.port", entry.client.port())?;
        line.put("source.bytes", entry.bytes_sent)?;
        line.put_known("user.name", entry.client_names())?;
        line.put_known("egress.client_pod", entry.client_pod.as_deref())?;
        line.put_known("egress.balancer", entry.balancer)?;
        line.put_known("egress.end", entry.end)?;
        line.put_known("egress.mode", entry.unusual_mode())?;
        line.put_known("destination.domain", domain)?;
        line.put_known("destination.ip", entry.peer.or(written))?;
        line.put_known("destination.port", entry.target.as_ref().map(Target::port))?;
        line.put("destination.bytes", entry.bytes_received)?;
        line.put_known("tls.version_protocol", entry.tls.map(|_| "tls"))?;
        line.put_known("tls.version", entry.tls.map(|tls| tls.version))?;
        line.put_known("tls.resumed", entry.tls.map(|tls| tls.resumed))?;
        line.put_known("egress.signature", entry.signature)?;
        line.put_known("http.request.method", entry.method.as_deref())?;
        line.put_known("http.response.status_code", entry.status)?;
        line.put_known("rule.name", entry.rule.as_deref())?;
        line.put_known("rule.ruleset", entry.policy.as_deref().map(PolicyName))?;
        line.put_known("rule.version", entry.generation().map(Text))?;
        line.put_known("error.type", entry.error())?;
        line.put_known("error.message", entry.detail.as_deref())?;
        line.put_known("orchestrator.resource.name", place.pod.as_deref())?;
        line.put_known("host.name", place.node.as_deref())?;
        line.end()
    }
}
