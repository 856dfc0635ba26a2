//! The `spec` of an EgressPool, as far as it decides about requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::PortRange;

/// The `spec` of an EgressPool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolSpec {
    /// Who may use the pool; a cluster's matter.
    pub allowed_namespaces: Option<Value>,
    /// Where its pods stand; a cluster's matter.
    pub cells: Option<Value>,
    /// Who is asked for the egress address; a cluster's matter.
    pub observation: Option<Value>,
    /// Defaults for fleets; a cluster's matter.
    pub fleet: Option<Value>,
    /// The outer wall.
    pub caps: Option<Caps>,
    /// NAT64 prefixes of this network.
    pub nat64_prefixes: Option<Vec<String>>,
}

/// `caps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Caps {
    /// Modes that policies may have. Absent: Enforce alone.
    pub modes: Option<Vec<String>>,
    /// Ports.
    pub ports: Option<Vec<PortRange>>,
    /// Names.
    pub hosts: Option<HostCaps>,
    /// Exceptions to the internal tier.
    pub internal_destinations: Option<Vec<InternalDestination>>,
    /// Required or Optional.
    pub client_auth: Option<String>,
    /// Most proxy pods in a cell of one policy.
    pub max_replicas_per_cell: Option<i64>,
    /// Most rules of one policy.
    pub max_rules_per_policy: Option<i64>,
}

/// `caps.hosts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostCaps {
    /// Host patterns.
    pub allow: Option<Vec<String>>,
    /// Host patterns that beat `allow`.
    pub deny: Option<Vec<String>>,
}

/// One of `caps.internalDestinations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InternalDestination {
    /// A range.
    pub cidr: Option<String>,
    /// A name.
    pub host: Option<String>,
    /// Where the name's addresses must lie.
    pub cidrs: Option<Vec<String>>,
    /// Destination ports.
    pub ports: Vec<PortRange>,
}
