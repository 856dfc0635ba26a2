//! `EgressPolicy`: which destinations a namespace may reach through a pool. The application team's object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{self, Resources};

/// An EgressPolicy runs a fleet of egress proxies on a pool and says which destinations they let through.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "egressway.dev",
    version = "v1alpha1",
    kind = "EgressPolicy",
    plural = "egresspolicies",
    singular = "egresspolicy",
    shortname = "epol",
    category = "egress",
    namespaced,
    status = "EgressPolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "An EgressPolicy runs a fleet of egress proxies on a pool and says which destinations they let through.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name may have at most 63 characters: it stands in labels"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Egress-IPs", type_ = "string", json_path = ".status.egressIPSummary"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type==\"EgressIPsVerified\")].reason"),
    printcolumn(name = "Programmed", type_ = "string", json_path = ".status.conditions[?(@.type==\"Programmed\")].status", priority = 1),
    printcolumn(name = "Unexpected", type_ = "string", json_path = ".status.unexpectedIPSummary", priority = 1),
    printcolumn(name = "Proxy-URL", type_ = "string", json_path = ".status.proxyURL", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.poolRef) || (has(self.poolRef) && self.poolRef.name == oldSelf.poolRef.name)")
    .message("poolRef is immutable, because another pool means other egress IPs: create a second policy and move clients over"))]
pub struct EgressPolicySpec {
    /// The pool whose nodes and addresses the fleet uses. Absent: the default pool, written here once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,
    /// The fleet of proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PolicyFleet>,
    /// True: every new request is refused, and the fleet stays. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// The rules. Deny beats Allow, order means nothing, and what no rule allows is refused.
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<AclRule>,
}

/// Names an EgressPool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the EgressPool.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// The fleet of a policy. What is absent comes from the pool's `fleet`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFleet {
    /// Proxy pods in each cell, 1 to 100. Default: the pool's, else 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas_per_cell: Option<i32>,
    /// Compute resources of each proxy pod. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How long a terminating pod lets open tunnels run, 0s to 1h. Default: the pool's, else 300s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::drain")]
    pub drain: Option<String>,
}

/// One rule: what it matches and what follows.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.hosts) != has(self.cidrs)").message("a rule has either hosts or cidrs; write two rules for both"))]
pub struct AclRule {
    /// Name of the rule, unique within the policy. Refusals and logs name it.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Allow or Deny. Default: Allow.
    #[serde(default = "allow", skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["Allow", "Deny"]))]
    pub action: String,
    /// Names: exact, `*.example.com` (one or more labels, not example.com itself), or `*`. Lower case, Punycode, no
    /// trailing dot. Hosts never match a target written as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::hosts")]
    pub hosts: Option<Vec<String>>,
    /// Address ranges. In an Allow they match targets written as addresses; in a Deny they refuse any address about
    /// to be dialled, whatever name led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::cidrs")]
    pub cidrs: Option<Vec<String>>,
    /// Destination ports. Default: 443.
    #[serde(default = "https", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<PortRange>,
}

/// One destination port, or a range of them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endPort) || self.endPort >= self.port").message("endPort must not be below port"))]
pub struct PortRange {
    /// The port, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The last port of the range, inclusive. Absent: just `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i32>,
}

/// What is observed of a policy and its fleet.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressPolicyStatus {
    /// The generation that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
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
    /// Accepted, Programmed, EgressIPsVerified, Ready, Progressing, Degraded.
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
    /// When it was noticed.
    pub since: Time,
    /// When it was seen last, to the minute.
    pub last_seen: Time,
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
    /// Pending, Starting, Serving, Quarantined, Draining or Unreachable.
    pub phase: String,
    /// Hash of the ACL that the pod enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Why the pod is not serving, or why it refused its newest ACL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

fn allow() -> String {
    "Allow".to_owned()
}

fn https() -> Vec<PortRange> {
    vec![PortRange {
        port: 443,
        end_port: None,
    }]
}
