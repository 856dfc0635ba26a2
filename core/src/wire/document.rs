//! The documents that a fleet's pods mount: policies, floor, pool, client pods, secrets.
//!
//! They are apart so that node churn (floor), an admin's edit (pool), a client pod that comes or goes (clients) or a
//! rotated key (secrets) rewrites no policy and moves no policy's hash. What was added since the first release is
//! left out of the text where it has its default, so that documents which do not use it keep their digest. Fields are
//! plain text here; [`crate::acl::compile`] gives them meaning and reports everything that has none.

mod access;
mod floor;
mod pool;
mod settings;

pub use access::{ClientPod, Clients, Issuer, PasswordDigest, PolicyClients, PolicySecrets, Secret, Secrets};
pub use floor::Floor;
pub use pool::{
    Caps, Cell, CidrCaps, ClientAuth, HostCaps, InternalDestination, Observation, Observer, OnMismatch, Pool,
    Promised,
};
use serde::{Deserialize, Serialize};
pub use settings::{
    Auth, Client, ClientCertificate, Encoding, Http, Limits, Listener, ListenerTls, Mode, Revoke, Scheme,
    SecretRef, Signing, Sni, Timeouts, TlsVersion, Tunnels, UpstreamTls, When,
};
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
    /// Refuse every new request, whatever the rest says: somebody other than the accepted policy closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// What the rules do to a request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// How the listener speaks with clients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listener: Listener,
    /// Who may use the proxy; empty: whoever reaches it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Client>,
    /// The rules; order means nothing except to break ties in logs.
    pub rules: Vec<Rule>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// How much of everything there may be, per pod.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// What happens to open tunnels that a new policy would refuse.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revoke_tunnels: Revoke,
}

/// Who closed a policy that does not close itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    /// Its owner, by an edit whose rest is refused.
    Suspended,
    /// Nobody may use it for now: the pool has withdrawn its permission, what was accepted is lost, or it has no room
    /// beside what the pool and the cluster demand. What is open is cut, whatever the policy wants.
    Unaccepted,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Names of the clients that it is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Only plain HTTP requests like these; with it the rule never matches CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Whether a tunnel must begin with a TLS ClientHello for the very host that was asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sni: Sni,
    /// The proxy speaks TLS to the destination of a plain HTTP request.
    #[serde(default, rename = "upstreamTLS", skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// The proxy signs the body of a plain HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// What becomes of tunnels to a host whose requests are signed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tunnels: Tunnels,
}

/// What a matching rule does. Deny beats Allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Let the request through to the floor.
    #[default]
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

impl Content {
    /// Whether every new request is refused, whoever said so.
    #[must_use]
    pub const fn lets_nothing_through(&self) -> bool {
        self.suspended || self.closed.is_some()
    }
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
