//! What a proxy says about itself when the operator asks: hashes in force, egress addresses seen, load.
//!
//! The operator distrusts it: bounded in size, authenticated (see [`super::auth`]), never a source of promises.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The version that this build writes and the newest that it reads.
pub const VERSION: u32 = 1;
/// Most bytes that a reader takes.
pub const BYTES_MAX: usize = 256 * 1024;
/// Most addresses that a reader takes from one pod.
pub const SEEN_MAX: usize = 128;
/// Most destinations of one policy that a report lists.
pub const WOULD_DENY_MAX: usize = 20;
/// Path of the report on [`super::names::REPORT_PORT`].
pub const PATH: &str = "/v1/report";

/// The report of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Build of the proxy, for people.
    pub build: String,
    /// `metadata.name` of the pod.
    pub pod: String,
    /// `metadata.uid` of the pod: addresses are reused, UIDs are not.
    pub uid: String,
    /// Cell that the pod believes to stand in.
    pub cell: String,
    /// What the pod does with new requests.
    pub phase: Phase,
    /// Policies in force, each with its hash.
    pub policies: Vec<PolicyInForce>,
    /// Digest of the floor in force; empty before the first load.
    pub floor_hash: String,
    /// Digest of the pool document in force; empty before the first load.
    pub pool_hash: String,
    /// Digest of the client pods in force; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub clients_hash: String,
    /// Digest of the secrets in force; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secrets_hash: String,
    /// Why the newest documents were refused, while the last good ones stay in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_error: Option<String>,
    /// What the observers saw.
    pub egress: Egress,
    /// Open tunnels and forwarded requests.
    pub active: u64,
}

/// What a pod does with new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No policy or no verified egress address yet.
    Starting,
    /// Serves.
    Serving,
    /// A quorum saw an address that is not promised: refuses new requests.
    Quarantined,
    /// Terminating, or its cell drains.
    Draining,
}

/// One policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInForce {
    /// Namespace of the EgressPolicy.
    pub namespace: String,
    /// Name of the EgressPolicy.
    pub name: String,
    /// Generation that the document was rendered from.
    pub generation: i64,
    /// Hash of the content in force.
    pub hash: String,
    /// In mode Report: what would have been refused since the pod started, most often first, at most
    /// [`WOULD_DENY_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_deny: Vec<WouldDeny>,
}

/// A destination that mode Enforce would have refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WouldDeny {
    /// `host:port`.
    pub target: String,
    /// The code of the reason.
    pub reason: String,
    /// Requests so far.
    pub count: u64,
}

/// What the observers saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// Rounds completed since start.
    pub rounds: u64,
    /// Addresses, each with who saw it; sorted by address.
    pub seen: Vec<Seen>,
    /// Last outcome per observer and family.
    pub observers: Vec<ObserverHealth>,
}

/// One address and who saw it within the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The address, in canonical form (IPv4-mapped IPv6 is IPv4).
    pub ip: IpAddr,
    /// Names of the observers that saw it within the window; empty once it is only remembered.
    pub observers: Vec<String>,
    /// At least a quorum of distinct observers saw it within the window.
    pub confirmed: bool,
    /// Seconds since the Unix epoch of the last sighting.
    pub last_seen: u64,
}

/// Last outcome of asking one observer over one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObserverHealth {
    /// Name of the observer.
    pub name: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Why it gave no usable answer; absent when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
