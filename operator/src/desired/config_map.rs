//! The ConfigMap of a fleet: policies, floor and pool, as the pods mount them.
//!
//! It is also the memory of what was accepted last: a refused edit keeps what stands here.

use std::collections::BTreeMap;

use egressway_core::wire::{document, names};
use egressway_crds::{EgressPoolSpec, PolicyFleet};
use k8s_openapi::api::core::v1::ConfigMap;

use super::clients::Sources;
use super::{kept, labels};
use crate::context::Settings;
use crate::egress_policy::validate::{Accepted, ValidPolicy};

/// Most bytes of a ConfigMap's values: the API server takes no more.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Key of what the accepted policy's clients are told apart by; of no use to proxies, see [`sources`].
const SOURCES_KEY: &str = "sources.json";

/// Key of `spec.fleet` of the accepted policy; of no use to proxies, see [`Accepted::fleet`].
const FLEET_KEY: &str = "fleet.json";

/// What stands in it.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    /// The policy's document.
    pub policies: &'a document::Policies,
    /// `spec.fleet` as it was accepted.
    pub fleet: Option<&'a PolicyFleet>,
    /// What the policy's clients are told apart by.
    pub sources: &'a Sources,
    /// The floor.
    pub floor: &'a document::Floor,
    /// The pool's document.
    pub pool: &'a document::Pool,
    /// The rest of the pool's spec, see [`kept`].
    pub note: Option<&'a EgressPoolSpec>,
}

impl Documents<'_> {
    /// The values by their keys.
    fn data(&self) -> BTreeMap<String, String> {
        let data = [
            (names::POLICIES_KEY, Some(document::to_json(self.policies))),
            (names::FLOOR_KEY, Some(document::to_json(self.floor))),
            (names::POOL_KEY, Some(document::to_json(self.pool))),
            (SOURCES_KEY, Some(document::to_json(self.sources))),
            (FLEET_KEY, self.fleet.map(document::to_json)),
            (kept::KEY, self.note.map(document::to_json)),
        ];
        let present = data
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        present.collect()
    }

    /// The bytes of all values, as the API server counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size(&self.data())
    }
}

fn size(data: &BTreeMap<String, String>) -> usize {
    data.values().map(String::len).sum()
}

/// The document of a policy alone.
#[must_use]
pub fn policies(policy: &ValidPolicy) -> document::Policies {
    document::Policies {
        version: document::VERSION,
        policies: vec![policy.document.clone()],
    }
}

/// The ConfigMap.
#[must_use]
pub fn config_map(
    policy: &ValidPolicy,
    sources: &Sources,
    floor: &document::Floor,
    pool: &document::Pool,
    settings: &Settings,
) -> ConfigMap {
    let policies = policies(policy);
    let documents = Documents {
        policies: &policies,
        fleet: policy.fleet.as_ref(),
        sources,
        floor,
        pool,
        note: policy.shape.as_ref().map(|shape| &shape.pool.note),
    };
    let metadata = labels::metadata(policy.id.documents(), labels::labels(&policy.id), settings);
    ConfigMap {
        metadata,
        data: Some(documents.data()),
        ..ConfigMap::default()
    }
}

/// What a live ConfigMap holds of a policy, if its document is sound.
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
    if document.content.closed.is_some() {
        let content = document::Content {
            closed: None,
            ..document.content
        };
        document = document::Policy::seal(namespace, name, document.generation, content);
    }
    let fleet = config_map.data.as_ref().and_then(|data| data.get(FLEET_KEY));
    Some(Accepted {
        document,
        fleet: fleet.and_then(|json| serde_json::from_str(json).ok()),
    })
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

/// The floor that a live ConfigMap holds. Without the pool the NAT64 prefixes in it are known from nowhere else, and
/// without them an internal address embedded in such a prefix would look like any other.
#[must_use]
pub fn floor(config_map: &ConfigMap) -> Option<document::Floor> {
    serde_json::from_str(config_map.data.as_ref()?.get(names::FLOOR_KEY)?).ok()
}
