//! The ConfigMap of a fleet: policies, floor and pool, as the pods mount them.
//!
//! It is also the memory of what was accepted last: a refused edit keeps the policy's document that stands here.

use egressway_core::wire::{document, names};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::clients::Sources;
use super::labels;
use crate::context::Settings;
use crate::egress_policy::validate::{Accepted, ValidPolicy};

/// Annotation: `suspended` in the policy's document is the pool's doing alone, not the policy's.
const WITHDRAWN: &str = "egressway.dev/withdrawn";

/// Key of what the accepted policy's clients are told apart by; of no use to proxies, see [`sources`].
const SOURCES_KEY: &str = "sources.json";

/// The ConfigMap.
#[must_use]
pub fn config_map(
    policy: &ValidPolicy,
    sources: &Sources,
    floor: &document::Floor,
    pool: &document::Pool,
    settings: &Settings,
) -> ConfigMap {
    let policies = document::Policies {
        version: document::VERSION,
        policies: vec![policy.document.clone()],
    };
    let mut metadata = labels::metadata(policy.id.fleet(), labels::labels(&policy.id), settings);
    metadata.annotations = Some(labels::map([(
        WITHDRAWN,
        if policy.withdrawn && !policy.suspended {
            "true"
        } else {
            "false"
        },
    )]));
    let data = [
        (names::POLICIES_KEY, document::to_json(&policies)),
        (names::FLOOR_KEY, document::to_json(floor)),
        (names::POOL_KEY, document::to_json(pool)),
        (SOURCES_KEY, document::to_json(sources)),
    ];
    ConfigMap {
        metadata,
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ConfigMap::default()
    }
}

/// The document that a live ConfigMap holds for a policy, if it is sound.
#[must_use]
pub fn accepted(config_map: &ConfigMap, namespace: &str, name: &str) -> Option<Accepted> {
    let json = config_map.data.as_ref()?.get(names::POLICIES_KEY)?;
    let policies: document::Policies = serde_json::from_str(json).ok()?;
    let mut document = policies
        .policies
        .into_iter()
        .find(|p| p.namespace == namespace && p.name == name)?;
    if document::digest(&document.content) != document.hash {
        return None;
    }
    let withdrawn = config_map
        .annotations()
        .get(WITHDRAWN)
        .is_some_and(|value| value == "true");
    if withdrawn {
        let content = document::Content {
            suspended: false,
            ..document.content
        };
        document = document::Policy::seal(namespace, name, document.generation, content);
    }
    Some(Accepted(document))
}

/// What the clients of the document in a live ConfigMap are told apart by: while an edit is refused, selectors stay in
/// force together with the rules.
#[must_use]
pub fn sources(config_map: &ConfigMap) -> Option<Sources> {
    serde_json::from_str(config_map.data.as_ref()?.get(SOURCES_KEY)?).ok()
}

/// The pool's document that a live ConfigMap holds.
#[must_use]
pub fn pool(config_map: &ConfigMap) -> Option<document::Pool> {
    serde_json::from_str(config_map.data.as_ref()?.get(names::POOL_KEY)?).ok()
}

/// The NAT64 prefixes in the floor that a live ConfigMap holds: without the pool they are known from nowhere else, and
/// without them an internal address embedded in such a prefix would look like any other.
#[must_use]
pub fn nat64_prefixes(config_map: &ConfigMap) -> Vec<String> {
    let json = config_map
        .data
        .as_ref()
        .and_then(|data| data.get(names::FLOOR_KEY));
    let floor = json.and_then(|json| serde_json::from_str::<document::Floor>(json).ok());
    floor.map(|floor| floor.nat64_prefixes).unwrap_or_default()
}
