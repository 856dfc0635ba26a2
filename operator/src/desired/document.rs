//! The wire documents: an EgressPolicy's spec as content, an EgressPool as the pool's document.
//!
//! What a spec means is core's to say, for the standalone proxy as well; this only hands it over.

use egressway_core::acl::compile::Problems;
use egressway_core::manifest::{self, Place};
use egressway_core::wire::document::{self, Content, Promised};
use egressway_crds::{EgressPolicySpec, EgressPoolSpec};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::egress_pool::validate::{CellState, Promise, ValidPool};

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

/// The pool's document. Promises go into it with their dates: it says the same at all times.
#[must_use]
pub fn pool(pool: &ValidPool) -> document::Pool {
    let cells = pool.cells.iter().map(|cell| document::Cell {
        name: cell.name.clone(),
        promised: cell.promises.iter().flatten().map(promised).collect(),
        declared: cell.promises.is_some(),
        draining: cell.state == CellState::Draining,
    });
    document::Pool {
        version: document::VERSION,
        name: pool.name.clone(),
        observation: pool.observation.clone(),
        cells: cells.collect(),
        caps: pool.caps.clone(),
    }
}

fn promised(promise: &Promise) -> Promised {
    // Whoever declares a time before 1970 means always.
    let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or(0);
    Promised {
        cidr: promise.net.to_string(),
        not_before: promise.not_before.map(seconds),
        not_after: promise.not_after.map(seconds),
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
