//! Fields that both kinds use, and the schema fragments that Rust types do not express.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
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

pub(crate) fn cidrs(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 256, "items": cidr(generator), "x-kubernetes-list-type": "atomic"})
}

/// Host patterns: exact, `*.suffix`, `*`; lower case, at most 253 bytes, and no address (its last label is a number).
pub(crate) fn hosts(_: &mut SchemaGenerator) -> Schema {
    let label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
    let last = "[a-z_]([a-z0-9_-]{0,61}[a-z0-9_])?";
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": format!(r"^(\*|(\*\.)?({label}\.)*{last})$"),
        },
    })
}

pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40})
}
