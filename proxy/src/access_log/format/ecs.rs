//! The Elastic Common Schema's names, as its logging libraries write them: one flat object with dots in the keys. What it has no
//! name for keeps ours.

use std::net::{IpAddr, SocketAddr};

use egressway_core::acl::{Host, Target};
use egressway_core::wire::document::{Mode, Scheme};
use jiff::Timestamp;
use serde::Serialize;

use super::super::{Entry, Place};
use super::names::{ClientNames, PolicyName, text};
use crate::server::id::Id;

/// The version whose names these are.
const VERSION: &str = "8.11.0";

#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Timestamp,
    #[serde(rename = "log.level")]
    level: &'static str,
    message: &'static str,
    #[serde(rename = "ecs.version")]
    version: &'static str,
    #[serde(rename = "service.name")]
    service: &'static str,
    #[serde(rename = "event.kind")]
    kind: &'static str,
    #[serde(rename = "event.category")]
    category: [&'static str; 1],
    #[serde(rename = "event.type")]
    types: [&'static str; 2],
    #[serde(rename = "event.action")]
    action: &'static str,
    #[serde(rename = "event.outcome")]
    outcome: &'static str,
    #[serde(rename = "event.reason")]
    reason: &'static str,
    #[serde(rename = "event.id", serialize_with = "text")]
    id: Id,
    #[serde(rename = "event.duration")]
    duration_ns: u64,
    #[serde(rename = "source.ip")]
    source_ip: IpAddr,
    #[serde(rename = "source.port")]
    source_port: u16,
    #[serde(rename = "source.bytes")]
    source_bytes: u64,
    #[serde(rename = "user.name", skip_serializing_if = "Option::is_none")]
    clients: Option<ClientNames<'a>>,
    #[serde(rename = "egress.client_pod", skip_serializing_if = "Option::is_none")]
    client_pod: Option<&'a str>,
    #[serde(rename = "egress.balancer", skip_serializing_if = "Option::is_none")]
    balancer: Option<SocketAddr>,
    #[serde(rename = "egress.end", skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    #[serde(rename = "egress.mode", skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(rename = "destination.domain", skip_serializing_if = "Option::is_none")]
    destination_domain: Option<&'a str>,
    #[serde(rename = "destination.ip", skip_serializing_if = "Option::is_none")]
    destination_ip: Option<IpAddr>,
    #[serde(rename = "destination.port", skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(rename = "destination.bytes")]
    destination_bytes: u64,
    #[serde(rename = "tls.version_protocol", skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    #[serde(rename = "tls.version", skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(rename = "tls.resumed", skip_serializing_if = "Option::is_none")]
    tls_resumed: Option<bool>,
    #[serde(rename = "egress.signature", skip_serializing_if = "Option::is_none")]
    signature: Option<Scheme>,
    #[serde(rename = "http.request.method", skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "rule.name", skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(rename = "rule.ruleset", skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyName<'a>>,
    #[serde(rename = "rule.version", skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(rename = "error.message", skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(
        rename = "orchestrator.resource.name",
        skip_serializing_if = "Option::is_none"
    )]
    pod: Option<&'a str>,
    #[serde(rename = "host.name", skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub(super) fn new(entry: &'a Entry, place: &'a Place) -> Self {
        let (level, kind, outcome) = match entry.decision {
            "allow" => ("info", "allowed", "success"),
            "deny" => ("warn", "denied", "failure"),
            // Let through, and Enforce would not have.
            "report" => ("warn", "allowed", "success"),
            _ => ("error", "error", "failure"),
        };
        let host = entry.target.as_ref().map(Target::host);
        let (domain, written) = match host {
            Some(Host::Name(name)) => (Some(name.as_str()), None),
            Some(Host::Address(ip)) => (None, Some(*ip)),
            None => (None, None),
        };
        Self {
            timestamp: entry.time,
            level,
            message: "egress request",
            version: VERSION,
            service: "egressway-proxy",
            kind: "event",
            category: ["network"],
            types: ["connection", kind],
            action: entry.decision,
            outcome,
            reason: entry.reason,
            id: entry.id,
            duration_ns: u64::try_from(entry.duration.as_nanos()).unwrap_or(u64::MAX),
            source_ip: entry.client.ip().to_canonical(),
            source_port: entry.client.port(),
            source_bytes: entry.bytes_sent,
            clients: entry.client_names(),
            client_pod: entry.client_pod.as_deref(),
            balancer: entry.balancer,
            end: entry.end,
            mode: Some(entry.mode).filter(|mode| *mode != Mode::Enforce),
            destination_domain: domain,
            destination_ip: entry.peer.or(written),
            destination_port: entry.target.as_ref().map(Target::port),
            destination_bytes: entry.bytes_received,
            tls: entry.tls.map(|_| "tls"),
            tls_version: entry.tls.map(|tls| tls.version),
            tls_resumed: entry.tls.map(|tls| tls.resumed),
            signature: entry.signature,
            method: entry.method.as_deref(),
            status: entry.status,
            rule: entry.rule.as_deref(),
            policy: entry.policy.as_deref().map(PolicyName),
            generation: entry
                .policy
                .as_ref()
                .map(|policy| policy.generation().to_string()),
            error: (entry.decision == "error").then_some(entry.reason),
            detail: entry.detail.as_deref(),
            pod: place.pod.as_deref(),
            node: place.node.as_deref(),
        }
    }
}
