//! `pool.json`: what the pool's admin decides for every pod that stands on it.

use serde::{Deserialize, Serialize};

use super::{Mode, PortRange, is_default};

/// `pool.json`: what the pool's admin decides for every pod that stands on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Name of the EgressPool.
    pub name: String,
    /// Who is asked for the egress address, and what follows.
    pub observation: Observation,
    /// The cells; a pod finds its own by name.
    pub cells: Vec<Cell>,
    /// The outer wall around every policy of the pool.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caps: Caps,
}

/// The outer wall: holds for every policy of the pool, in every mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caps {
    /// Modes that a policy may have; any other is enforced as Enforce. Absent: every mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modes: Option<Vec<Mode>>,
    /// Ports that may be reached; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Names that may be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCaps>,
    /// The only exceptions to the internal tier of the floor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub internal_destinations: Vec<InternalDestination>,
    /// Whether clients must present a credential.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_auth: ClientAuth,
}

/// Names that policies of a pool may reach. They say nothing about targets written as addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostCaps {
    /// Host patterns; empty: every name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Host patterns that beat `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// One exception to the internal tier of the floor: a range, or a name whose addresses lie in ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalDestination {
    /// A range; opened for rules whose own range lies inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// An exact name; opened for rules that name exactly it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where the addresses of `host` must lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Destination ports; never empty.
    pub ports: Vec<PortRange>,
}

/// Whether clients must present a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// The address of a client pod is enough where the policy says so.
    #[default]
    Optional,
    /// A client that is known by its address alone is not served.
    Required,
}

/// One cell as its pods see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cell {
    /// Name, unique within the pool.
    pub name: String,
    /// The addresses promised *now* (the operator resolves notBefore and notAfter). Empty in discovery.
    #[serde(default)]
    pub promised: Vec<String>,
    /// True when the pool declares addresses for this cell, even if none is promised at this moment.
    #[serde(default)]
    pub declared: bool,
    /// True while the cell takes no new requests (state Draining).
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub draining: bool,
}

/// How pods find out their egress address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observation {
    /// Whom to ask; empty switches observation off.
    pub observers: Vec<Observer>,
    /// How many distinct observers must have seen an address before it is believed.
    pub quorum: u32,
    /// Milliseconds from the start of one round to the start of the next.
    pub interval_ms: u64,
    /// What a pod does when a quorum saw an address that is not promised.
    pub on_mismatch: OnMismatch,
}

/// One observer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observer {
    /// Unique within the pool.
    pub name: String,
    /// `http://` or `https://` URL whose answer is the caller's address as text.
    pub url: String,
    /// PEM bundle that replaces the compiled-in roots for this observer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// What a pod does when a quorum saw an address that is not promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMismatch {
    /// Stop being ready and answer 503 to new requests.
    Quarantine,
    /// Go on and report.
    #[default]
    Warn,
    /// Go on, report, and leave the condition alone.
    Off,
}
