//! `EgressPolicy`: which destinations a namespace may reach through a pool. The application team's object.

mod clients;
mod rules;
mod settings;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::clients::{
    Client, ClientAuth, ClientCertificate, ClientSource, Listener, ListenerTls, ProxyProtocol,
};
pub use self::rules::{AclRule, HttpMatch, Signing, UpstreamTls};
pub use self::settings::{Limits, PolicyFleet, Timeouts};
pub use self::status::{ConfigStatus, EgressIp, EgressPolicyStatus, PodStatus, UnexpectedIp, WouldDeny};

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
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.config) || !has(oldSelf.spec.poolRef) || (has(self.spec.poolRef) && self.spec.poolRef.name == oldSelf.spec.poolRef.name)")
        .message("spec.poolRef is immutable once the policy was accepted, because another pool means other egress IPs: create a second policy and move clients over"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Egress-IPs", type_ = "string", json_path = ".status.egressIPSummary"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type==\"EgressIPsVerified\")].reason"),
    printcolumn(name = "Programmed", type_ = "string", json_path = ".status.conditions[?(@.type==\"Programmed\")].status", priority = 1),
    printcolumn(name = "Unexpected", type_ = "string", json_path = ".status.unexpectedIPSummary", priority = 1),
    printcolumn(name = "Proxy-URL", type_ = "string", json_path = ".status.proxyURL", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.clients) || (has(self.listener) && has(self.listener.tls)) || self.clients.all(client, !has(client.auth) || !has(client.auth.certificate))")
    .message("a client with auth.certificate needs listener.tls: only a TLS listener sees certificates"))]
pub struct EgressPolicySpec {
    /// The pool whose nodes and addresses the fleet uses; it can be changed until the policy was accepted once. Absent: the
    /// default pool that permits the namespace, written here once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,
    /// The fleet of proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PolicyFleet>,
    /// True: every new request is refused, and the fleet stays. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What the rules do. Enforce: what no Allow rule matches is refused. Report: it is let through, logged and listed
    /// in `status.wouldDeny`. Open: everything is let through that no Deny rule names. No mode lifts the pool's caps,
    /// the floor, or who may use the proxy; the pool's `caps.modes` says which modes there may be. Default: Enforce.
    #[serde(default = "enforce", skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["Enforce", "Report", "Open"]))]
    pub mode: String,
    /// How the listener speaks with clients. Absent: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// Who may use the proxy, at most 64. Absent: the pods of the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub clients: Option<Vec<Client>>,
    /// The rules, at most 1000 and no more than the pool's `caps.maxRulesPerPolicy`. Deny beats Allow, order means
    /// nothing, and what no rule allows is refused.
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<AclRule>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// How much there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What happens to open tunnels that a new policy would refuse. Immediate: they are cut. OnClose: they go on until
    /// they end by themselves; what the pool or the floor refuses is cut all the same. Default: Immediate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Immediate", "OnClose"]))]
    pub revoke_tunnels: Option<String>,
}

/// Names an EgressPool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the EgressPool.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub name: String,
}

fn enforce() -> String {
    "Enforce".to_owned()
}
