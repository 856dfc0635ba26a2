//! `spec.rules`: what is let through or refused, and what the proxy does to it on its way.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{self, ObjectName, PortRange, SecretKey};

/// One rule: what it matches and what follows.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.hosts) != has(self.cidrs)").message("a rule has either hosts or cidrs; write two rules for both"),
    validation = Rule::new("self.action != 'Deny' || !(has(self.sni) || has(self.upstreamTLS) || has(self.signing))").message("a Deny rule cannot have sni, upstreamTLS or signing"),
    validation = Rule::new("!has(self.sni) || self.sni != 'MustMatch' || (has(self.hosts) && !has(self.http))").message("sni: MustMatch is for tunnels to hosts, not for cidrs or http"),
    validation = Rule::new("!has(self.upstreamTLS) || has(self.hosts)").message("upstreamTLS needs hosts: a certificate is verified against a name"),
    validation = Rule::new("!has(self.tunnels) || has(self.signing)").message("tunnels goes with signing: without it a rule lets tunnels through anyway")
)]
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
    /// Destination ports. Absent: 443 in an Allow, every port in a Deny. An Allow for every port has port 1 and endPort
    /// 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Option<Vec<PortRange>>,
    /// Names of clients of `spec.clients` that the rule is for, at most 64. Absent: all clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub clients: Option<Vec<String>>,
    /// Only plain HTTP requests like these. A rule with `http` never matches CONNECT. Absent: CONNECT and plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
    /// MustMatch: a tunnel must begin with a TLS ClientHello for the very host that was asked for, or it is cut before
    /// anything reaches the destination. Ignore: what passes through a tunnel is not looked at. Default: Ignore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Ignore", "MustMatch"]))]
    pub sni: Option<String>,
    /// The proxy speaks TLS to the destination of a plain HTTP request. Absent: it passes it on in plain text.
    #[serde(default, rename = "upstreamTLS", skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// The proxy signs the body of a plain HTTP request. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// What becomes of CONNECT to the rule's hosts and ports, where the rule has `signing`: nothing in a tunnel is signed.
    /// Refuse: it is refused, also where a wider rule would let it through. Allow: it is decided as if the rule did not
    /// sign. Default: Refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Refuse", "Allow"]))]
    pub tunnels: Option<String>,
}

/// Which plain HTTP requests a rule is for.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.methods) || !('CONNECT' in self.methods)").message("CONNECT is no method of a forwarded request; leave http out for tunnels"))]
pub struct HttpMatch {
    /// Methods in upper case, at most 16. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 32), regex(pattern = "^[A-Z-]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Option<Vec<String>>,
    /// The path is one of these or lies below it, at most 64 prefixes; compared in normal form. Absent: every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 1024), regex(pattern = r"^/[^?#\s]*$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub path_prefixes: Option<Vec<String>>,
}

/// TLS between the proxy and the destination. The server's certificate must be good for the requested host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Always: for every plain HTTP request that the rule decides. OnRequest: for those with the header
    /// `X-Egressway-TLS: true` or `X-WhSentry-TLS: true`; it is never passed on. Default: Always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Always", "OnRequest"]))]
    pub when: Option<String>,
    /// Secret of the policy's namespace with the client certificate that the proxy shows: `tls.crt` and `tls.key`.
    /// Absent: it shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<ObjectName>,
    /// Secret of the policy's namespace whose `ca.crt` replaces the public roots, with `ca.crl` where certificates are
    /// revoked. Absent: the public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<ObjectName>,
    /// Lowest version of TLS that is spoken, 1.2 or 1.3. Default: 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["1.2", "1.3"]))]
    pub min_version: Option<String>,
}

/// How the proxy signs a request's body.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.scheme == 'StandardWebhooks') != has(self.header)").message("header goes with HMAC-SHA256 and RSA-SHA256, which need it; StandardWebhooks has its own"),
    validation = Rule::new("self.scheme != 'StandardWebhooks' || !has(self.encoding)").message("encoding goes with HMAC-SHA256 and RSA-SHA256; StandardWebhooks has its own")
)]
pub struct Signing {
    /// StandardWebhooks: Standard Webhooks 1.0, HMAC-SHA256 over id, time and body in `webhook-signature`. HMAC-SHA256:
    /// over the body. RSA-SHA256: RSASSA-PKCS1-v1_5 over the body.
    #[schemars(extend("enum" = ["StandardWebhooks", "HMAC-SHA256", "RSA-SHA256"]))]
    pub scheme: String,
    /// Secrets of the policy's namespace with a key each; key `secret` unless named, for RSA-SHA256 `tls.key`. The
    /// first signs; with StandardWebhooks both do during a rotation.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub secret_refs: Vec<SecretKey>,
    /// Name of the header field that carries the signature; what a client sent in it is dropped. Required for
    /// HMAC-SHA256 and RSA-SHA256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub header: Option<String>,
    /// How HMAC-SHA256 and RSA-SHA256 write the signature: Hex (lower case), Base64, or PrefixedHex (`sha256=` and Hex,
    /// as GitHub writes it). Default: Hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Hex", "Base64", "PrefixedHex"]))]
    pub encoding: Option<String>,
}

fn allow() -> String {
    "Allow".to_owned()
}
