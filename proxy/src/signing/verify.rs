//! The receiver's side: whether a delivery was signed with a key. What `egressway-proxy verify` answers.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use egressway_core::wire::document::Encoding;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use super::HEX_PREFIX;
use super::key::{Broken, HmacKey, decode_base64};
use super::standard::{self, ID, SIGNATURE, TIMESTAMP};
use crate::der::rsa_bits;

/// Lengths of keys that the algorithm takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a delivery does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A header that the scheme needs is not among those given.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// It is given more than once.
    #[error("the header {0} is given more than once")]
    Twice(&'static str),
    /// No header is given, or more than one: the scheme has a single one.
    #[error("give exactly one --header: the one with the signature")]
    OneHeader,
    /// An id that no sender writes.
    #[error("webhook-id is malformed")]
    Id,
    /// A time that is none.
    #[error("webhook-timestamp is no number of seconds")]
    Timestamp,
    /// Too far from now.
    #[error("webhook-timestamp is {seconds} s {side}: more than the tolerance")]
    Time {
        /// How far.
        seconds: u64,
        /// Which side.
        side: Side,
    },
    /// No signature of the version that is known.
    #[error("webhook-signature holds no signature of version v1")]
    Version,
    /// The signature's text is not in the encoding.
    #[error("the signature is not written in the encoding that was asked for")]
    Encoding,
    /// The signature is another's.
    #[error("no signature matches: another key, or the body was changed")]
    Mismatch,
}

/// Of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before now.
    Past,
    /// After now.
    Future,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Past => "in the past",
            Self::Future => "in the future",
        })
    }
}

/// Names and values of a delivery's headers.
pub type Headers<'a> = [(&'a str, &'a str)];

/// Checks a delivery by Standard Webhooks.
///
/// # Errors
/// Why it does not verify.
pub fn standard_webhooks(
    key: &HmacKey,
    headers: &Headers<'_>,
    body: &[u8],
    now_seconds: u64,
    tolerance_seconds: u64,
) -> Result<(), Problem> {
    let id = standard::valid_id(one(headers, ID)?.as_bytes()).ok_or(Problem::Id)?;
    let timestamp = one(headers, TIMESTAMP)?;
    let signatures = one(headers, SIGNATURE)?;
    if timestamp.is_empty() || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::Timestamp);
    }
    let seconds: u64 = timestamp.parse().map_err(|_| Problem::Timestamp)?;
    let distance = now_seconds.abs_diff(seconds);
    if distance > tolerance_seconds {
        let side = if seconds < now_seconds {
            Side::Past
        } else {
            Side::Future
        };
        return Err(Problem::Time {
            seconds: distance,
            side,
        });
    }
    let mut versions = signatures
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .peekable();
    if versions.peek().is_none() {
        return Err(Problem::Version);
    }
    let parts = standard::parts(id, timestamp, body);
    let matches = |signature: &str| decode_base64(signature).is_some_and(|tag| key.verifies(&parts, &tag));
    if versions.any(matches) {
        Ok(())
    } else {
        Err(Problem::Mismatch)
    }
}

/// Checks an HMAC-SHA256 over the body.
///
/// # Errors
/// Why it does not verify.
pub fn hmac_sha256(
    key: &HmacKey,
    headers: &Headers<'_>,
    encoding: Encoding,
    body: &[u8],
) -> Result<(), Problem> {
    let tag = decode(encoding, only(headers)?)?;
    if key.verifies(&[body], &tag) {
        Ok(())
    } else {
        Err(Problem::Mismatch)
    }
}

/// Checks an RSA-SHA256 (PKCS#1 v1.5) over the body.
///
/// # Errors
/// Why it does not verify.
pub fn rsa_sha256(
    key: &PublicKey,
    headers: &Headers<'_>,
    encoding: Encoding,
    body: &[u8],
) -> Result<(), Problem> {
    let signature = decode(encoding, only(headers)?)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.0)
        .verify(body, &signature)
        .map_err(|_| Problem::Mismatch)
}

/// An RSA public key.
#[derive(Debug)]
pub struct PublicKey(SubjectPublicKeyInfoDer<'static>);

impl PublicKey {
    /// From PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// Not PEM of a public key, or not one that verifies anything: that is no fault of the delivery.
    pub fn from_pem(text: &str) -> Result<Self, Broken> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| Broken::NotPublic)?;
        if rsa_bits(&key).is_some_and(|bits| RSA_BITS.contains(&bits)) {
            Ok(Self(key))
        } else {
            Err(Broken::NotRsa)
        }
    }
}

fn one<'a>(headers: &Headers<'a>, name: &'static str) -> Result<&'a str, Problem> {
    let mut found = headers
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Ok(value),
        (None, _) => Err(Problem::Missing(name)),
        (Some(_), Some(_)) => Err(Problem::Twice(name)),
    }
}

fn only<'a>(headers: &Headers<'a>) -> Result<&'a str, Problem> {
    match headers {
        [(_, value)] => Ok(value),
        _ => Err(Problem::OneHeader),
    }
}

fn decode(encoding: Encoding, text: &str) -> Result<Vec<u8>, Problem> {
    let decoded = match encoding {
        Encoding::Base64 => decode_base64(text),
        // A receiver that was told of no prefix finds one all the same.
        Encoding::Hex => hex(text.strip_prefix(HEX_PREFIX).unwrap_or(text)),
        Encoding::PrefixedHex => text.strip_prefix(HEX_PREFIX).and_then(hex),
    };
    decoded.ok_or(Problem::Encoding)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
