//! The `spec` of an EgressPool, as far as it decides about requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::PortRange;

/// The `spec` of an EgressPool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolSpec {
    /// Who may use the pool; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Value>,
    /// Where its pods stand; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<Value>,
    /// Who is asked for the egress address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Defaults for fleets; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Value>,
    /// The outer wall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// NAT64 prefixes of this network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat64_prefixes: Option<Vec<String>>,
}

/// `observation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Observation {
    /// Who is asked.
    pub observers: Vec<Observer>,
    /// How many have to agree. Absent: a majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// From one round to the next. Absent: a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// What a pod does that leaves from another address than promised; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_mismatch: Option<String>,
}

/// One of `observation.observers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observer {
    /// Its name.
    pub name: String,
    /// `http://` or `https://` URL.
    pub url: String,
    /// PEM certificates in place of the public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// `caps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Caps {
    /// Modes that policies may have. Absent: Enforce alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modes: Option<Vec<String>>,
    /// Ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortRange>>,
    /// Names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCaps>,
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<CidrCaps>,
    /// Exceptions to the internal tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_destinations: Option<Vec<InternalDestination>>,
    /// Required or Optional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<String>,
    /// Most proxy pods in a cell of one policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas_per_cell: Option<i64>,
    /// Most rules of one policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rules_per_policy: Option<i64>,
}

/// `caps.hosts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostCaps {
    /// Host patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Host patterns that beat `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// `caps.cidrs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CidrCaps {
    /// Ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Ranges that beat `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// One of `caps.internalDestinations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InternalDestination {
    /// A range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// A name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where the name's addresses must lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<String>>,
    /// Destination ports.
    pub ports: Vec<PortRange>,
}
