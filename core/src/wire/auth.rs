//! Authentication of the report: HMAC-SHA256 by a per-fleet key over a nonce and the pod's UID.
//!
//! The request proves that the operator asks; the answer proves that the very pod answers, now. Neither encrypts:
//! a report holds nothing secret.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Header: 32 hex digits drawn by the operator for this request.
pub const NONCE_HEADER: &str = "egressway-nonce";
/// Header: UID of the pod that is meant.
pub const POD_HEADER: &str = "egressway-pod";
/// Header: hex HMAC-SHA256 of the request or of the answer.
pub const SIGNATURE_HEADER: &str = "egressway-signature";
/// Fewest bytes of a key.
pub const KEY_BYTES_MIN: usize = 32;

/// What is signed: the two directions can never be taken for each other.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The operator's question.
    Request,
    /// The pod's answer with its body.
    Answer(&'a [u8]),
}

/// Signature of `message` as lower-case hex.
#[must_use]
pub fn sign(key: &[u8], nonce: &str, pod_uid: &str, message: Message<'_>) -> String {
    let mut text = String::with_capacity(64);
    for byte in mac(key, nonce, pod_uid, message).finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Whether `signature` is that of `message`, compared in constant time.
#[must_use]
pub fn verify(key: &[u8], nonce: &str, pod_uid: &str, message: Message<'_>, signature: &str) -> bool {
    if key.len() < KEY_BYTES_MIN || nonce.len() != 32 {
        return false;
    }
    let Some(bytes) = from_hex(signature) else {
        return false;
    };
    mac(key, nonce, pod_uid, message).verify_slice(&bytes).is_ok()
}

fn mac(key: &[u8], nonce: &str, pod_uid: &str, message: Message<'_>) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the error case of the trait does not exist for it.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::new(&Default::default()),
    };
    let (kind, body): (&[u8], &[u8]) = match message {
        Message::Request => (b"request", b""),
        Message::Answer(body) => (b"answer", body),
    };
    for part in [kind, nonce.as_bytes(), pod_uid.as_bytes()] {
        mac.update(part);
        mac.update(b"\n");
    }
    mac.update(body);
    mac
}

/// HMAC-SHA256 of `message` as lower-case hex.
pub(crate) fn keyed_digest(key: &[u8], message: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in plain_mac(key, message).finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Whether `digest` is that of `message`, compared in constant time.
pub(crate) fn keyed_digest_is(key: &[u8], message: &[u8], digest: &str) -> bool {
    from_hex(digest).is_some_and(|digest| plain_mac(key, message).verify_slice(&digest).is_ok())
}

fn plain_mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the error case of the trait does not exist for it.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::new(&Default::default()),
    };
    mac.update(message);
    mac
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NONCE: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn an_answer_is_bound_to_key_nonce_pod_direction_and_body() {
        let good = sign(KEY, NONCE, "uid-1", Message::Answer(b"body"));
        assert!(verify(KEY, NONCE, "uid-1", Message::Answer(b"body"), &good));
        assert!(!verify(KEY, NONCE, "uid-2", Message::Answer(b"body"), &good));
        assert!(!verify(KEY, NONCE, "uid-1", Message::Answer(b"bodY"), &good));
        assert!(!verify(
            KEY,
            "ff112233445566778899aabbccddeeff",
            "uid-1",
            Message::Answer(b"body"),
            &good
        ));
        assert!(!verify(
            b"ffffffffffffffffffffffffffffffff",
            NONCE,
            "uid-1",
            Message::Answer(b"body"),
            &good
        ));
        let request = sign(KEY, NONCE, "uid-1", Message::Request);
        assert!(!verify(KEY, NONCE, "uid-1", Message::Answer(b""), &request));
    }

    #[test]
    fn short_keys_and_malformed_signatures_never_verify() {
        let short = sign(b"", NONCE, "u", Message::Request);
        assert!(!verify(b"", NONCE, "u", Message::Request, &short));
        for signature in ["", "zz", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(
                !verify(KEY, NONCE, "u", Message::Request, signature),
                "{signature}"
            );
        }
    }
}
