//! The parts of a policy's content beside its rules' matching: who, how long, how much, and what the proxy does to a
//! request on its way.

use serde::{Deserialize, Serialize};

/// What the rules do to a request. Neither mode lifts the pool's caps, the floor, or who may use the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// What no Allow rule matches is refused.
    #[default]
    Enforce,
    /// What would be refused is let through, logged and counted.
    Report,
    /// Everything is let through that no Deny rule names.
    Open,
}

/// How the listener speaks with clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// The listener speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Ranges of the load balancers whose PROXY protocol header is believed and required; others must send none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol: Vec<String>,
}

/// The certificate of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Name of the Secret with `tls.crt` and `tls.key`.
    pub certificate: String,
}

/// Who may use the proxy. What it has must hold together: a pod and a credential where both are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Unique within the policy; rules and log lines name it.
    pub name: String,
    /// The source address must be that of a pod which `clients.json` lists for this client.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub pods: bool,
    /// The credential that it must present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// A credential: one of the three kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Auth {
    /// Tokens of these ServiceAccounts, each `namespace/name`.
    ServiceAccounts(Vec<String>),
    /// One of the passwords in these Secrets.
    Passwords(Vec<SecretRef>),
    /// A client certificate on the TLS listener.
    Certificate(ClientCertificate),
}

/// Which client certificates are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// Name of the Secret with `ca.crt`, and `ca.crl` where certificates are revoked.
    pub ca: String,
    /// One of these must stand in the certificate: a URI (`spiffe://…`), a DNS name, or `CN=…`.
    pub identities: Vec<String>,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret, in the policy's namespace.
    pub name: String,
    /// The key; absent: the one that is usual for what it is used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How long things may take, in milliseconds. Absent: the proxy's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// From the start of a head to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<u64>,
    /// To an established connection, over all addresses of a name, TLS included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Of a tunnel or a forwarded request in all. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// How much there may be, each per pod. Absent: the proxy's default, or no limit where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u64>,
    /// Client connections at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Open tunnels and forwarded requests at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<u64>,
    /// Open tunnels and forwarded requests to one destination address and port at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels_per_destination: Option<u64>,
    /// New requests a second over all clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u64>,
    /// New requests a second of one client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_requests_per_second: Option<u64>,
    /// Open connections of one client address at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_connections: Option<u64>,
    /// Bytes of the body of an answer to a forwarded request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body_bytes: Option<u64>,
    /// Bytes of the body of a request that has to be signed: it is held in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_body_bytes: Option<u64>,
}

/// What happens to open tunnels that a new policy would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revoke {
    /// They are cut.
    #[default]
    Immediate,
    /// They go on until they end by themselves; what the pool or the floor refuses is cut all the same.
    OnClose,
}

/// Which plain HTTP requests a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// Methods, upper case; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The path is one of these or lies below it; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_prefixes: Vec<String>,
}

/// Whether a tunnel must begin with a TLS ClientHello for the very host that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sni {
    /// What passes through the tunnel is not looked at.
    #[default]
    Ignore,
    /// A tunnel that begins otherwise is cut before anything reaches the destination.
    MustMatch,
}

/// How the proxy speaks TLS to the destination of a plain HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTls {
    /// For every request, or only for those that ask.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub when: When,
    /// Name of the Secret with the client certificate: `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// Name of the Secret whose `ca.crt` replaces the public roots, with `ca.crl` where certificates are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Lowest version spoken.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub min_version: TlsVersion,
}

/// When the proxy speaks TLS to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum When {
    /// For every request that the rule decides.
    #[default]
    Always,
    /// For requests with `X-Egressway-TLS: true` (or `X-WhSentry-TLS`).
    OnRequest,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// How the proxy signs the body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signing {
    /// What is signed, how, and where the signature stands.
    pub scheme: Scheme,
    /// The keys; the first signs, and where the scheme takes several signatures all do.
    pub secrets: Vec<SecretRef>,
    /// Name of the header field of schemes that leave it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// How the signature is written where the scheme leaves it open.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub encoding: Encoding,
}

/// What becomes of tunnels to a host whose requests a rule signs: nothing can be signed in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tunnels {
    /// They are refused, also where a wider rule would let them through.
    #[default]
    Refuse,
    /// They are decided as if the rule did not sign.
    Allow,
}

/// A way to sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, in `webhook-signature`.
    #[default]
    StandardWebhooks,
    /// HMAC-SHA256 over the body.
    #[serde(rename = "HMAC-SHA256")]
    HmacSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 over the body.
    #[serde(rename = "RSA-SHA256")]
    RsaSha256,
}

impl Scheme {
    /// As it is written in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "StandardWebhooks",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::RsaSha256 => "RSA-SHA256",
        }
    }
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Base64 (RFC 4648, 4) with padding.
    Base64,
    /// The same hexadecimal behind `sha256=`, as GitHub and many others write it.
    PrefixedHex,
}
