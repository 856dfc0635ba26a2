//! The wire documents: an EgressPolicy's spec as content, an EgressPool at a moment as the pool's document.
//!
//! What a spec means is core's to say, for the standalone proxy as well; this only hands it over.

use egressway_core::acl::compile::Problems;
use egressway_core::manifest::{self, Place};
use egressway_core::wire::document::{self, Content};
use egressway_crds::{EgressPolicySpec, EgressPoolSpec};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::egress_pool::validate::{CellState, ValidPool};

/// The content of a policy.
///
/// # Errors
/// Every value that is none of its kind, with its field.
pub fn content(spec: &EgressPolicySpec, namespace: &str) -> Result<Content, Problems> {
    manifest::content(&strict(spec)?, namespace, Place::Cluster)
}

/// A pool's spec as core reads it.
///
/// # Errors
/// A value that is none of its kind.
pub fn pool_spec(spec: &EgressPoolSpec) -> Result<manifest::PoolSpec, Problems> {
    strict(spec)
}

/// From the shape that the API server stores to the strict one: a field that core does not know is an error, not
/// silence.
fn strict<T: DeserializeOwned>(spec: &impl Serialize) -> Result<T, Problems> {
    let value = serde_json::to_value(spec).and_then(serde_json::from_value);
    value.map_err(|error| {
        let mut problems = Problems::default();
        problems.push("spec", error);
        problems
    })
}

/// The pool's document at `now`.
#[must_use]
pub fn pool(pool: &ValidPool, now: Timestamp) -> document::Pool {
    let cells = pool.cells.iter().map(|cell| {
        let in_force = cell
            .promises
            .iter()
            .flatten()
            .filter(|promise| promise.in_force(now));
        document::Cell {
            name: cell.name.clone(),
            promised: in_force.map(|promise| promise.net.to_string()).collect(),
            declared: cell.promises.is_some(),
            draining: cell.state == CellState::Draining,
        }
    });
    document::Pool {
        version: document::VERSION,
        name: pool.name.clone(),
        observation: pool.observation.clone(),
        cells: cells.collect(),
        caps: pool.caps.clone(),
    }
}

/// What stands in for the document of a pool that is gone: no cells, nobody to ask.
#[must_use]
pub fn no_pool(name: &str) -> document::Pool {
    document::Pool {
        version: document::VERSION,
        name: name.to_owned(),
        ..document::Pool::default()
    }
}
