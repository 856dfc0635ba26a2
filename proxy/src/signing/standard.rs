//! Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, one signature for each key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::HmacKey;
use super::{Added, Occasion};
use egressway_core::wire::document::Encoding;

/// Which message; the same for every attempt to deliver it.
pub const ID: &str = "webhook-id";
/// When this attempt was made, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// `v1,` and base64, for each key, a space between.
pub const SIGNATURE: &str = "webhook-signature";

/// Longest id that is taken from a client; UUIDs have 36 bytes, the ids of common senders fewer than 64.
const ID_BYTES_MAX: usize = 256;
/// In front of an id that the proxy makes, as the specification's examples have it.
const ID_PREFIX: &str = "msg_";

pub(super) fn sign(keys: &[HmacKey], body: &[u8], id: Option<&[u8]>, occasion: Occasion) -> Vec<Added> {
    let id = id.and_then(valid_id).map_or_else(
        || format!("{ID_PREFIX}{}", super::encode(Encoding::Hex, &occasion.random)),
        ToOwned::to_owned,
    );
    let timestamp = occasion.seconds.to_string();
    let parts = parts(&id, &timestamp, body);
    let signatures: Vec<String> = keys
        .iter()
        .map(|key| format!("v1,{}", STANDARD.encode(key.sign(&parts))))
        .collect();
    vec![
        (ID.to_owned(), id),
        (TIMESTAMP.to_owned(), timestamp),
        (SIGNATURE.to_owned(), signatures.join(" ")),
    ]
}

/// What is signed.
pub(super) fn parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// Visible ASCII without the full stop: that one delimits what is signed, and must not move.
pub(super) fn valid_id(id: &[u8]) -> Option<&str> {
    let valid = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
    if valid { std::str::from_utf8(id).ok() } else { None }
}
