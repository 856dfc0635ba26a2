//! One rule's way to speak TLS: its roots, its client certificate, its versions, and the sessions that it resumes.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egressway_core::acl::Host;
use egressway_core::wire::document::{Secret, TlsVersion, UpstreamTls};
use jiff::Timestamp;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateRevocationListDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedCipherSuite,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::failure::{Failed, Failure, Kind, Met};
use super::roots::{Bundle, revocations};
use super::sessions::Sessions;
use super::stream::TlsOrigin;
use super::verifier::Verifier;
use crate::key_pair;

/// Keys of the Secrets, as of type kubernetes.io/tls.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";
/// Beside `ca.crt`: certificates that it does not vouch for any more.
const REVOKED: &str = "ca.crl";

/// Counts connectors, so that connections of different ones are told apart for ever.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

tokio::task_local! {
    /// Whether the destination of the handshake that runs asked for a client certificate.
    static ASKED: Cell<bool>;
}

/// Makes TLS connections for one rule.
#[derive(Debug)]
pub struct Connector {
    id: u64,
    config: Arc<ClientConfig>,
    has_certificate: bool,
    /// Of the rule's own roots, in case their next version is broken.
    own: Option<Own>,
}

/// Roots that a rule names, and what they do not vouch for any more.
#[derive(Clone, Debug)]
struct Own {
    store: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Connector {
    /// Puts together what the settings ask for. `ca` and `certificate` are the Secrets that they name.
    pub(super) fn new(
        settings: &UpstreamTls,
        ca: Option<&Secret>,
        certificate: Option<&Secret>,
        public: &Arc<RootCertStore>,
        before: Option<&Self>,
    ) -> Result<Self, Failed> {
        let provider = Arc::new(provider());
        let before = before.and_then(|before| before.own.as_ref());
        let own = settings.ca.as_ref().map(|name| own_roots(name, ca, before));
        let own = own.transpose()?;
        let (store, revoked) = match &own {
            Some(own) => (&own.store, own.revoked.clone()),
            None => (public, Vec::new()),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(store), Arc::clone(&provider))
            .with_crls(revoked)
            // A list speaks for its issuer only; what another issued has none here.
            .allow_unknown_revocation_status()
            // A list past its end says nothing about today; whoever withholds the next one must not gain by it.
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| Failed::new(Kind::RootsUnavailable, error.to_string()))?;
        let key = match &settings.client_certificate {
            Some(name) => Some(certified(name, certificate, &provider)?),
            None => None,
        };
        let has_certificate = key.is_some();
        let versions: &[_] = match settings.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| Failed::new(Kind::Protocol, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier(verifier)))
            .with_client_cert_resolver(Arc::new(Certificate(key)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::store(Arc::new(Sessions::new()));
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            config: Arc::new(config),
            has_certificate,
            own,
        })
    }

    /// Tells its connections apart from those of every other connector there ever was in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Shakes hands over a connected stream, by the deadline. The second value says whether a session was resumed.
    ///
    /// # Errors
    /// Why there is no TLS connection; nothing of a request has been sent.
    pub async fn connect(
        &self,
        host: &Host,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<(TlsOrigin, HandshakeKind), Failed> {
        let name = server_name(host)?;
        let started = Instant::now();
        let handshake = ASKED.scope(Cell::new(false), async {
            let connected = TlsConnector::from(Arc::clone(&self.config))
                .connect(name, stream)
                .await;
            (connected, ASKED.with(Cell::get))
        });
        let (connected, asked) = timeout_at(deadline, handshake)
            .await
            .map_err(|_| Failed::timeout(started.elapsed()))?;
        let met = Met {
            asked,
            has_one: self.has_certificate,
        };
        let stream = connected.map_err(|error| Failed {
            failure: Failure::from_io(&error, met),
            detail: crate::error_chain(&error).into(),
        })?;
        let kind = stream.get_ref().1.handshake_kind().unwrap_or(HandshakeKind::Full);
        Ok((TlsOrigin::new(stream, met), kind))
    }
}

/// The library's ciphers and key exchanges. AES-128-GCM is asked for first, as browsers do: the library's first is
/// AES-256-GCM, whose hash is SHA-384, and few processors have instructions for that one.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let behind = |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(behind);
    provider
}

/// The name that the certificate must be for.
fn server_name(host: &Host) -> Result<ServerName<'static>, Failed> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| Failed::new(Kind::CertificateWrongName, error.to_string())),
        Host::Address(ip) => Ok(ServerName::IpAddress((*ip).into())),
    }
}

/// The roots in a Secret. One that is broken leaves those in force that were read from it before, since they are what
/// its owner trusted; one that is gone does not, since that is how trust is taken back.
fn own_roots(name: &str, secret: Option<&Secret>, before: Option<&Own>) -> Result<Own, Failed> {
    let unusable = |why: String| Failed::new(Kind::RootsUnavailable, format!("Secret {name}: {why}"));
    let secret = secret.ok_or_else(|| unusable("is not there".to_owned()))?;
    let pem = secret
        .data
        .get(CA)
        .ok_or_else(|| unusable(format!("has no key {CA}")))?;
    let parsed = Bundle::parse(pem.as_bytes()).and_then(|bundle| {
        let revoked = secret
            .data
            .get(REVOKED)
            .map_or(Ok(Vec::new()), |lists| revocations(lists.as_bytes()))?;
        Ok((bundle, revoked))
    });
    match (parsed, before) {
        (Ok((bundle, revoked)), _) => {
            if bundle.is_stale(Timestamp::now()) {
                warn!(
                    secret = name,
                    "every certificate of a rule's roots has expired: its destinations cannot be verified"
                );
            }
            let store = bundle.store;
            Ok(Own { store, revoked })
        }
        (Err(error), Some(before)) => {
            warn!(
                secret = name,
                error = crate::error_chain(&error),
                "a rule's roots are broken, the last good ones stay in force"
            );
            Ok(before.clone())
        }
        (Err(error), None) => Err(unusable(crate::error_chain(&error))),
    }
}

/// The certificate and key in a Secret; they belong together, or there is none.
fn certified(
    name: &str,
    secret: Option<&Secret>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Failed> {
    let unusable = |why: String| {
        Failed::new(
            Kind::ClientCertificateUnavailable,
            format!("Secret {name}: {why}"),
        )
    };
    let secret = secret.ok_or_else(|| unusable("is not there".to_owned()))?;
    let find = |key: &str| {
        secret
            .data
            .get(key)
            .ok_or_else(|| unusable(format!("has no key {key}")))
    };
    key_pair::parse(find(CERTIFICATE)?, find(KEY)?, provider)
        .map(Arc::new)
        .map_err(|broken| unusable(broken.to_string()))
}

/// The client certificate, if the rule has one; it notes when it was asked for.
#[derive(Debug)]
struct Certificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of ours there is nobody to tell.
        let _ = ASKED.try_with(|asked| asked.set(true));
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
