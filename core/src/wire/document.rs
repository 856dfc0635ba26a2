//! The three documents in a fleet's ConfigMap: policies, floor, pool.
//!
//! They are apart so that node churn (floor) or an admin's edit (pool) rewrites no policy and moves no policy's hash.
//! Fields are plain text here; [`crate::acl::compile`] gives them meaning and reports everything that has none.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version that this build writes and the newest that it reads.
pub const VERSION: u32 = 1;

/// `policies.json`: one policy in a dedicated fleet, many in a shared one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policies {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// The policies, at most one per namespace and name.
    pub policies: Vec<Policy>,
}

/// One policy as a proxy enforces it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Namespace of the EgressPolicy.
    pub namespace: String,
    /// Name of the EgressPolicy.
    pub name: String,
    /// `metadata.generation` that this was rendered from. For people and logs; not part of the hash.
    pub generation: i64,
    /// `sha256:` and 64 hex digits over [`Content`]; a document whose hash does not match its content is refused.
    pub hash: String,
    /// What is enforced.
    pub content: Content,
}

/// The part of a policy that decides; its digest is the policy's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// Refuse every new request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
    /// The rules; order means nothing except to break ties in logs.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Unique within the policy.
    pub name: String,
    /// What a match means.
    pub action: Action,
    /// Host patterns: exact, `*.suffix`, `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Address ranges in CIDR notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Destination ports; never empty.
    pub ports: Vec<PortRange>,
}

/// What a matching rule does. Deny beats Allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let the request through to the floor.
    Allow,
    /// Refuse the request.
    Deny,
}

/// Ports `port..=end_port`, or just `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRange {
    /// First port, 1..=65535.
    pub port: u16,
    /// Last port, inclusive; absent for a single port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

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
}

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
    #[serde(default, skip_serializing_if = "is_false")]
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

impl Policy {
    /// A policy with the hash of its content.
    #[must_use]
    pub fn seal(namespace: &str, name: &str, generation: i64, content: Content) -> Self {
        let hash = digest(&content);
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            generation,
            hash,
            content,
        }
    }
}

/// `sha256:` and the hex digest of the document's canonical form (its JSON, fields in declaration order).
#[must_use]
pub fn digest<T: Serialize>(document: &T) -> String {
    // Serializing these plain structs to memory cannot fail; an empty string would still be a stable digest.
    let json = serde_json::to_string(document).unwrap_or_default();
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(json.as_bytes()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The document as stored in the ConfigMap.
#[must_use]
pub fn to_json<T: Serialize>(document: &T) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
