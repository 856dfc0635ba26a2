//! `EgressPool`: where fixed addresses exist, which, and who may use them. The platform team's object.

mod caps;
mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::caps::{Caps, HostCaps, InternalDestination};
pub use self::status::{CellStatus, EgressPoolStatus, PoolEgressIp};
use crate::fields::{self, Resources};

/// An EgressPool declares node pools behind NAT gateways, the addresses promised to customers, and which namespaces
/// may use them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "egressway.dev",
    version = "v1alpha1",
    kind = "EgressPool",
    plural = "egresspools",
    singular = "egresspool",
    shortname = "epool",
    category = "egress",
    status = "EgressPoolStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "An EgressPool declares node pools behind NAT gateways, the addresses promised to customers, and which namespaces may use them.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name may have at most 63 characters: it stands in labels"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Egress-IPs", type_ = "string", json_path = ".status.egressIPSummary"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type==\"EgressIPsVerified\")].reason"),
    printcolumn(name = "Policies", type_ = "integer", json_path = ".status.policies"),
    printcolumn(name = "Default", type_ = "string", json_path = ".metadata.annotations.egressway\\.dev/is-default-pool", priority = 1),
    printcolumn(name = "Unexpected", type_ = "string", json_path = ".status.unexpectedIPSummary", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EgressPoolSpec {
    /// Namespaces whose policies may use this pool. Nothing is allowed that is not named here.
    pub allowed_namespaces: AllowedNamespaces,
    /// The cells of the pool. One cell is one NAT and one failure domain: its nodes, its addresses.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub cells: Vec<Cell>,
    /// Who is asked which address the pods leave from. Absent: nobody, and no address is ever verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Defaults for the fleets of policies on this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PoolFleet>,
    /// The outer wall: what no policy of the pool gets past, whatever its rules and its mode say. A change takes effect
    /// at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// Prefixes by which a NAT64 of this network embeds IPv4 addresses (RFC 6052), besides 64:ff9b::/96, at most 8: an
    /// address in one is judged by the IPv4 address that it embeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::nat64_prefixes")]
    pub nat64_prefixes: Option<Vec<String>>,
}

/// Namespaces whose policies may use a pool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message("selector goes with from: Selector, and only with it"),
    validation = Rule::new("(self.from == 'Names') == has(self.names)").message("names goes with from: Names, and only with it")
)]
pub struct AllowedNamespaces {
    /// All: every namespace. Selector: those that `selector` matches. Names: those in `names`.
    #[schemars(extend("enum" = ["All", "Selector", "Names"]))]
    pub from: String,
    /// Label selector over namespaces; goes with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names of namespaces; goes with `from: Names`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub names: Option<Vec<String>>,
}

/// One cell: nodes behind one NAT gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Name of the cell, unique within the pool; often the zone.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Labels of the nodes behind this cell's NAT gateway.
    #[schemars(schema_with = "fields::node_labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of these nodes that the proxy pods tolerate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Option<Vec<Toleration>>,
    /// The addresses promised to customers. Absent: discovery, in which whatever a quorum of observers sees is listed
    /// as Unconfirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cidr"]))]
    pub addresses: Option<Vec<DeclaredAddress>>,
    /// Active: serves. Draining: refuses new requests, so that its NAT can be taken out of use. Disabled: has no pods.
    #[serde(default = "active", skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["Active", "Draining", "Disabled"]))]
    pub state: String,
}

/// A taint that proxy pods tolerate, as in a Pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')").message("a toleration without key needs operator: Exists"),
    validation = Rule::new("!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'").message("operator: Exists takes no value"),
    validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')").message("tolerationSeconds goes with effect: NoExecute")
)]
pub struct Toleration {
    /// Key of the taint. Absent with operator Exists: every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// Equal or Exists. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Equal", "Exists"]))]
    pub operator: Option<String>,
    /// Value of the taint; goes with operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute. Absent: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// How many seconds a pod stays after a NoExecute taint. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// An address, or range, promised to customers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredAddress {
    /// The address as a range: /32 or /128 for one address, shorter for a prefix.
    #[schemars(schema_with = "fields::cidr")]
    pub cidr: String,
    /// Announced, but not in use before this time (RFC 3339). Until then it is listed as Planned and traffic from it
    /// is unexpected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::date_time")]
    pub not_before: Option<String>,
    /// Being retired: listed until this time (RFC 3339), and traffic from it is unexpected afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::date_time")]
    pub not_after: Option<String>,
}

/// How pods find out which address they leave from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.quorum) || self.quorum <= self.observers.size()").message("quorum cannot be larger than the number of observers"))]
pub struct Observation {
    /// Servers outside of the cluster that answer with the caller's address as text. `egressway-proxy observer` is
    /// one; an echo inside the cluster never sees the NAT.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub observers: Vec<Observer>,
    /// How many distinct observers must have seen an address before it is believed. Default: a majority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub quorum: Option<i32>,
    /// Time from one round of questions to the next, 5s to 1h. Every pod asks every observer over fresh connections.
    #[serde(default = "interval", skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "fields::interval")]
    pub interval: String,
    /// What a pod does when a quorum saw an address that is not promised. Quarantine: it stops being ready and refuses
    /// new requests. Warn: it goes on and the condition says so. Off: it goes on and the condition stays as it is.
    /// Default: Quarantine for cells that declare addresses, else Warn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Quarantine", "Warn", "Off"]))]
    pub on_mismatch: Option<String>,
}

/// One observer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observer {
    /// Name of the observer, unique within the pool.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// http:// or https:// URL. The answer to GET must be the caller's address and nothing else.
    #[schemars(
        length(min = 10, max = 512),
        regex(pattern = "^https?://[^/@?#\\s]+(/[^\\s#]*)?$")
    )]
    pub url: String,
    /// PEM certificates that replace the public roots for this observer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
}

/// Defaults for the fleets of policies on a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolFleet {
    /// Proxy pods in each cell, 1 to 100. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas_per_cell: Option<i32>,
    /// Compute resources of each proxy pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How long a terminating pod lets open tunnels run, 0s to 1h. Default: 300s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::drain")]
    pub drain: Option<String>,
}

fn active() -> String {
    "Active".to_owned()
}

fn interval() -> String {
    "60s".to_owned()
}
