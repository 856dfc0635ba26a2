//! Signatures over the exact bytes of a request's body, made by the proxy where a rule has it do so.
//!
//! Pure: the time, the randomness and the body come in, header fields come out. A key that cannot be used is an error
//! that refuses the request; nothing is ever sent unsigned. Error texts never hold key material.

pub mod key;
mod standard;
pub mod verify;

use egressway_core::wire::document::{Encoding, Scheme, Secret, SecretRef, Signing};

use self::key::{HmacKey, KeyError, RsaKey};
pub use self::standard::{ID, SIGNATURE, TIMESTAMP};

/// In front of a signature that says how it was made.
const HEX_PREFIX: &str = "sha256=";
/// Key of a Secret that holds a shared secret, unless the rule names another.
const SECRET_KEY: &str = "secret";
/// The same for a private key, as of type kubernetes.io/tls.
const PRIVATE_KEY: &str = "tls.key";

/// Makes the signatures of one rule.
#[derive(Debug)]
pub struct Signer(Kind);

#[derive(Debug)]
enum Kind {
    /// All keys sign.
    Standard(Vec<HmacKey>),
    /// The first key signs: receivers look for one value.
    Hmac {
        key: HmacKey,
        field: Field,
    },
    Rsa {
        key: RsaKey,
        field: Field,
    },
}

/// Where a signature stands and how it is written.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    encoding: Encoding,
}

/// When and by what luck a signature is made.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Fresh randomness, for an id where the client sent none.
    pub random: [u8; 16],
}

/// A header field that the proxy adds.
pub type Added = (String, String);

impl Signer {
    /// Reads the keys. `secret` finds the policy's Secrets by name.
    ///
    /// # Errors
    /// Which key is missing or broken; the second key too, since a rotation that half works is found out too late.
    pub fn new<'s>(signing: &Signing, secret: impl Fn(&str) -> Option<&'s Secret>) -> Result<Self, KeyError> {
        let usual = match signing.scheme {
            Scheme::StandardWebhooks | Scheme::HmacSha256 => SECRET_KEY,
            Scheme::RsaSha256 => PRIVATE_KEY,
        };
        let find = |one: &SecretRef| find(one, usual, &secret);
        let field = || Field {
            // The compiler of policies demands a name for the schemes that use it.
            name: signing.header.clone().unwrap_or_default(),
            encoding: signing.encoding,
        };
        let missing = || KeyError::NotNamed;
        let kind = match signing.scheme {
            Scheme::StandardWebhooks => {
                let keys = all(&signing.secrets, |one| {
                    HmacKey::standard(find(one)?).map_err(|error| error.of(one))
                })?;
                if keys.is_empty() {
                    return Err(missing());
                }
                Kind::Standard(keys)
            }
            Scheme::HmacSha256 => {
                let keys = all(&signing.secrets, |one| {
                    HmacKey::raw(find(one)?).map_err(|error| error.of(one))
                })?;
                Kind::Hmac {
                    key: keys.into_iter().next().ok_or_else(missing)?,
                    field: field(),
                }
            }
            Scheme::RsaSha256 => {
                let keys = all(&signing.secrets, |one| {
                    RsaKey::from_pem(find(one)?).map_err(|error| error.of(one))
                })?;
                Kind::Rsa {
                    key: keys.into_iter().next().ok_or_else(missing)?,
                    field: field(),
                }
            }
        };
        Ok(Self(kind))
    }

    /// Whether the proxy alone writes this field: what a client sent in it never passes, however it is spelt.
    #[must_use]
    pub fn owns(&self, name: &[u8]) -> bool {
        match &self.0 {
            Kind::Standard(_) => [ID, TIMESTAMP, SIGNATURE].iter().any(|own| is_same(name, own)),
            Kind::Hmac { field, .. } | Kind::Rsa { field, .. } => is_same(name, &field.name),
        }
    }

    /// Whether a signature takes so long that it is made apart from everything else: an RSA signature takes a
    /// millisecond, as long as a hundred small requests.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        match self.0 {
            Kind::Standard(_) | Kind::Hmac { .. } => false,
            Kind::Rsa { .. } => true,
        }
    }

    /// The fields that sign this body. `id` is what the client sent as [`ID`], if it sent exactly one.
    ///
    /// # Errors
    /// The key cannot sign after all.
    pub fn sign(&self, body: &[u8], id: Option<&[u8]>, occasion: Occasion) -> Result<Vec<Added>, KeyError> {
        Ok(match &self.0 {
            Kind::Standard(keys) => standard::sign(keys, body, id, occasion),
            Kind::Hmac { key, field } => vec![field.with(key.sign(&[body]).as_ref())],
            Kind::Rsa { key, field } => vec![field.with(&key.sign(body)?)],
        })
    }
}

/// In any case, and with underscores for hyphens: servers behind CGI and WSGI cannot tell them apart.
fn is_same(name: &[u8], own: &str) -> bool {
    let folded = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    name.iter().map(folded).eq(own.as_bytes().iter().map(folded))
}

impl Field {
    fn with(&self, signature: &[u8]) -> Added {
        (self.name.clone(), encode(self.encoding, signature))
    }
}

/// Bytes as text.
fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use base64::Engine as _;
    let hex = |prefix: &str| {
        let mut text = String::with_capacity(prefix.len() + bytes.len() * 2);
        text.push_str(prefix);
        bytes.iter().fold(text, |mut text, byte| {
            // Writing to memory does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    match encoding {
        Encoding::Hex => hex(""),
        Encoding::PrefixedHex => hex(HEX_PREFIX),
        Encoding::Base64 => base64::engine::general_purpose::STANDARD.encode(bytes),
    }
}

fn all<T>(
    secrets: &[SecretRef],
    read: impl Fn(&SecretRef) -> Result<T, KeyError>,
) -> Result<Vec<T>, KeyError> {
    secrets.iter().map(read).collect()
}

fn find<'s>(
    one: &SecretRef,
    usual: &str,
    secret: &impl Fn(&str) -> Option<&'s Secret>,
) -> Result<&'s str, KeyError> {
    let found = secret(&one.name).ok_or_else(|| KeyError::NoSecret(one.name.clone()))?;
    let key = one.key.as_deref().unwrap_or(usual);
    found
        .data
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| KeyError::NoKey(one.name.clone(), key.to_owned()))
}

#[cfg(test)]
mod tests;
