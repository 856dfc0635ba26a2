//! OpenTelemetry's names (semantic conventions), and `egress.` for what these have no name for.

use std::time::Duration;

use egressway_core::acl::Target;
use serde::{Serialize, Serializer};

use super::super::{Entry, Place};
use super::fields::Fields;
use super::names::{HostName, PolicyName, Text};

pub(super) struct Line<'a>(pub(super) &'a Entry, pub(super) &'a Place);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(entry, place) = self;
        let mut line = Fields::begin(serializer)?;
        line.put("timestamp", entry.time)?;
        line.put("client.address", entry.client.ip().to_canonical())?;
        line.put("client.port", entry.client.port())?;
        line.put_known("egress.balancer", entry.balancer)?;
        line.put_known("egress.client", entry.client_names())?;
        line.put_known("egress.client_pod", entry.client_pod.as_deref())?;
        let host = entry.target.as_ref().map(Target::host);
        line.put_known("server.address", host.map(HostName))?;
        line.put_known("server.port", entry.target.as_ref().map(Target::port))?;
        line.put_known("network.peer.address", entry.peer)?;
        line.put_known("tls.protocol.name", entry.tls.map(|_| "tls"))?;
        line.put_known("tls.protocol.version", entry.tls.map(|tls| tls.version))?;
        line.put_known("tls.resumed", entry.tls.map(|tls| tls.resumed))?;
        line.put_known("egress.signature", entry.signature)?;
        line.put_known("http.request.method", entry.method.as_deref())?;
        line.put_known("http.response.status_code", entry.status)?;
        line.put_known("error.type", entry.error())?;
        line.put_known("error.message", entry.detail.as_deref())?;
        line.put("egress.id", Text(entry.id))?;
        line.put("egress.decision", entry.decision)?;
        line.put("egress.reason", entry.reason)?;
        line.put_known("egress.end", entry.end)?;
        line.put_known("egress.mode", entry.unusual_mode())?;
        line.put_known("egress.policy", entry.policy.as_deref().map(PolicyName))?;
        line.put_known("egress.generation", entry.generation())?;
        line.put_known("egress.rule", entry.rule.as_deref())?;
        line.put("egress.bytes_sent", entry.bytes_sent)?;
        line.put("egress.bytes_received", entry.bytes_received)?;
        line.put("egress.duration_ms", milliseconds(entry.duration))?;
        line.put_known("egress.dns_ms", entry.dns.map(milliseconds))?;
        line.put_known("egress.connect_ms", entry.connect.map(milliseconds))?;
        line.put_known("k8s.pod.name", place.pod.as_deref())?;
        line.put_known("k8s.node.name", place.node.as_deref())?;
        line.end()
    }
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
