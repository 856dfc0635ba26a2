//! `spec.caps`: the outer wall around every policy of a pool.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{self, PortRange};

/// The outer wall: holds for every request of every policy of the pool, in every mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Caps {
    /// Modes that policies may have: Enforce, Report, Open. A policy in another mode is not accepted, and enforced as
    /// Enforce. Default: Enforce alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::modes")]
    pub modes: Option<Vec<String>>,
    /// Destination ports that may be reached, at most 64 ranges. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Option<Vec<PortRange>>,
    /// Names that may be reached. A pool that allows names lets no target written as an address through, but those of
    /// `cidrs` and `internalDestinations`. Absent: every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCaps>,
    /// Addresses that may be reached. Absent: every public address, or none where `hosts` allows names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<CidrCaps>,
    /// The only exceptions to the internal tier of the SSRF floor (RFC 1918, unique local, shared, Pods and Services),
    /// at most 64. Each opens nothing by itself: a rule must name that very host, or a range inside that range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub internal_destinations: Option<Vec<InternalDestination>>,
    /// Required: a client that is known by its address alone is not served. Optional: it is. Default: Optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Required", "Optional"]))]
    pub client_auth: Option<String>,
    /// Most proxy pods that a policy may have in each cell, 1 to 100. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas_per_cell: Option<i32>,
    /// Most rules of one policy, 1 to 1000. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_rules_per_policy: Option<i32>,
}

/// Names that policies of a pool may reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostCaps {
    /// Host patterns as in a rule. Absent: every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::hosts")]
    pub allow: Option<Vec<String>>,
    /// Host patterns as in a rule that beat `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::hosts")]
    pub deny: Option<Vec<String>>,
}

/// Addresses that policies of a pool may reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CidrCaps {
    /// Ranges that targets written as addresses must lie in, at most 256; without `hosts.allow` the addresses of names as
    /// well. Absent: as if `cidrs` were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::cidrs")]
    pub allow: Option<Vec<String>>,
    /// Ranges that nothing is dialled in, whatever name leads there, at most 256. They beat `allow` and
    /// `internalDestinations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::cidrs")]
    pub deny: Option<Vec<String>>,
}

/// One exception to the internal tier: a range, or a name whose addresses lie in ranges.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cidr) != has(self.host)").message("an internal destination has either cidr or host"),
    validation = Rule::new("has(self.cidrs) == has(self.host)").message("cidrs goes with host, and only with it: where the addresses of the host must lie")
)]
pub struct InternalDestination {
    /// A range; opened for rules whose own range lies inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::cidr")]
    pub cidr: Option<String>,
    /// An exact name; opened for rules that name exactly it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::host")]
    pub host: Option<String>,
    /// Where the addresses of `host` must lie, at most 32 ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::cidrs_few")]
    pub cidrs: Option<Vec<String>>,
    /// Destination ports, at most 32 ranges.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<PortRange>,
}
