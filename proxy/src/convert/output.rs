//! Manifests as YAML, with what has to be known on top.

use egressway_core::manifest::{PolicySpec, PoolSpec};
use egressway_core::wire::names::API_GROUP;
use serde::Serialize;

use super::Converted;
use crate::args::From;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a, T> {
    api_version: String,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: &'a T,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

pub(super) fn yaml(file: &str, from: From, converted: &Converted) -> anyhow::Result<String> {
    let from = match from {
        From::SmokescreenAcl => "a Smokescreen ACL",
        From::SmokescreenConfig => "a Smokescreen configuration",
        From::Mole => "mole's acl.yaml",
        From::WebhookSentry => "a Webhook Sentry configuration",
    };
    let mut text = format!("# From {}, {from}.\n", one_line(file));
    if !converted.notes.is_empty() {
        text.push_str("# To be known or done by hand:\n");
    }
    for note in &converted.notes {
        text.push_str(&format!("# - {}\n", one_line(note)));
    }
    let mut separator = "";
    for (name, spec) in &converted.policies {
        text.push_str(separator);
        text.push_str(&object::<PolicySpec>("EgressPolicy", name, spec)?);
        separator = "---\n";
    }
    if let Some((name, spec)) = &converted.pool {
        text.push_str(separator);
        text.push_str(&object::<PoolSpec>("EgressPool", name, spec)?);
    }
    Ok(text)
}

fn object<T: Serialize>(kind: &'static str, name: &str, spec: &T) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(&Object {
        api_version: format!("{API_GROUP}/v1alpha1"),
        kind,
        metadata: Metadata { name },
        spec,
    })?)
}

/// A comment ends with its line, whatever stood in the file.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
