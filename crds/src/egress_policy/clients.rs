//! `spec.listener` and `spec.clients`: how clients speak with the proxy, and who they are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{self, ObjectName, SecretKey};

/// How the listener speaks with clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// The listener speaks TLS, on the same port, and `status.proxyURL` begins with https. Absent: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Clients stand behind load balancers that send the PROXY protocol. Absent: such a header is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The TLS of the listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Secret of the policy's namespace with `tls.crt` and `tls.key`, as of type kubernetes.io/tls.
    pub certificate_ref: ObjectName,
}

/// The PROXY protocol of load balancers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Address ranges of the load balancers, at most 32. Connections from them must begin with a PROXY header, which is
    /// believed; from elsewhere none is taken.
    #[schemars(schema_with = "fields::cidrs_few")]
    pub sources: Vec<String>,
}

/// One client: pods, a credential, or pods with a credential.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.from) || has(self.auth)").message("a client needs from, auth or both"))]
pub struct Client {
    /// Name of the client, unique within the policy. Rules, refusals and logs name it.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Which pods it is: the source address must be that of one of them. Absent: any source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ClientSource>,
    /// What it must present. Absent: nothing, its pods are known by their address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ClientAuth>,
}

/// Pods of the policy's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientSource {
    /// Label selector over the pods of the policy's namespace. Empty: all of them.
    pub pod_selector: LabelSelector,
}

/// A credential: one of three kinds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.serviceAccounts) ? 1 : 0) + (has(self.passwordSecretRefs) ? 1 : 0) + (has(self.certificate) ? 1 : 0) == 1")
    .message("auth has one of serviceAccounts, passwordSecretRefs and certificate; write a client for each"))]
pub struct ClientAuth {
    /// Names of ServiceAccounts of the policy's namespace, at most 32. Their tokens are taken, for the audience
    /// `egressway.dev/NAMESPACE/POLICY` and with a lifetime of at most 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(
            length(min = 1, max = 253),
            regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_accounts: Option<Vec<String>>,
    /// Secrets of the policy's namespace with a password each, at most 8; key `password` unless named. Any of them is
    /// taken: two during a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub password_secret_refs: Option<Vec<SecretKey>>,
    /// Client certificates; needs `spec.listener.tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ClientCertificate>,
}

/// Which client certificates are taken.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// Secret of the policy's namespace with `ca.crt`, and with `ca.crl` where certificates are revoked.
    pub ca_ref: ObjectName,
    /// Identities, at most 32, one of which must stand in the certificate: a URI such as spiffe://corp/ns/a/sa/b, a DNS
    /// name, or CN=name.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub identities: Vec<String>,
}
