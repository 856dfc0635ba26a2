//! Labels and metadata that every object of a fleet shares.

use std::collections::BTreeMap;

use egressway_core::wire::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::Identity;
use crate::context::Settings;

/// Labels of every object of the fleet.
#[must_use]
pub fn labels(id: &Identity) -> BTreeMap<String, String> {
    map([
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        (names::APP_NAME_LABEL, names::PROXY_APP_NAME),
        (names::POLICY_NAMESPACE_LABEL, &id.namespace),
        (names::POLICY_NAME_LABEL, &id.name),
        (names::POLICY_UID_LABEL, &id.uid),
        (names::POOL_LABEL, &id.pool),
        (names::FLEET_LABEL, &id.fleet()),
    ])
}

/// Labels of what belongs to one cell.
#[must_use]
pub fn cell_labels(id: &Identity, cell: &str) -> BTreeMap<String, String> {
    let mut labels = labels(id);
    labels.insert(names::CELL_LABEL.to_owned(), cell.to_owned());
    labels
}

/// What selects the pods of the fleet. Few labels, since a Deployment's selector can never change.
#[must_use]
pub fn selector(id: &Identity) -> BTreeMap<String, String> {
    map([
        (names::APP_NAME_LABEL, names::PROXY_APP_NAME),
        (names::FLEET_LABEL, &id.fleet()),
    ])
}

/// What selects the pods of one cell.
#[must_use]
pub fn cell_selector(id: &Identity, cell: &str) -> LabelSelector {
    let mut labels = selector(id);
    labels.insert(names::CELL_LABEL.to_owned(), cell.to_owned());
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// Metadata of an object of the fleet.
#[must_use]
pub fn metadata(name: String, labels: BTreeMap<String, String>, settings: &Settings) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(settings.fleet_namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// A map of strings.
pub(super) fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
