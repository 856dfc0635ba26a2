//! `status`: what is observed of a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is observed of a pool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressPoolStatus {
    /// The generation that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What stands out: the reason of the first of Accepted, Ready and EgressIPsVerified that is not as it should be; else
    /// that of Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many policies use the pool.
    #[serde(default)]
    pub policies: i32,
    /// The addresses that customers must allow, with what is known of each, over all policies of the pool.
    #[serde(default, rename = "egressIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub egress_ips: Vec<PoolEgressIp>,
    /// The addresses of `egressIPs`, joined by commas.
    #[serde(default, rename = "egressIPSummary", skip_serializing_if = "Option::is_none")]
    pub egress_ip_summary: Option<String>,
    /// Addresses that observers saw and nobody promised, joined by commas.
    #[serde(
        default,
        rename = "unexpectedIPSummary",
        skip_serializing_if = "Option::is_none"
    )]
    pub unexpected_ip_summary: Option<String>,
    /// The cells with their nodes and pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub cells: Vec<CellStatus>,
    /// Accepted, EgressIPsVerified, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One address of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolEgressIp {
    /// The address, or the promised prefix.
    pub ip: String,
    /// IPv4 or IPv6.
    pub family: String,
    /// The cell that it belongs to.
    pub cell: String,
    /// As in an EgressPolicy's status.
    pub state: String,
}

/// One cell of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellStatus {
    /// Name of the cell.
    pub name: String,
    /// Active, Draining or Disabled, as the newest spec that was looked at says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Nodes that the cell's nodeSelector matches.
    pub nodes: i32,
    /// Ready proxy pods in the cell, over all policies.
    pub ready_pods: i32,
}
