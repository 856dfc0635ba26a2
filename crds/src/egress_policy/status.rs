//! `status`: what is observed of a policy and its fleet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is observed of a policy and its fleet.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressPolicyStatus {
    /// The generation that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What stands out: the reason of the first of Accepted, ResolvedRefs, Ready, EgressIPsVerified, Programmed and
    /// Degraded that is not as it should be; else that of Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What clients put into HTTPS_PROXY.
    #[serde(default, rename = "proxyURL", skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    /// Proxy pods wanted, over all cells.
    #[serde(default)]
    pub replicas: i32,
    /// Proxy pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The ACL in force and how many pods enforce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigStatus>,
    /// The addresses that customers must allow, with what is known of each.
    #[serde(default, rename = "egressIPs", skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ip".into()]))]
    pub egress_ips: Vec<EgressIp>,
    /// The addresses of `egressIPs`, joined by commas.
    #[serde(default, rename = "egressIPSummary", skip_serializing_if = "Option::is_none")]
    pub egress_ip_summary: Option<String>,
    /// Addresses that observers saw and nobody promised: drift, or an observer that lies. Never part of `egressIPs`.
    #[serde(default, rename = "unexpectedIPs", skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ip".into()]))]
    pub unexpected_ips: Vec<UnexpectedIp>,
    /// The addresses of `unexpectedIPs`, joined by commas.
    #[serde(
        default,
        rename = "unexpectedIPSummary",
        skip_serializing_if = "Option::is_none"
    )]
    pub unexpected_ip_summary: Option<String>,
    /// The pods of the fleet, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pods: Vec<PodStatus>,
    /// In mode Report: destinations that mode Enforce would refuse, most often asked for first, at most 20; renewed at
    /// most every five minutes. Absent in other modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub would_deny: Vec<WouldDeny>,
    /// When `wouldDeny` was renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny_updated: Option<Time>,
    /// Accepted, ResolvedRefs, Programmed, EgressIPsVerified, Ready, Progressing, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The ACL in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// The generation of the policy that the ACL was rendered from; older than the policy's while an edit is refused.
    pub generation: i64,
    /// Digest of the ACL.
    pub hash: String,
    /// Pods that reported to enforce exactly this hash.
    pub pods_in_sync: i32,
    /// Pods not known to be dead.
    pub pods: i32,
}

/// One address that customers must allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressIp {
    /// The address; for a promised prefix the prefix, beside the addresses of it that were seen.
    pub ip: String,
    /// IPv4 or IPv6.
    pub family: String,
    /// The cell that it belongs to.
    pub cell: String,
    /// Declared: promised, not seen yet. Verified: promised, and a quorum of observers saw it. Stale: was Verified or
    /// Unconfirmed, not seen lately. Planned: promised from notBefore on. Retiring: promised until notAfter, no longer
    /// seen. Unconfirmed: nothing is promised, a quorum saw it.
    pub state: String,
    /// When the address came into this state.
    pub since: Time,
    /// When a promised address retires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When a Stale address was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
}

/// One address that nobody promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnexpectedIp {
    /// The address.
    pub ip: String,
    /// IPv4 or IPv6.
    pub family: String,
    /// True when a quorum of observers saw it: traffic really leaves from it. False: a single odd answer.
    pub confirmed: bool,
    /// Pods whose probes it answered, at most 10.
    pub pods: Vec<String>,
    /// Observers that saw it.
    pub observers: Vec<String>,
    /// When it was noticed, to the minute.
    pub since: Time,
    /// When it was seen last, to the minute.
    pub last_seen: Time,
}

/// A destination that mode Enforce would refuse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WouldDeny {
    /// Host and port as they were asked for.
    pub target: String,
    /// The code of the reason, as in logs.
    pub reason: String,
    /// Requests since the pods that are alive started, over all of them.
    pub count: i64,
}

/// One pod of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Name of the pod, in the fleet namespace.
    pub name: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Zone of the node (topology.kubernetes.io/zone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Cell of the pod.
    pub cell: String,
    /// Addresses that a quorum of observers saw this pod leave from.
    #[serde(default, rename = "egressIPs", skip_serializing_if = "Vec::is_empty")]
    pub egress_ips: Vec<String>,
    /// Pending, Starting, Serving, Refusing, Quarantined, Draining or Unreachable.
    pub phase: String,
    /// Hash of the ACL that the pod enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Why the pod is not serving, or why it refused its newest ACL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
