//! The Secret of a fleet: the key that authenticates its reports, and what its proxies need of the tenant's Secrets.

use std::collections::BTreeMap;

use egressway_core::wire::{auth, document, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{Identity, labels};
use crate::context::Settings;

/// The Secret.
#[must_use]
pub fn secret(id: &Identity, key: &str, secrets: Option<&document::Secrets>, settings: &Settings) -> Secret {
    let mut data = BTreeMap::from([(names::REPORT_KEY.to_owned(), ByteString(key.as_bytes().to_vec()))]);
    if let Some(secrets) = secrets {
        let json = document::to_json(secrets).into_bytes();
        data.insert(names::SECRETS_KEY.to_owned(), ByteString(json));
    }
    Secret {
        metadata: labels::metadata(id.fleet(), labels::labels(id), settings),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// The key in a live Secret, unless it is broken.
#[must_use]
pub fn key(secret: &Secret) -> Option<String> {
    let bytes = &secret.data.as_ref()?.get(names::REPORT_KEY)?.0;
    let text = std::str::from_utf8(bytes).ok()?;
    let sound = text.len() >= auth::KEY_BYTES_MIN && text.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| text.to_owned())
}

/// The document in a live Secret.
#[must_use]
pub fn secrets(secret: &Secret) -> Option<document::Secrets> {
    serde_json::from_slice(&secret.data.as_ref()?.get(names::SECRETS_KEY)?.0).ok()
}
