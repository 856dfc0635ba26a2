//! Verification of a destination's certificate, which is rustls's, and a word more about why it failed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::x509;

/// The certificate names itself as its issuer, and nobody trusted vouches for it.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is signed by itself")]
pub(super) struct SelfSigned;

/// What the library calls a wrong signature, or numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Weak {
    /// A key that the library verifies nothing with.
    #[error("an RSA key of {bits} bits: 2048 to 8192 are taken")]
    RsaKey {
        /// Its length.
        bits: usize,
    },
    /// Collisions of SHA-1 can be made, so what it signs can be exchanged (RFC 9155).
    #[error("a signature with SHA-1")]
    Sha1Signature,
}

/// Lengths of RSA keys that the library takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Signature algorithms with SHA-1, as an AlgorithmIdentifier begins: RSA's (RFC 8017) and ECDSA's (RFC 5758).
const SHA1: [&[u8]; 2] = [
    &[6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 5],
    &[6, 7, 42, 134, 72, 206, 61, 4, 1],
];

/// The same error, or one that says more.
fn explained(error: Error, end_entity: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
    let other = |error: Arc<dyn std::error::Error + Send + Sync>| {
        Error::InvalidCertificate(CertificateError::Other(OtherError(error)))
    };
    match &error {
        // A CA's own certificate in place of a server's is refused as such before its issuer is looked for.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
            if x509::facts(end_entity).is_some_and(|facts| facts.names_itself) =>
        {
            other(Arc::new(SelfSigned))
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            let bits = |one: &CertificateDer<'_>| x509::facts(one)?.rsa_bits;
            let mut all = std::iter::once(end_entity).chain(others).filter_map(bits);
            match all.find(|bits| !RSA_BITS.contains(bits)) {
                Some(bits) => other(Arc::new(Weak::RsaKey { bits })),
                None => error,
            }
        }
        Error::InvalidCertificate(CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        }) if SHA1.iter().any(|sha1| signature_algorithm_id.starts_with(sha1)) => {
            other(Arc::new(Weak::Sha1Signature))
        }
        _ => error,
    }
}

/// Accepts what the inner verifier accepts, and nothing else.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| explained(error, end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.0.verify_tls12_signature(message, cert, dss);
        verified.map_err(|error| explained(error, cert, &[]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.0.verify_tls13_signature(message, cert, dss);
        verified.map_err(|error| explained(error, cert, &[]))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
