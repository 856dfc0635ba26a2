//! The `spec` of an EgressPolicy, field by field as the CRD documents it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `spec` of an EgressPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicySpec {
    /// The pool; a cluster's matter.
    pub pool_ref: Option<Name>,
    /// The fleet; a cluster's matter.
    pub fleet: Option<Value>,
    /// Refuse every new request.
    pub suspend: Option<bool>,
    /// Enforce, Report or Open.
    pub mode: Option<String>,
    /// How the listener speaks with clients.
    pub listener: Option<Listener>,
    /// Who may use the proxy.
    pub clients: Option<Vec<Client>>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// How long things may take.
    pub timeouts: Option<Timeouts>,
    /// How much of everything there may be.
    pub limits: Option<Limits>,
    /// Immediate or OnClose.
    pub revoke_tunnels: Option<String>,
}

/// A reference by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Name {
    /// The name.
    pub name: String,
}

/// `listener`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listener {
    /// The listener speaks TLS.
    pub tls: Option<ListenerTls>,
    /// The PROXY protocol of load balancers.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// `listener.tls`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// A Secret of type kubernetes.io/tls.
    pub certificate_ref: Name,
}

/// `listener.proxyProtocol`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Ranges of the load balancers.
    pub sources: Vec<String>,
}

/// One of `clients`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Which pods it is.
    #[serde(default)]
    pub from: Option<From>,
    /// What it must present.
    #[serde(default)]
    pub auth: Option<Auth>,
}

/// `clients[].from`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct From {
    /// A label selector over the pods of the policy's namespace.
    pub pod_selector: Value,
}

/// `clients[].auth`: one of the three.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// Names of ServiceAccounts of the policy's namespace.
    pub service_accounts: Option<Vec<String>>,
    /// Secrets with a password.
    pub password_secret_refs: Option<Vec<PasswordRef>>,
    /// Client certificates.
    pub certificate: Option<Certificate>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// The key, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A password in a Secret; its usual key is `password`.
pub type PasswordRef = SecretKeyRef;

/// `clients[].auth.certificate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// A Secret with `ca.crt`, and `ca.crl` where certificates are revoked.
    pub ca_ref: Name,
    /// Identities, one of which must stand in the certificate.
    pub identities: Vec<String>,
}

/// One of `rules`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Allow or Deny.
    #[serde(default)]
    pub action: Option<String>,
    /// Host patterns.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// Address ranges.
    #[serde(default)]
    pub cidrs: Option<Vec<String>>,
    /// Destination ports.
    #[serde(default)]
    pub ports: Option<Vec<PortRange>>,
    /// Names of clients.
    #[serde(default)]
    pub clients: Option<Vec<String>>,
    /// Which plain HTTP requests.
    #[serde(default)]
    pub http: Option<Http>,
    /// Ignore or MustMatch.
    #[serde(default)]
    pub sni: Option<String>,
    /// TLS made by the proxy.
    #[serde(default, rename = "upstreamTLS")]
    pub upstream_tls: Option<UpstreamTls>,
    /// A signature made by the proxy.
    #[serde(default)]
    pub signing: Option<Signing>,
}

/// A port or a range of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRange {
    /// First port.
    pub port: i64,
    /// Last port, inclusive.
    #[serde(default)]
    pub end_port: Option<i64>,
}

/// `rules[].http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http {
    /// Methods.
    pub methods: Option<Vec<String>>,
    /// Path prefixes.
    pub path_prefixes: Option<Vec<String>>,
}

/// `rules[].upstreamTLS`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// Always or OnRequest.
    pub when: Option<String>,
    /// A Secret of type kubernetes.io/tls.
    pub client_certificate_ref: Option<Name>,
    /// A Secret with `ca.crt`.
    pub ca_ref: Option<Name>,
    /// 1.2 or 1.3.
    pub min_version: Option<String>,
}

/// `rules[].signing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signing {
    /// StandardWebhooks, HMAC-SHA256 or RSA-SHA256.
    pub scheme: String,
    /// The keys.
    pub secret_refs: Vec<SecretKeyRef>,
    /// Name of the field.
    #[serde(default)]
    pub header: Option<String>,
    /// Hex or Base64.
    #[serde(default)]
    pub encoding: Option<String>,
}

/// `timeouts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// Of a head.
    pub head: Option<String>,
    /// To an established connection.
    pub connect: Option<String>,
    /// Without any movement.
    pub idle: Option<String>,
    /// In all.
    pub lifetime: Option<String>,
}

/// `limits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's head.
    pub head_bytes: Option<Quantity>,
    /// Client connections.
    pub connections: Option<i64>,
    /// Tunnels and forwarded requests.
    pub tunnels: Option<i64>,
    /// The same to one destination.
    pub tunnels_per_destination: Option<i64>,
    /// New requests a second.
    pub requests_per_second: Option<i64>,
    /// The same of one client address.
    pub client_requests_per_second: Option<i64>,
    /// Bytes of an answer's body.
    pub response_body: Option<Quantity>,
    /// Bytes of a signed body.
    pub signed_body: Option<Quantity>,
}

/// A Kubernetes quantity of bytes: a number or text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// Bytes.
    Number(u64),
    /// With a unit.
    Text(String),
}
