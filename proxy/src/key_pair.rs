//! A certificate and its private key from PEM, as Secrets of type kubernetes.io/tls hold them.
//!
//! Most of it is about what is wrong: files are put together by hand, and whoever did it learns what to change. No
//! message holds anything of the key.

use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Labels of keys that a passphrase opens (RFC 5958, 3; RFC 1421, 4.6.1.1).
const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// Why they are of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The PEM ends early, or is no base64.
    #[error("tls.crt cannot be read: it is not whole PEM")]
    Chain,
    /// PEM of something else, or nothing.
    #[error("tls.crt holds no certificate")]
    NoCertificate,
    /// Nobody is there to type the passphrase.
    #[error("tls.key is encrypted: store it without a passphrase, as openssl pkey writes it")]
    Encrypted,
    /// No key, or half of one.
    #[error("tls.key holds no private key that can be read")]
    NoKey,
    /// Not one that TLS signs with.
    #[error(
        "tls.key is of no kind that is taken: RSA from 2048 bits, ECDSA with P-256, P-384 or P-521, Ed25519"
    )]
    Kind,
    /// The order is wrong.
    #[error(
        "the certificate of tls.key is number {0} of tls.crt: it has to be the first, its issuers behind it"
    )]
    Order(usize),
    /// Of two identities.
    #[error("tls.key is not the key of tls.crt")]
    Mismatch,
}

/// The certificate first in the chain, with its key.
///
/// # Errors
/// What is wrong with which of the two.
pub(crate) fn parse(chain: &str, key: &str, provider: &CryptoProvider) -> Result<CertifiedKey, Broken> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Broken::Chain)?;
    if chain.is_empty() {
        return Err(Broken::NoCertificate);
    }
    if ENCRYPTED.iter().any(|label| key.contains(label)) {
        return Err(Broken::Encrypted);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Broken::NoKey)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| Broken::Kind)?;
    let belongs = |chain: &[CertificateDer<'static>]| {
        let matched = CertifiedKey::new(chain.to_vec(), Arc::clone(&key)).keys_match();
        // Some keys do not tell their public half.
        matches!(
            matched,
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown))
        )
    };
    if belongs(&chain) {
        return Ok(CertifiedKey::new(chain, key));
    }
    let later = (2..).zip(chain.iter().skip(1));
    let found = later
        .filter(|(_, one)| belongs(std::slice::from_ref(*one)))
        .map(|(number, _)| number);
    Err(found.min().map_or(Broken::Mismatch, Broken::Order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn read(chain: &str, key: &str) -> Result<usize, Broken> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        parse(chain, key, &provider).map(|pair| pair.cert.len())
    }

    #[test]
    fn every_kind_of_key_is_read_with_text_around_it() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let (chain, key) = identity(algorithm);
            assert_eq!(read(&chain, &key), Ok(1));
            let (chain, key) = (
                format!("subject=a\n{chain}{chain}\n# end"),
                key.replace('\n', "\r\n"),
            );
            assert_eq!(
                read(&chain, &format!("Key Attributes: <No Attributes>\n{key}")),
                Ok(2)
            );
        }
    }

    #[test]
    fn whoever_put_it_together_wrongly_learns_how() {
        let (chain, key) = identity(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (other, _) = identity(&rcgen::PKCS_ECDSA_P256_SHA256);
        let encrypted = key.replace(" PRIVATE", " ENCRYPTED PRIVATE");
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                   -----END RSA PRIVATE KEY-----\n";
        let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (chain, key, expected) in [
            ("", &*key, Broken::NoCertificate),
            (&*key, &key, Broken::NoCertificate),
            (&chain[..100], &key, Broken::Chain),
            (&chain, &encrypted, Broken::Encrypted),
            (&chain, old, Broken::Encrypted),
            (&chain, "", Broken::NoKey),
            (&chain, &key[..60], Broken::NoKey),
            (&chain, odd, Broken::Kind),
            (&other, &key, Broken::Mismatch),
            (&format!("{other}{chain}"), &key, Broken::Order(2)),
        ] {
            let broken = read(chain, key).unwrap_err();
            assert_eq!(broken, expected);
            assert!(
                !broken
                    .to_string()
                    .contains(&key.get(30..60).unwrap_or("AAAA").to_owned())
            );
        }
    }
}
