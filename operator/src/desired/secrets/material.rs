//! Pure: the keys of one Secret that a use takes, checked as a proxy would check them.

use std::sync::Arc;

use egressway_core::wire::document::{self, PasswordDigest};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureAlgorithm};

use super::expiry::{self, Validity};
use super::needs::{CA, CERTIFICATE, PRIVATE_KEY, REVOKED, What};
use super::problem::Fault;

/// Prefix of a secret of Standard Webhooks that is base64.
const WEBHOOK_PREFIX: &str = "whsec_";
/// In front of the keys of its asymmetric signatures.
const WEBHOOK_ASYMMETRIC: [&str; 2] = ["whsk_", "whpk_"];

/// Adds what `what` takes to `taken`, all of it or nothing; returns when all certificates among it are valid.
///
/// # Errors
/// A key is missing, or what stands in it cannot be used.
pub fn take(secret: &Secret, what: &What, taken: &mut document::Secret) -> Result<Option<Validity>, Fault> {
    let mut validity = None;
    match what {
        What::Password(key) => {
            let password = bytes(secret, key)?;
            // Editors and `echo` end a file with a line end that nobody types into a password field.
            let password = password.strip_suffix(b"\n").unwrap_or(password);
            if password.is_empty() {
                return Err(invalid(key, "is empty"));
            }
            let salt = secret.uid().unwrap_or_default();
            let digest = PasswordDigest::new(&salt, password);
            taken.passwords.insert(key.clone(), digest);
            return Ok(None);
        }
        What::ListenerPair | What::KeyPair => validity = key_pair(secret)?,
        What::Ca => validity = ca(secret)?,
        What::Webhook(key) => webhook(secret, key)?,
        What::Hmac(key) => {
            if line(text(secret, key)?).is_empty() {
                return Err(invalid(key, "is empty"));
            }
        }
        What::Rsa(key) => rsa(secret, key)?,
    }
    for key in what.data_keys() {
        if has(secret, key) {
            taken.data.insert(key.to_owned(), text(secret, key)?.to_owned());
        }
    }
    Ok(validity)
}

fn has(secret: &Secret, key: &str) -> bool {
    secret.data.as_ref().is_some_and(|data| data.contains_key(key))
}

fn bytes<'a>(secret: &'a Secret, key: &str) -> Result<&'a [u8], Fault> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value
        .map(|value| value.0.as_slice())
        .ok_or_else(|| Fault::KeyMissing(key.to_owned()))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes(secret, key)?).map_err(|_| invalid(key, "is no text"))
}

fn invalid(key: &str, problem: &str) -> Fault {
    Fault::Invalid(format!("cannot be used: {key} {problem}"))
}

/// Without the line end that editors and `echo` add.
fn line(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(secret: &Secret, key: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(secret, key)?.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(invalid(key, "holds no certificate in PEM")),
        Err(_) => Err(invalid(key, "holds broken PEM")),
    }
}

/// When all of them are valid.
fn of_all(certificates: &[CertificateDer<'_>]) -> Option<Validity> {
    certificates
        .iter()
        .filter_map(|certificate| expiry::validity(certificate))
        .reduce(Validity::and)
}

fn key_pair(secret: &Secret) -> Result<Option<Validity>, Fault> {
    let chain = certificates(secret, CERTIFICATE)?;
    let key = PrivateKeyDer::from_pem_slice(text(secret, PRIVATE_KEY)?.as_bytes())
        .map_err(|_| invalid(PRIVATE_KEY, "holds no private key in PEM"))?;
    let validity = of_all(&chain);
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(_) => Ok(validity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(invalid(
            PRIVATE_KEY,
            "does not belong to the first certificate of tls.crt",
        )),
        Err(_) => Err(invalid(
            PRIVATE_KEY,
            "and tls.crt are no key pair that TLS can use",
        )),
    }
}

fn roots(secret: &Secret) -> Result<(RootCertStore, Option<Validity>), Fault> {
    let certificates = certificates(secret, CA)?;
    let validity = of_all(&certificates);
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|_| invalid(CA, "holds a certificate that cannot be a CA"))?;
    }
    Ok((roots, validity))
}

fn ca(secret: &Secret) -> Result<Option<Validity>, Fault> {
    let (roots, validity) = roots(secret)?;
    if !has(secret, REVOKED) {
        return Ok(validity);
    }
    let lists: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(text(secret, REVOKED)?.as_bytes()).collect();
    let lists = lists.map_err(|_| invalid(REVOKED, "holds broken PEM"))?;
    if lists.is_empty() {
        return Err(invalid(REVOKED, "holds no revocation list in PEM"));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(lists)
        .build()
        .map_err(|_| invalid(REVOKED, "holds a revocation list that cannot be read"))?;
    Ok(validity)
}

/// `whsec_` and base64, or any other text as it is, unless it was meant to be such a secret.
fn webhook(secret: &Secret, key: &str) -> Result<(), Fault> {
    let text = line(text(secret, key)?);
    let encoded = match text.strip_prefix(WEBHOOK_PREFIX) {
        None if text.is_empty() => return Err(invalid(key, "is empty")),
        None if text.contains(WEBHOOK_PREFIX) => {
            return Err(invalid(key, "is no secret: whsec_ does not stand first in it"));
        }
        None if WEBHOOK_ASYMMETRIC.iter().any(|prefix| text.starts_with(prefix)) => {
            return Err(invalid(
                key,
                "is a key of asymmetric signatures (v1a), which are not made; use a whsec_ secret",
            ));
        }
        None => return Ok(()),
        Some(encoded) => encoded.trim_end_matches('='),
    };
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if encoded.is_empty() || encoded.len() % 4 == 1 || !encoded.bytes().all(base64) {
        return Err(invalid(key, "is no base64 behind whsec_"));
    }
    Ok(())
}

fn rsa(secret: &Secret, key: &str) -> Result<(), Fault> {
    let der = PrivateKeyDer::from_pem_slice(text(secret, key)?.as_bytes())
        .map_err(|_| invalid(key, "holds no private key in PEM"))?;
    let loaded = provider().key_provider.load_private_key(der);
    match loaded.map(|key| key.algorithm()) {
        Ok(SignatureAlgorithm::RSA) => Ok(()),
        Ok(_) | Err(_) => Err(invalid(key, "is no RSA private key")),
    }
}
