//! Fields that both kinds use, and the schema fragments that Rust types do not express.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Compute resources of one proxy container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside. Default: 50m CPU, 64Mi memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    /// What the container may not exceed. Default: 256Mi memory and no CPU limit, since throttling shows as latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPU, such as 250m or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    pub cpu: Option<IntOrString>,
    /// Memory, such as 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    pub memory: Option<IntOrString>,
}

/// One destination port, or a range of them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endPort) || self.endPort >= self.port").message("endPort must not be below port"))]
pub struct PortRange {
    /// The port, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The last port of the range, inclusive. Absent: just `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i32>,
}

/// Names an object of the policy's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// Name of the object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// Names a key of a Secret of the policy's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key in the Secret. Absent: the usual one for what it is used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub key: Option<String>,
}

/// A Kubernetes quantity: a number, or a number with a suffix.
fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        "maxLength": 32,
    })
}

/// A duration as in the Gateway API, with bounds. CEL's `duration()` reads every text that the pattern lets through.
fn duration(least: &str, most: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 28,
        "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
        "x-kubernetes-validations": [{
            "rule": format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
            "message": format!("must be a duration from {least} to {most}, such as 90s or 1h30m"),
        }],
    })
}

/// An amount of bytes from 1 to `most`: a whole number, alone or with a unit.
fn bytes(most: &str) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^[0-9]{1,15}(k|M|G|Ki|Mi|Gi)?$",
        "maxLength": 18,
        "x-kubernetes-validations": [{
            "rule": format!("quantity(string(self)).compareTo(quantity('1')) >= 0 && quantity(string(self)).compareTo(quantity('{most}')) <= 0"),
            "message": format!("must be an amount of bytes from 1 to {most}, such as 64Ki"),
        }],
    })
}

pub(crate) fn head_bytes(_: &mut SchemaGenerator) -> Schema {
    bytes("1Mi")
}

pub(crate) fn response_body(_: &mut SchemaGenerator) -> Schema {
    bytes("1024Gi")
}

pub(crate) fn signed_body(_: &mut SchemaGenerator) -> Schema {
    bytes("64Mi")
}

/// Labels that a node must carry.
pub(crate) fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$",
        },
    })
}

/// A set of a policy's modes.
pub(crate) fn modes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "items": {"type": "string", "enum": ["Enforce", "Report", "Open"]},
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn timeout(_: &mut SchemaGenerator) -> Schema {
    duration("1ms", "24h")
}

pub(crate) fn lifetime(_: &mut SchemaGenerator) -> Schema {
    duration("1ms", "720h")
}

pub(crate) fn drain(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "1h")
}

pub(crate) fn interval(_: &mut SchemaGenerator) -> Schema {
    duration("5s", "1h")
}

/// An address range in CIDR notation. That no host bits are set is the operator's to say (CEL's cost).
pub(crate) fn cidr(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 4,
        "maxLength": 43,
        "x-kubernetes-validations": [{
            "rule": "isCIDR(self)",
            "message": "must be an address range such as 192.175.48.0/24, or 192.175.48.10/32 for one address",
        }],
    })
}

fn list(most: u32, items: Schema) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": most, "items": items, "x-kubernetes-list-type": "atomic"})
}

pub(crate) fn cidrs(generator: &mut SchemaGenerator) -> Schema {
    list(256, cidr(generator))
}

pub(crate) fn cidrs_few(generator: &mut SchemaGenerator) -> Schema {
    list(32, cidr(generator))
}

/// Prefixes by which a NAT64 embeds IPv4 addresses (RFC 6052, 2.2).
pub(crate) fn nat64_prefixes(_: &mut SchemaGenerator) -> Schema {
    list(
        8,
        json_schema!({
            "type": "string",
            "minLength": 5,
            "maxLength": 43,
            "x-kubernetes-validations": [{
                "rule": "isCIDR(self) && cidr(self).ip().family() == 6 && cidr(self).prefixLength() in [32, 40, 48, 56, 64, 96]",
                "message": "must be an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits such as 2001:db8:64::/96",
            }],
        }),
    )
}

/// A label of a host pattern.
const LABEL: &str = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
/// The last label: no number, or the whole would be an address.
const LAST: &str = "[a-z_]([a-z0-9_-]{0,61}[a-z0-9_])?";

/// What people write instead of a host most often, in words: the pattern alone says it as a regular expression. It looks at
/// both ends only. The API server estimates an expression at most at 10,000,000, which leaves 39 for each of 256 hosts of
/// 1,000 rules; one look through a text of 255 characters counts 102, and a regular expression is that many times more.
fn host_words() -> serde_json::Value {
    let alone = "!self.startsWith('http://') && !self.startsWith('https://') && !self.endsWith('/') && !self.endsWith(':443') && !self.endsWith(':80')";
    let form = "!self.endsWith('.') && (self < 'A' || self >= '[') && self < '{' && (!self.startsWith('*') || self == '*' || self.startsWith('*.'))";
    serde_json::json!([
        {"rule": alone, "message": "must be a host alone, such as api.example.com: no scheme, no path, and ports go into ports"},
        {"rule": form, "message": "must be a name such as api.example.com, *.example.com or *: lower case, international names in Punycode (xn--), no trailing dot"},
    ])
}

/// Host patterns: exact, `*.suffix`, `*`; lower case, at most 253 bytes, and no address (its last label is a number).
pub(crate) fn hosts(_: &mut SchemaGenerator) -> Schema {
    list(
        256,
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": format!(r"^(\*|(\*\.)?({LABEL}\.)*{LAST})$"),
            "x-kubernetes-validations": host_words(),
        }),
    )
}

/// One exact host.
pub(crate) fn host(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "pattern": format!(r"^({LABEL}\.)*{LAST}$"),
    })
}

pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40})
}
