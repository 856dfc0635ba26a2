//! Bytes in, documents in force out; all three or none.
//!
//! Meaning is the core's: this module parses, asks it, and keeps what did not change. A node that joins the cluster
//! rewrites the floor; a thousand rules need no second look for it.

use std::sync::Arc;

use egressway_core::acl::Wall;
use egressway_core::acl::compile::{self, Problems};
use egressway_core::wire::document;
use egressway_core::wire::names::{FLOOR_KEY, POLICIES_KEY, POOL_KEY};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::read::Raw;
use crate::egress_ip::Plan;
use crate::state::InForce;

/// What does not come from the documents.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The pod's own cell.
    pub cell: String,
    /// Ranges that the floor lets through, for tests and benchmarks.
    pub insecure_allow: Vec<IpNet>,
}

/// Compiles the files, taking over from `before` what stands in identical bytes.
pub(super) fn compile(
    raw: &Raw,
    before: Option<(&Raw, &InForce)>,
    settings: &Settings,
) -> Result<InForce, Error> {
    let policies = match before {
        Some((old, in_force)) if old.policies == raw.policies => in_force.policies.clone(),
        Some(_) | None => {
            compile::policies(&parse(&raw.policies, POLICIES_KEY)?).map_err(meaning(POLICIES_KEY))?
        }
    };
    let floor = match before {
        Some((old, in_force)) if old.floor == raw.floor => Arc::clone(&in_force.wall.floor),
        Some(_) | None => compile::floor(&parse(&raw.floor, FLOOR_KEY)?, &settings.insecure_allow)
            .map_err(meaning(FLOOR_KEY))?,
    };
    let (pool, pool_hash, caps) = match before {
        Some((old, in_force)) if old.pool == raw.pool => (
            Arc::clone(&in_force.pool),
            in_force.pool_hash.clone(),
            Arc::clone(&in_force.wall.caps),
        ),
        Some(_) | None => {
            let pool: document::Pool = parse(&raw.pool, POOL_KEY)?;
            Plan::of(&pool, &settings.cell).map_err(meaning(POOL_KEY))?;
            let caps = compile::caps(&pool.caps).map_err(meaning(POOL_KEY))?;
            let hash = document::digest(&pool);
            (Arc::new(pool), hash, caps)
        }
    };
    Ok(InForce {
        policies,
        wall: Arc::new(Wall { floor, caps }),
        pool,
        pool_hash,
    })
}

fn meaning(file: &'static str) -> impl FnOnce(Problems) -> Error {
    move |source| Error::Meaning { file, source }
}

/// The version alone, readable whatever else a newer format has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A newer document has fields that this build does not know; its version is the better answer.
fn parse<T: DeserializeOwned>(bytes: &[u8], file: &'static str) -> Result<T, Error> {
    let Version { version } =
        serde_json::from_slice(bytes).map_err(|source| Error::Parse { file, source })?;
    if version > document::VERSION {
        return Err(Error::Newer { file, found: version });
    }
    serde_json::from_slice(bytes).map_err(|source| Error::Parse { file, source })
}
