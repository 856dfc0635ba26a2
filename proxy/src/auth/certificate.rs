//! Client certificates: which were presented, and which of them a client's CA vouches for.
//!
//! Every client has roots and revocation lists of its own: a certificate is only what the CA of that very client says.
//! A list that has expired, does not cover a CA of the chain, or cannot be read refuses, as a missing Secret does.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use egressway_core::acl::Policy;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use tokio::time::Instant;

use super::keyring::Keyring;
use super::x509;

/// How long a verdict on a certificate is kept: verifying one costs as much as the rest of a request.
const VERDICT_KEPT: Duration = Duration::from_secs(60);

/// The certificates that a client presented when the connection was made.
#[derive(Clone, Debug)]
pub struct Presented {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    names: Vec<String>,
}

/// A presented certificate, and whose it was found to be.
#[derive(Debug)]
pub struct Certified {
    presented: Presented,
    found: Option<Found>,
}

/// Good for the secrets that it was found with, and for a minute: certificates and revocation lists expire.
#[derive(Debug)]
struct Found {
    keyring: Weak<Keyring>,
    at: Instant,
    clients: Vec<String>,
}

/// What one client's certificates are verified with.
#[derive(Clone)]
pub struct Verifier {
    verifier: Arc<dyn ClientCertVerifier>,
    identities: Vec<String>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("identities", &self.identities)
            .finish_non_exhaustive()
    }
}

impl Presented {
    /// The chain that a handshake brought, if any.
    #[must_use]
    pub fn of(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        let (leaf, intermediates) = chain?.split_first()?;
        Some(Self {
            names: x509::names(leaf),
            leaf: leaf.clone(),
            intermediates: intermediates.to_vec(),
        })
    }
}

impl Certified {
    /// Nothing is verified yet.
    #[must_use]
    pub fn new(presented: Presented) -> Self {
        Self {
            presented,
            found: None,
        }
    }

    /// Names of the clients whose certificate it is.
    pub fn clients(&mut self, policy: &Policy, keyring: &Arc<Keyring>) -> &[String] {
        let weak = Arc::downgrade(keyring);
        let fresh = |found: &Found| found.keyring.ptr_eq(&weak) && found.at.elapsed() < VERDICT_KEPT;
        let found = match self.found.take().filter(fresh) {
            Some(found) => found,
            None => {
                let keys = keyring.of(policy);
                let names = policy.clients().iter().map(|client| &client.name);
                let admits = |name: &&String| {
                    keys.verifier(name)
                        .is_some_and(|verifier| verifier.admits(&self.presented))
                };
                Found {
                    keyring: weak,
                    at: Instant::now(),
                    clients: names.filter(admits).cloned().collect(),
                }
            }
        };
        &self.found.insert(found).clients
    }
}

impl Verifier {
    /// With the roots of a client's CA, and its revocation lists if it has any.
    ///
    /// # Errors
    /// What cannot be read; it never contains any of it.
    pub fn new(roots: Arc<RootCertStore>, crls: Option<&str>, identities: &[String]) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if let Some(pem) = crls {
            let crls = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| "ca.crl cannot be read")?;
            if crls.is_empty() {
                return Err("ca.crl holds no revocation list".to_owned());
            }
            builder = builder.with_crls(crls).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| format!("ca.crl: {error}"))?;
        // DNS names compare without case, URIs and common names do not.
        let identities = identities.iter().map(|identity| {
            let exact = identity.contains("://") || identity.starts_with("CN=");
            if exact {
                identity.clone()
            } else {
                identity.to_ascii_lowercase()
            }
        });
        Ok(Self {
            verifier,
            identities: identities.collect(),
        })
    }

    /// Whether a certificate is this client's.
    #[must_use]
    pub fn admits(&self, presented: &Presented) -> bool {
        let named = presented.names.iter().any(|name| self.identities.contains(name));
        named
            && self
                .verifier
                .verify_client_cert(&presented.leaf, &presented.intermediates, UnixTime::now())
                .is_ok()
    }
}

/// What the handshake asks for: a certificate that any client's CA vouches for, or none.
///
/// Which client it is follows per request; here strangers end with an alert.
#[derive(Debug)]
pub(super) struct AnyOf {
    verifiers: Vec<Arc<dyn ClientCertVerifier>>,
    hints: Vec<DistinguishedName>,
}

impl AnyOf {
    /// `None` where nobody could be verified: then no certificate is asked for.
    pub(super) fn new<'a>(verifiers: impl Iterator<Item = &'a Verifier>) -> Option<Arc<Self>> {
        let verifiers: Vec<_> = verifiers.map(|one| Arc::clone(&one.verifier)).collect();
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for hint in verifiers
            .iter()
            .flat_map(|verifier| verifier.root_hint_subjects())
        {
            if !hints.iter().any(|known| known.as_ref() == hint.as_ref()) {
                hints.push(hint.clone());
            }
        }
        (!verifiers.is_empty()).then(|| Arc::new(Self { verifiers, hints }))
    }

    fn first(&self) -> Result<&Arc<dyn ClientCertVerifier>, Error> {
        self.verifiers
            .first()
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

impl ClientCertVerifier for AnyOf {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut refused = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for verifier in &self.verifiers {
            match verifier.verify_client_cert(leaf, intermediates, now) {
                Ok(verified) => return Ok(verified),
                // What a CA that knows the certificate says tells more than that others do not know it.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.first()
            .map_or_else(|_| Vec::new(), |verifier| verifier.supported_verify_schemes())
    }
}
