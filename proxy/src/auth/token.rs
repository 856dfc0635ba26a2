//! ServiceAccount tokens, verified offline: signature, issuer, audience, times, subject.
//!
//! The issuer's public keys come with the documents, so no request ever waits for anybody. Tokens that were verified
//! are remembered by their digest until they expire, and forgotten with the keys that verified them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use egressway_core::wire::document;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// How far the clocks of issuer and proxy may be apart.
const LEEWAY_SECONDS: u64 = 30;
/// Longest lifetime that is taken: a stolen token is good for an hour at most. What kubelets project is renewed long
/// before.
const LIFETIME_SECONDS_MAX: u64 = 3600;
/// Most verified tokens remembered; one pod has one token an hour. Full, all are forgotten, and verified once more.
const VERIFIED_MAX: usize = 4096;
/// Most keys; an issuer has two or three while it rotates.
const KEYS_MAX: usize = 64;
const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// The issuer of ServiceAccount tokens, with its keys.
pub struct Issuer {
    document: document::Issuer,
    keys: Vec<Key>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

/// A public key, and what it may have signed with.
struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

#[derive(Clone)]
struct Verified {
    subject: Subject,
    expires: u64,
}

/// Whom a token is for: `namespace/name` of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

/// Why a token is not taken. For the log: the client is told no more than that it is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// No JSON Web Token, or one with unknown parts.
    #[error("the token cannot be read")]
    Malformed,
    /// `none`, HMAC, or not that of the key.
    #[error("the token's algorithm is none that its issuer's keys are for")]
    Algorithm,
    /// Rotated away, or another cluster's.
    #[error("the token's key is none of the issuer's")]
    UnknownKey,
    /// Forged or damaged.
    #[error("the token's signature is wrong")]
    Signature,
    /// Another cluster's, or a legacy token.
    #[error("the token is of another issuer")]
    Issuer,
    /// Meant for the API server or another policy.
    #[error("the token is for another audience")]
    Audience,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// Too early.
    #[error("the token is not valid yet")]
    NotYet,
    /// Good for too long.
    #[error("the token is valid for more than an hour")]
    Lifetime,
    /// Not a ServiceAccount's.
    #[error("the token's subject is no ServiceAccount")]
    Subject,
}

/// What is read of the claims; the rest is [`Validation`]'s.
#[derive(Clone, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: u64,
    iat: u64,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.document.issuer)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// `namespace/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(sub: &str) -> Option<Self> {
        let (namespace, name) = sub.strip_prefix(SUBJECT_PREFIX)?.split_once(':')?;
        let good = |part: &str| !part.is_empty() && !part.contains([':', '/']);
        (good(namespace) && good(name)).then(|| Self(format!("{namespace}/{name}")))
    }
}

impl Issuer {
    /// Compiles an issuer with its keys. Keys that cannot verify a signature (symmetric, unknown kinds) are left out.
    ///
    /// # Errors
    /// It has no name, or the key set cannot be read.
    pub fn new(document: &document::Issuer) -> Result<Self, String> {
        if document.issuer.is_empty() {
            return Err("has no name".to_owned());
        }
        let set: Value = serde_json::from_str(&document.jwks)
            .map_err(|error| format!("the key set is no JSON: {error}"))?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("the key set has no keys (RFC 7517, 5)")?;
        if keys.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        // One by one: a key of a kind that this build does not know must not take the others with it (RFC 7517, 5).
        let keys = keys
            .iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
            .filter_map(|key| Key::new(&key))
            .collect();
        Ok(Self {
            document: document.clone(),
            keys,
            verified: Mutex::default(),
        })
    }

    /// Whether it was compiled from this.
    #[must_use]
    pub fn is(&self, document: &document::Issuer) -> bool {
        self.document == *document
    }

    /// Verifies a token for an audience.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn verify(&self, token: &str, audience: &str) -> Result<Subject, InvalidToken> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let digest = digest(token, audience);
        if let Some(verified) = self.lock().get(&digest)
            && now <= verified.expires
        {
            return Ok(verified.subject.clone());
        }
        let verified = self.verify_anew(token, audience)?;
        let mut known = self.lock();
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(digest, verified.clone());
        Ok(verified.subject)
    }

    fn verify_anew(&self, token: &str, audience: &str) -> Result<Verified, InvalidToken> {
        let header = decode_header(token).map_err(|error| reason(error.kind()))?;
        let named = |key: &&Key| match &header.kid {
            Some(id) => key.id.as_ref() == Some(id),
            // Without a name only the one key that there is can be meant.
            None => self.keys.len() == 1,
        };
        let mut known = false;
        for key in self.keys.iter().filter(named) {
            known = true;
            if !key.algorithms.contains(&header.alg) {
                continue;
            }
            let mut validation = Validation::new(header.alg);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.set_issuer(&[&self.document.issuer]);
            validation.set_audience(&[audience]);
            let claims = decode::<Claims>(token, &key.key, &validation)
                .map_err(|error| reason(error.kind()))?
                .claims;
            return self.check(&claims);
        }
        Err(if known {
            InvalidToken::Algorithm
        } else {
            InvalidToken::UnknownKey
        })
    }

    fn check(&self, claims: &Claims) -> Result<Verified, InvalidToken> {
        if claims.iss != self.document.issuer {
            return Err(InvalidToken::Issuer);
        }
        if claims.exp.saturating_sub(claims.iat) > LIFETIME_SECONDS_MAX + LEEWAY_SECONDS {
            return Err(InvalidToken::Lifetime);
        }
        Ok(Verified {
            subject: Subject::parse(&claims.sub).ok_or(InvalidToken::Subject)?,
            expires: claims.exp.saturating_add(LEEWAY_SECONDS),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Verified>> {
        // Whoever panicked holding it left a map of verified tokens, which is never half changed.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn new(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if matches!(common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                &[Algorithm::ES256]
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
                &[Algorithm::ES384]
            }
            // A symmetric key in a published set would let everybody sign.
            _ => return None,
        };
        let algorithms = match common.key_algorithm {
            Some(only) => possible
                .iter()
                .copied()
                .filter(|algorithm| named(*algorithm) == Some(only))
                .collect(),
            None => possible.to_vec(),
        };
        Some(Self {
            id: common.key_id.clone(),
            key: DecodingKey::from_jwk(jwk).ok()?,
            algorithms,
        })
    }
}

fn named(algorithm: Algorithm) -> Option<KeyAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::RS384 => KeyAlgorithm::RS384,
        Algorithm::RS512 => KeyAlgorithm::RS512,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::PS384 => KeyAlgorithm::PS384,
        Algorithm::PS512 => KeyAlgorithm::PS512,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        _ => return None,
    })
}

fn digest(token: &str, audience: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(audience.as_bytes());
    digest.update([0]);
    digest.update(token.as_bytes());
    digest.finalize().into()
}

fn reason(kind: &ErrorKind) -> InvalidToken {
    match kind {
        ErrorKind::InvalidSignature => InvalidToken::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => InvalidToken::Algorithm,
        ErrorKind::InvalidIssuer => InvalidToken::Issuer,
        ErrorKind::InvalidAudience => InvalidToken::Audience,
        ErrorKind::ExpiredSignature => InvalidToken::Expired,
        ErrorKind::ImmatureSignature => InvalidToken::NotYet,
        _ => InvalidToken::Malformed,
    }
}

#[cfg(test)]
mod tests;
