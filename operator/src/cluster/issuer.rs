//! Who issues the tokens of ServiceAccounts, and by which keys they are verified: asked of the API server itself.
//!
//! Proxies verify tokens without asking anybody, so the keys are rendered for them. Read at start and every few
//! minutes; while it cannot be read the last good answer counts, also across a restart, since it stands in the fleets'
//! ConfigMaps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egressway_core::wire::document::Issuer;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use crate::context::Wakes;

/// Where the API server names the issuer (OpenID Connect Discovery 1.0).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where it lists the keys.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// Between two readings. Keys are published before they sign, and a rotation is a matter of hours.
const AGAIN: Duration = Duration::from_secs(300);
/// Between two readings after one that failed.
const RETRY: Duration = Duration::from_secs(15);
/// Most time for one reading.
const WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of either answer. An API server has a handful of keys, 800 bytes each.
const BYTES_MAX: usize = 64 * 1024;
/// What of a key is public and needed (RFC 7517, RFC 7518).
const FIELDS: [&str; 8] = ["alg", "crv", "e", "kid", "kty", "n", "x", "y"];

/// Why the issuer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("failed to read {path}")]
    Read {
        /// What was read.
        path: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// It answered too late.
    #[error("the API server did not answer within {} s", WITHIN.as_secs())]
    Late,
    /// It answered something else.
    #[error("failed to parse {path}")]
    Parse {
        /// What was read.
        path: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is longer than any real one.
    #[error("{path} has more than {BYTES_MAX} bytes")]
    TooLong {
        /// What was read.
        path: &'static str,
    },
    /// There is nothing in it to verify a token with.
    #[error("{KEYS_PATH} lists no key that signs")]
    NoKeys,
}

/// The last good answer.
#[derive(Debug, Default)]
pub struct Issuers(Mutex<Option<Issuer>>);

impl Issuers {
    /// The issuer, once it has been read.
    #[must_use]
    pub fn last(&self) -> Option<Issuer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads it; true when it is another than before.
    ///
    /// # Errors
    /// The last good answer stays.
    pub async fn read(&self, client: &Client) -> Result<bool, Error> {
        let reading = async {
            issuer(
                &text(client, DISCOVERY_PATH).await?,
                &text(client, KEYS_PATH).await?,
            )
        };
        let issuer = tokio::time::timeout(WITHIN, reading)
            .await
            .map_err(|_| Error::Late)??;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last.replace(issuer.clone()) != Some(issuer))
    }

    /// Reads it once.
    pub async fn start(&self, client: &Client) {
        if let Err(error) = self.read(client).await {
            warn(&error);
        }
    }

    /// Reads it again and again, and wakes everybody when it has changed.
    pub async fn keep(self: Arc<Self>, client: Client, wakes: Arc<Wakes>) {
        let mut pause = if self.last().is_some() { AGAIN } else { RETRY };
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.read(&client).await {
                Ok(changed) => {
                    if changed {
                        tracing::info!("the issuer of ServiceAccount tokens, or its keys, have changed");
                        wakes.everything();
                    }
                    AGAIN
                }
                Err(error) => {
                    warn(&error);
                    RETRY
                }
            };
        }
    }
}

fn warn(error: &Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the issuer of ServiceAccount tokens cannot be read; what was read last counts"
    );
}

async fn text(client: &Client, path: &'static str) -> Result<String, Error> {
    let read = |source: kube::Error| Error::Read {
        path,
        source: Box::new(source),
    };
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| read(kube::Error::HttpError(error)))?;
    let text = client.request_text(request).await.map_err(read)?;
    if text.len() > BYTES_MAX {
        return Err(Error::TooLong { path });
    }
    Ok(text)
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<BTreeMap<String, Value>>,
}

/// Pure: the issuer from the API server's two answers. Keys are sorted and carry public fields only, so that the same
/// keys are the same text in whatever order they come.
fn issuer(discovery: &str, keys: &str) -> Result<Issuer, Error> {
    let parse = |path| move |source| Error::Parse { path, source };
    let discovery: Discovery = serde_json::from_str(discovery).map_err(parse(DISCOVERY_PATH))?;
    let KeySet { keys } = serde_json::from_str(keys).map_err(parse(KEYS_PATH))?;
    let is = |key: &BTreeMap<String, Value>, field: &str, texts: &[&str]| {
        key.get(field)
            .and_then(Value::as_str)
            .is_some_and(|text| texts.contains(&text))
    };
    let mut keys: Vec<BTreeMap<String, Value>> = keys
        .into_iter()
        .filter(|key| is(key, "kty", &["RSA", "EC"]))
        .filter(|key| !key.contains_key("use") || is(key, "use", &["sig"]))
        .map(|mut key| {
            key.retain(|field, value| FIELDS.contains(&field.as_str()) && value.is_string());
            key
        })
        .collect();
    let text = |key: &BTreeMap<String, Value>| serde_json::to_string(key).unwrap_or_default();
    keys.sort_by_cached_key(text);
    keys.dedup();
    if keys.is_empty() {
        return Err(Error::NoKeys);
    }
    Ok(Issuer {
        issuer: discovery.issuer,
        jwks: serde_json::json!({ "keys": keys }).to_string(),
    })
}

#[cfg(test)]
mod tests;
