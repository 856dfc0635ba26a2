//! Keys that sign: read from text, and used.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use egressway_core::wire::document::SecretRef;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// In front of a secret of Standard Webhooks that is written in base64.
pub const STANDARD_PREFIX: &str = "whsec_";
/// In front of the keys of its asymmetric signatures.
const ASYMMETRIC_PREFIXES: [&str; 2] = ["whsk_", "whpk_"];
/// Smallest RSA key, and smallest that the library takes (NIST SP 800-131A).
const RSA_BYTES_MIN: usize = 256;

/// Base64 as people copy it: with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The settings name none.
    #[error("no key is named")]
    NotNamed,
    /// The Secret is not among the policy's.
    #[error("Secret {0} is not there")]
    NoSecret(String),
    /// The Secret lacks the key.
    #[error("Secret {0} has no key {1}")]
    NoKey(String, String),
    /// What is there is no key.
    #[error("Secret {0}: {1}")]
    Broken(String, Broken),
}

/// What is wrong with the text of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Nothing there.
    #[error("the key is empty")]
    Empty,
    /// `whsec_` and then something else.
    #[error("behind whsec_ stands no base64")]
    NotBase64,
    /// `whsec_`, but not first: quotes, a space, or two secrets in one.
    #[error("whsec_ does not stand first in the key: write the secret alone, without quotes")]
    PrefixWithin,
    /// A key of the other kind of Standard Webhooks.
    #[error(
        "whsk_ and whpk_ are keys of asymmetric signatures (v1a), which are not made; use a whsec_ secret"
    )]
    Asymmetric,
    /// No PEM, or of something else.
    #[error("the key is not PEM of a PKCS#8 or PKCS#1 private key")]
    NotPem,
    /// A private key, but not of RSA, or damaged.
    #[error("the key is no RSA key of 2048 to 8192 bits")]
    NotRsa,
    /// The library refused to sign.
    #[error("the key cannot sign")]
    CannotSign,
    /// A public key was expected.
    #[error("the key is not PEM of a public key (BEGIN PUBLIC KEY)")]
    NotPublic,
}

impl Broken {
    pub(super) fn of(self, one: &SecretRef) -> KeyError {
        KeyError::Broken(one.name.clone(), self)
    }
}

/// Where the reference libraries of Standard Webhooks read a secret otherwise: they take each for base64, whsec_ in front
/// or not, and many want it padded. Nothing of the secret is in the words.
#[must_use]
pub fn reference_remark(text: &str) -> Option<&'static str> {
    let text = line(text);
    let strict = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).is_ok();
    match text.strip_prefix(STANDARD_PREFIX) {
        Some(encoded) if strict(encoded) => None,
        Some(_) => Some(
            "the base64 behind whsec_ is without its padding, which some reference libraries refuse: add =",
        ),
        None if strict(text) => Some(
            "signs as the text that it is, and the reference libraries decode it: put whsec_ in front if it is base64",
        ),
        None => Some(
            "signs as the text that it is, which is no base64: a receiver with a reference library needs whsec_ and its base64",
        ),
    }
}

/// A shared secret. In a box, because it is more than a kilobyte.
pub struct HmacKey(Box<hmac::Key>);

impl HmacKey {
    /// A secret of Standard Webhooks: `whsec_` and base64, or any other text as it is.
    ///
    /// # Errors
    /// Empty, no base64 behind the prefix, or what was meant to be such a secret and is not: as text it would sign, and
    /// no receiver would find the signature good.
    pub fn standard(text: &str) -> Result<Self, Broken> {
        let text = line(text);
        match text.strip_prefix(STANDARD_PREFIX) {
            Some(encoded) => {
                let bytes = LENIENT.decode(encoded).map_err(|_| Broken::NotBase64)?;
                Self::of(&bytes)
            }
            None if text.contains(STANDARD_PREFIX) => Err(Broken::PrefixWithin),
            None if ASYMMETRIC_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) => {
                Err(Broken::Asymmetric)
            }
            None => Self::raw(text),
        }
    }

    /// A secret as it is, without the line end that editors and `echo` add.
    ///
    /// # Errors
    /// Empty.
    pub fn raw(text: &str) -> Result<Self, Broken> {
        Self::of(line(text).as_bytes())
    }

    fn of(bytes: &[u8]) -> Result<Self, Broken> {
        if bytes.is_empty() {
            return Err(Broken::Empty);
        }
        Ok(Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
    }

    /// HMAC-SHA256 over the parts, one behind the other.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// Compares in constant time.
    pub(super) fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let expected = self.sign(parts);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), tag).is_ok()
    }
}

/// An RSA private key.
pub struct RsaKey(RsaKeyPair);

impl RsaKey {
    /// From PEM: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// Not PEM, not RSA, or too short.
    pub fn from_pem(text: &str) -> Result<Self, Broken> {
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Broken::NotPem)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(Broken::NotRsa),
        };
        let pair = pair.map_err(|_| Broken::NotRsa)?;
        if pair.public_modulus_len() < RSA_BYTES_MIN {
            return Err(Broken::NotRsa);
        }
        Ok(Self(pair))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, body: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature)
            .map_err(|_| KeyError::Broken("of the rule".to_owned(), Broken::CannotSign))?;
        Ok(signature)
    }
}

/// Says that there is a key, never which.
impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey")
    }
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RsaKey")
    }
}

/// Without one line end.
fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Base64 in the standard alphabet, padded or not.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}
