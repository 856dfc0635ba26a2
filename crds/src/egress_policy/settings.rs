//! `spec.fleet`, `spec.timeouts` and `spec.limits`: how many proxies, how long, how much.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{self, Resources};

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

/// How long things may take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the start of a request's head to its end, 1ms to 24h. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::timeout")]
    pub head: Option<String>,
    /// To an established connection, over all addresses of a name, TLS made by the proxy included, 1ms to 24h.
    /// Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::timeout")]
    pub connect: Option<String>,
    /// How long a tunnel or a forwarded request may be without any movement, 1ms to 24h. Default: 180s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::timeout")]
    pub idle: Option<String>,
    /// How long a tunnel or a forwarded request may last in all, 1ms to 720h. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::lifetime")]
    pub lifetime: Option<String>,
}

/// How much there may be. Each limit holds for one proxy pod; pods do not coordinate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of a request's head, up to 1Mi. Default: 32Ki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::head_bytes")]
    pub head_bytes: Option<IntOrString>,
    /// Client connections at one time, 1 to 1048576. Default: 9500, or less where the pod may open few files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub connections: Option<i64>,
    /// Tunnels and forwarded requests at one time, 1 to 1048576. Default: no limit but that of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub tunnels: Option<i64>,
    /// Tunnels and forwarded requests to one destination address and port at one time, 1 to 1048576. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub tunnels_per_destination: Option<i64>,
    /// New requests a second over all clients, 1 to 1048576. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub requests_per_second: Option<i64>,
    /// New requests a second of one client address, 1 to 1048576. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub client_requests_per_second: Option<i64>,
    /// Open connections of one client address at one time, 1 to 1048576. Default: seven eighths of `connections`, or all
    /// of them where they are fewer than 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub client_connections: Option<i64>,
    /// Bytes of the body of an answer to a forwarded request, up to 1024Gi. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::response_body")]
    pub response_body: Option<IntOrString>,
    /// Bytes of the body of a request that the proxy signs, up to 64Mi: it is held in memory. Default: 1Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "fields::signed_body")]
    pub signed_body: Option<IntOrString>,
}
