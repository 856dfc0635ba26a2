//! `floor.json`: what this cluster adds to the compiled-in SSRF floor.

use serde::{Deserialize, Serialize};

/// `floor.json`: the cluster's own ranges and names, added to the compiled-in SSRF floor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Floor {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Pod and Service ranges: the internal tier.
    pub internal_cidrs: Vec<String>,
    /// Node addresses, API server endpoints, the operator, the fleets: never reachable.
    pub never_cidrs: Vec<String>,
    /// Names never looked up, exact or `*.suffix`: the cluster domain, the API server's names.
    pub never_hosts: Vec<String>,
    /// NAT64 prefixes of this network (RFC 6052), besides 64:ff9b::/96: an address in one is judged by the IPv4
    /// address that it embeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nat64_prefixes: Vec<String>,
}
