//! The `spec` of an EgressPolicy, field by field as the CRD documents it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `spec` of an EgressPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicySpec {
    /// The pool; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<Name>,
    /// The fleet; a cluster's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Value>,
    /// Refuse every new request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Enforce, Report or Open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How the listener speaks with clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// Who may use the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<Client>>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// How much of everything there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Immediate or OnClose.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// The PROXY protocol of load balancers.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// What it must present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<Vec<String>>,
    /// Secrets with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_refs: Option<Vec<PasswordRef>>,
    /// Client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Host patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Address ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<String>>,
    /// Destination ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortRange>>,
    /// Names of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// Which plain HTTP requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Ignore or MustMatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// TLS made by the proxy.
    #[serde(default, rename = "upstreamTLS", skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// A signature made by the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// Refuse or Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<String>,
}

/// A port or a range of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRange {
    /// First port.
    pub port: i64,
    /// Last port, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<i64>,
}

/// `rules[].http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http {
    /// Methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Path prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefixes: Option<Vec<String>>,
}

/// `rules[].upstreamTLS`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// Always or OnRequest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// A Secret of type kubernetes.io/tls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<Name>,
    /// A Secret with `ca.crt`, and `ca.crl` where certificates are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<Name>,
    /// 1.2 or 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Hex or Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// `timeouts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// Of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// To an established connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// Without any movement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// In all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
}

/// `limits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<Quantity>,
    /// Client connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// Tunnels and forwarded requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<i64>,
    /// The same to one destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnels_per_destination: Option<i64>,
    /// New requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<i64>,
    /// The same of one client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_requests_per_second: Option<i64>,
    /// Open connections of one client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_connections: Option<i64>,
    /// Bytes of an answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<Quantity>,
    /// Bytes of a signed body.
    #[serde(skip_serializing_if = "Option::is_none")]
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
