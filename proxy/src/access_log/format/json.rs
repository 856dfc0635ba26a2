//! OpenTelemetry's names (semantic conventions), and `egress.` for what these have no name for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use egressway_core::acl::{Host, Target};
use egressway_core::wire::document::{Mode, Scheme};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::super::{Entry, Place};
use super::names::{ClientNames, PolicyName, text};
use crate::server::id::Id;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    timestamp: Timestamp,
    #[serde(rename = "client.address")]
    client_address: IpAddr,
    #[serde(rename = "client.port")]
    client_port: u16,
    #[serde(rename = "egress.balancer", skip_serializing_if = "Option::is_none")]
    balancer: Option<SocketAddr>,
    #[serde(rename = "egress.client", skip_serializing_if = "Option::is_none")]
    clients: Option<ClientNames<'a>>,
    #[serde(rename = "egress.client_pod", skip_serializing_if = "Option::is_none")]
    client_pod: Option<&'a str>,
    #[serde(
        rename = "server.address",
        skip_serializing_if = "Option::is_none",
        serialize_with = "host"
    )]
    server_address: Option<&'a Host>,
    #[serde(rename = "server.port", skip_serializing_if = "Option::is_none")]
    server_port: Option<u16>,
    #[serde(rename = "network.peer.address", skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(rename = "tls.protocol.name", skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    #[serde(rename = "tls.protocol.version", skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(rename = "tls.resumed", skip_serializing_if = "Option::is_none")]
    tls_resumed: Option<bool>,
    #[serde(rename = "egress.signature", skip_serializing_if = "Option::is_none")]
    signature: Option<Scheme>,
    #[serde(rename = "http.request.method", skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(rename = "error.message", skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(rename = "egress.id", serialize_with = "text")]
    id: Id,
    #[serde(rename = "egress.decision")]
    decision: &'static str,
    #[serde(rename = "egress.reason")]
    reason: &'static str,
    #[serde(rename = "egress.end", skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    #[serde(rename = "egress.mode", skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(rename = "egress.policy", skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyName<'a>>,
    #[serde(rename = "egress.generation", skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(rename = "egress.rule", skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(rename = "egress.bytes_sent")]
    bytes_sent: u64,
    #[serde(rename = "egress.bytes_received")]
    bytes_received: u64,
    #[serde(rename = "egress.duration_ms")]
    duration_ms: f64,
    #[serde(rename = "egress.dns_ms", skip_serializing_if = "Option::is_none")]
    dns_ms: Option<f64>,
    #[serde(rename = "egress.connect_ms", skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(rename = "k8s.pod.name", skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(rename = "k8s.node.name", skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub(super) fn new(entry: &'a Entry, place: &'a Place) -> Self {
        Self {
            timestamp: entry.time,
            client_address: entry.client.ip().to_canonical(),
            client_port: entry.client.port(),
            balancer: entry.balancer,
            clients: entry.client_names(),
            client_pod: entry.client_pod.as_deref(),
            server_address: entry.target.as_ref().map(Target::host),
            server_port: entry.target.as_ref().map(Target::port),
            peer: entry.peer,
            tls: entry.tls.map(|_| "tls"),
            tls_version: entry.tls.map(|tls| tls.version),
            tls_resumed: entry.tls.map(|tls| tls.resumed),
            signature: entry.signature,
            method: entry.method.as_deref(),
            status: entry.status,
            error: (entry.decision == "error").then_some(entry.reason),
            detail: entry.detail.as_deref(),
            id: entry.id,
            decision: entry.decision,
            reason: entry.reason,
            end: entry.end,
            mode: Some(entry.mode).filter(|mode| *mode != Mode::Enforce),
            policy: entry.policy.as_deref().map(PolicyName),
            generation: entry.policy.as_ref().map(|policy| policy.generation()),
            rule: entry.rule.as_deref(),
            bytes_sent: entry.bytes_sent,
            bytes_received: entry.bytes_received,
            duration_ms: milliseconds(entry.duration),
            dns_ms: entry.dns.map(milliseconds),
            connect_ms: entry.connect.map(milliseconds),
            pod: place.pod.as_deref(),
            node: place.node.as_deref(),
        }
    }
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn host<S: Serializer>(host: &Option<&Host>, serializer: S) -> Result<S::Ok, S::Error> {
    match host {
        Some(Host::Name(name)) => serializer.serialize_str(name),
        Some(Host::Address(ip)) => serializer.collect_str(ip),
        None => serializer.serialize_none(),
    }
}
