//! Bytes in, documents in force out; all or none.
//!
//! Meaning is the core's: this module parses, asks it, and keeps what did not change. A node that joins the cluster
//! rewrites the floor; a thousand rules need no second look for it.

use std::sync::Arc;

use egressway_core::acl::Wall;
use egressway_core::acl::compile::{self, Problems};
use egressway_core::wire::document;
use egressway_core::wire::names::{CLIENTS_KEY, FLOOR_KEY, POLICIES_KEY, POOL_KEY, SECRETS_KEY};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::read::Raw;
use crate::auth::{ClientTable, Keyring};
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
        Some((old, in_force)) if old.floor == raw.floor && old.own == raw.own => {
            Arc::clone(&in_force.wall.floor)
        }
        Some(_) | None => {
            let document = parse(&raw.floor, FLOOR_KEY)?;
            compile::floor_of_machine(&document, &settings.insecure_allow, &raw.own)
                .map_err(meaning(FLOOR_KEY))?
        }
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
    let clients = clients(raw, before)?;
    let secrets = match before {
        Some((old, in_force)) if old.secrets == raw.secrets && old.policies == raw.policies => {
            Arc::clone(&in_force.secrets)
        }
        Some(_) | None => {
            let document: document::Secrets = match &raw.secrets {
                Some(bytes) => parse(bytes, SECRETS_KEY).map_err(unquoted)?,
                None => document::Secrets::default(),
            };
            Arc::new(match before {
                Some((_, in_force)) => Keyring::after(&policies, document, &in_force.secrets),
                None => Keyring::new(&policies, document),
            })
        }
    };
    Ok(InForce {
        policies,
        wall: Arc::new(Wall { floor, caps }),
        pool,
        pool_hash,
        clients,
        secrets,
    })
}

fn clients(raw: &Raw, before: Option<(&Raw, &InForce)>) -> Result<Arc<ClientTable>, Error> {
    let Some(bytes) = &raw.clients else {
        return Ok(Arc::default());
    };
    match before {
        Some((old, in_force)) if old.clients == raw.clients => Ok(Arc::clone(&in_force.clients)),
        before => {
            let before = before.map(|(_, in_force)| in_force.clients.as_ref());
            let table = ClientTable::new(&parse(bytes, CLIENTS_KEY)?, before);
            table.map(Arc::new).map_err(meaning(CLIENTS_KEY))
        }
    }
}

/// Where, but not what: serde quotes the value that it did not expect.
fn unquoted(error: Error) -> Error {
    match error {
        Error::Parse { file, source } => Error::ParseSecrets {
            file,
            line: source.line(),
            column: source.column(),
        },
        other => other,
    }
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
