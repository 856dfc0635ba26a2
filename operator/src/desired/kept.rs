//! Pure: a pool as it was accepted last, so that the fleets on it go on where it is deleted or its newest edit means
//! nothing: nothing is taken away, and whatever it withdrew stays withdrawn.
//!
//! It stands in the fleet's ConfigMap in two parts: what proxies enforce is `pool.json`, and the rest of the spec is noted
//! beside it, see [`note`].

use egressway_crds::{AllowedNamespaces, Caps, EgressPool, EgressPoolSpec};
use k8s_openapi::api::core::v1::ConfigMap;

use super::config_map;
use crate::egress_pool::validate::{ValidPool, validate};

/// Key of the note; of no use to proxies.
pub const KEY: &str = "pool-spec.json";

/// A pool that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Who may use it.
    pub allowed: AllowedNamespaces,
    /// What it means.
    pub pool: ValidPool,
}

/// Of a pool's spec what its document does not say.
#[must_use]
pub fn note(spec: &EgressPoolSpec) -> EgressPoolSpec {
    let caps = spec.caps.as_ref().map(|caps| Caps {
        max_replicas_per_cell: caps.max_replicas_per_cell,
        max_rules_per_policy: caps.max_rules_per_policy,
        ..Caps::default()
    });
    let mut note = EgressPoolSpec {
        observation: None,
        caps,
        ..spec.clone()
    };
    // Their order means nothing.
    note.cells.sort_by(|a, b| a.name.cmp(&b.name));
    note
}

/// The pool that a live ConfigMap remembers, if it is the one of this name.
#[must_use]
pub fn kept(config_map: &ConfigMap, name: &str) -> Option<Kept> {
    let document = config_map::pool(config_map).filter(|document| document.name == name)?;
    let spec: EgressPoolSpec = serde_json::from_str(config_map.data.as_ref()?.get(KEY)?).ok()?;
    let mut pool = EgressPool::new(name, spec);
    // A name that the schema would refuse is none that a pool ever had.
    pool.metadata.name = Some(name.to_owned());
    let valid = validate(&pool).ok()?;
    Some(Kept {
        allowed: pool.spec.allowed_namespaces,
        pool: ValidPool {
            observation: document.observation,
            caps: document.caps,
            ..valid
        },
    })
}

impl Kept {
    /// The same for whoever may use it now: a permission that is taken away counts even where the rest of that edit means
    /// nothing.
    #[must_use]
    pub fn allowing(self, allowed: &AllowedNamespaces) -> Self {
        let mut pool = self.pool;
        pool.note.allowed_namespaces = allowed.clone();
        Self {
            allowed: allowed.clone(),
            pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use egressway_core::wire::{document, names};
    use serde_json::json;

    use super::*;
    use crate::egress_policy::validate::tests::pool;

    #[test]
    fn a_pool_is_remembered_whole() {
        let pool = pool(json!({
            "caps": {"ports": [{"port": 443}], "maxReplicasPerCell": 7, "maxRulesPerPolicy": 9},
            "nat64Prefixes": ["2001:db8:64::/96"],
            "fleet": {"replicasPerCell": 3, "drain": "7s"},
            "cells": [
                {"name": "a", "nodeSelector": {"pool": "edge"}, "addresses": [
                    {"cidr": "192.31.196.10/32", "notAfter": "2027-01-01T00:00:00Z"}]},
                {"name": "b", "nodeSelector": {"zone": "b"}, "state": "Draining", "tolerations": [{"operator": "Exists"}]},
            ],
        }));
        let valid = validate(&pool).unwrap();
        let document = super::super::document::pool(&valid);
        let data = [
            (names::POOL_KEY.to_owned(), document::to_json(&document)),
            (KEY.to_owned(), document::to_json(&valid.note)),
        ];
        let config_map = ConfigMap {
            data: Some(data.into()),
            ..ConfigMap::default()
        };
        let kept = kept(&config_map, "edge").unwrap();
        assert_eq!(kept.pool, valid);
        assert_eq!(kept.allowed, pool.spec.allowed_namespaces);
        assert_eq!(
            super::kept(&config_map, "other"),
            None,
            "of another pool it says nothing"
        );
    }
}
