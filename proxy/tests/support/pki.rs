//! Certificates of every kind, Secrets that hold them, and origins that speak TLS with them.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egressway_core::wire::document::{
    self, Action, Content, PolicySecrets, PortRange, Rule, Secret, SecretRef, Secrets, Signing, UpstreamTls,
};
use egressway_proxy::auth::Keyring;
use egressway_proxy::state::InForce;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::support::DEADLINE;

/// The name that origins of tests have.
pub const HOST: &str = "good.example";

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A CA.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct Identity {
    pub chain: String,
    pub key: String,
    pub serial: u64,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        store
    }

    pub fn issue(&self, name: &str) -> Identity {
        self.issue_between(name, 2020, 2099)
    }

    pub fn issue_between(&self, name: &str, from: i32, to: i32) -> Identity {
        self.issue_with(name, |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        })
    }

    /// One that says something else as well.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// A list that revokes a certificate.
    pub fn revoke(&self, identity: &Identity) -> String {
        self.revoke_until(identity, 2099)
    }

    pub fn revoke_until(&self, identity: &Identity, end: i32) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(end, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(identity.serial),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A certificate that vouches for itself.
pub fn self_signed(name: &str, ca: bool) -> Identity {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    Identity {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        serial: 0,
    }
}

impl Identity {
    pub fn secret(&self) -> Secret {
        secret(&[("tls.crt", &self.chain), ("tls.key", &self.key)])
    }

    pub fn certified(&self) -> CertifiedKey {
        let (chain, key) = self.parts();
        CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).unwrap()
    }

    pub fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        (chain.map(Result::unwrap).collect(), key)
    }
}

pub fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Secret {
        data: data.collect(),
        ..Secret::default()
    }
}

/// How a server speaks TLS; `clients` is who may vouch for clients, if they need a certificate.
pub fn server(
    identity: &Identity,
    clients: Option<&Ca>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let (chain, key) = identity.parts();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(ca.store()), provider)
                .build()
                .unwrap(),
        ),
    };
    builder.with_single_cert(chain, key).unwrap()
}

pub const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// An origin that speaks TLS.
pub struct TlsServer {
    pub listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsServer {
    pub async fn new(config: ServerConfig) -> Self {
        Self::at("127.0.0.1:0", config).await.unwrap()
    }

    pub async fn at(address: &str, config: ServerConfig) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub async fn try_accept(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.try_accept_after(|| {}).await
    }

    /// The same, with something that happens while the client waits for the handshake.
    pub async fn try_accept_after(&self, happens: impl FnOnce()) -> std::io::Result<TlsStream<TcpStream>> {
        let (stream, _) = timeout(DEADLINE, self.listener.accept())
            .await
            .expect("nobody connects to the origin")
            .unwrap();
        // The client's hello.
        timeout(DEADLINE, stream.peek(&mut [0])).await.unwrap().unwrap();
        happens();
        timeout(DEADLINE, self.acceptor.accept(stream))
            .await
            .expect("the handshake hangs")
    }

    pub async fn accept(&self) -> TlsStream<TcpStream> {
        self.try_accept().await.unwrap()
    }
}

/// A rule for every host and port.
pub fn rule(tls: Option<UpstreamTls>, signing: Option<Signing>) -> Rule {
    Rule {
        name: "bank".to_owned(),
        action: Action::Allow,
        hosts: vec!["*".to_owned()],
        ports: vec![PortRange {
            port: 1,
            end_port: Some(65535),
        }],
        upstream_tls: tls,
        signing,
        ..Rule::default()
    }
}

pub fn refs(names: &[&str]) -> Vec<SecretRef> {
    let one = |name: &&str| SecretRef {
        name: (*name).to_owned(),
        key: None,
    };
    names.iter().map(one).collect()
}

/// Documents in force with a rule and Secrets; loopback is open.
pub fn documents(rule: Rule, secrets: &[(&str, Secret)]) -> InForce {
    with_content(
        Content {
            rules: vec![rule],
            ..Content::default()
        },
        secrets,
    )
}

pub fn with_content(content: Content, secrets: &[(&str, Secret)]) -> InForce {
    let in_force = super::support::in_force_of(content, &["127.0.0.0/8"]);
    let secrets = Secrets {
        version: document::VERSION,
        policies: vec![PolicySecrets {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            secrets: secrets
                .iter()
                .map(|(name, secret)| ((*name).to_owned(), secret.clone()))
                .collect(),
        }],
    };
    InForce {
        secrets: Arc::new(Keyring::new(&in_force.policies, secrets)),
        ..in_force
    }
}
