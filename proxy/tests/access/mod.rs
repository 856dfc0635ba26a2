//! A policy with clients, secrets and bounds, and a public key infrastructure to go with it.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use egressway_core::acl::{Wall, compile};
use egressway_core::wire::document::{
    self, Auth, Caps, Client, ClientCertificate, Content, Listener, ListenerTls, PasswordDigest, SecretRef,
};
use egressway_proxy::auth::{ClientTable, Keyring};
use egressway_proxy::state::InForce;
use jsonwebtoken::EncodingKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::allow;

/// Everything that can be in force, as documents.
#[derive(Clone, Default)]
pub struct World {
    pub content: Content,
    pub pods: Vec<document::ClientPod>,
    pub secrets: BTreeMap<String, document::Secret>,
    pub caps: Caps,
    pub issuer: Option<document::Issuer>,
}

impl World {
    /// Everything on loopback is allowed.
    pub fn open() -> Self {
        Self {
            content: Content {
                rules: allow(&["*"], &["127.0.0.0/8"]),
                ..Content::default()
            },
            ..Self::default()
        }
    }

    pub fn client(mut self, name: &str, pods: bool, auth: Option<Auth>) -> Self {
        self.content.clients.push(Client {
            name: name.to_owned(),
            pods,
            auth,
        });
        self
    }

    pub fn pod(mut self, name: &str, ip: &str, clients: &[&str]) -> Self {
        self.pods.push(document::ClientPod {
            name: name.to_owned(),
            ips: vec![ip.to_owned()],
            clients: clients.iter().map(|name| (*name).to_owned()).collect(),
        });
        self
    }

    pub fn password(mut self, secret: &str, password: &str) -> Self {
        let digest = PasswordDigest::new(&format!("salt of {secret}"), password.as_bytes());
        let passwords = BTreeMap::from([("password".to_owned(), digest)]);
        self.secrets.entry(secret.to_owned()).or_default().passwords = passwords;
        self
    }

    pub fn data(mut self, secret: &str, key: &str, value: &str) -> Self {
        let data = &mut self.secrets.entry(secret.to_owned()).or_default().data;
        data.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The listener speaks TLS with this certificate.
    pub fn tls(mut self, leaf: &Leaf) -> Self {
        self.content.listener = Listener {
            tls: Some(ListenerTls {
                certificate: "listener".to_owned(),
            }),
            ..self.content.listener
        };
        self.data("listener", "tls.crt", &leaf.cert)
            .data("listener", "tls.key", &leaf.key)
    }

    pub fn in_force(&self) -> InForce {
        let policies = document::Policies {
            version: document::VERSION,
            policies: vec![document::Policy::seal(
                "payments",
                "webhooks",
                7,
                self.content.clone(),
            )],
        };
        let policies = compile::policies(&policies).unwrap();
        let floor = document::Floor {
            version: document::VERSION,
            ..document::Floor::default()
        };
        let (namespace, name) = ("payments".to_owned(), "webhooks".to_owned());
        let clients = document::Clients {
            version: document::VERSION,
            issuer: self.issuer.clone(),
            policies: vec![document::PolicyClients {
                namespace: namespace.clone(),
                name: name.clone(),
                pods: self.pods.clone(),
            }],
        };
        let secrets = document::Secrets {
            version: document::VERSION,
            policies: vec![document::PolicySecrets {
                namespace,
                name,
                secrets: self.secrets.clone(),
            }],
        };
        InForce {
            secrets: Arc::new(Keyring::new(&policies, secrets)),
            clients: Arc::new(ClientTable::new(&clients, None).unwrap()),
            policies,
            wall: Arc::new(Wall {
                floor: compile::floor(&floor, &["127.0.0.0/8".parse().unwrap()]).unwrap(),
                caps: compile::caps(&self.caps).unwrap(),
            }),
            ..InForce::default()
        }
    }
}

pub fn passwords(secrets: &[&str]) -> Auth {
    let secret = |name: &&str| SecretRef {
        name: (*name).to_owned(),
        key: None,
    };
    Auth::Passwords(secrets.iter().map(secret).collect())
}

pub fn certificate(ca: &str, identities: &[&str]) -> Auth {
    Auth::Certificate(ClientCertificate {
        ca: ca.to_owned(),
        identities: identities.iter().map(|name| (*name).to_owned()).collect(),
    })
}

pub fn accounts(accounts: &[&str]) -> Auth {
    Auth::ServiceAccounts(accounts.iter().map(|name| (*name).to_owned()).collect())
}

/// Signs tokens of ServiceAccounts.
pub struct Signer {
    key: EncodingKey,
    id: String,
    jwk: serde_json::Value,
}

impl Signer {
    pub fn new(id: &str) -> Self {
        use base64::Engine as _;
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = &pair.der_bytes()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let [x, y] = [x, y].map(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part));
        Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            id: id.to_owned(),
            jwk: serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig"}),
        }
    }

    pub fn issuer(signers: &[&Self]) -> document::Issuer {
        let keys: Vec<_> = signers.iter().map(|signer| &signer.jwk).collect();
        document::Issuer {
            issuer: "https://issuer.example".to_owned(),
            jwks: serde_json::json!({ "keys": keys }).to_string(),
        }
    }

    /// A token of a ServiceAccount for an audience.
    pub fn token(&self, account: &str, audience: &str) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = serde_json::json!({
            "iss": "https://issuer.example", "aud": [audience], "iat": now, "nbf": now, "exp": now + 600,
            "sub": format!("system:serviceaccount:{}", account.replace('/', ":")),
        });
        let header = jsonwebtoken::Header {
            kid: Some(self.id.clone()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// A certification authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Leaf {
    pub cert: String,
    pub key: String,
    pub serial: u64,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// With names: a URI, `CN=…`, or DNS names.
    pub fn leaf(&self, names: &[&str], serial: u64) -> Leaf {
        let mut params = CertificateParams::new(vec![]).unwrap();
        for name in names {
            match name.strip_prefix("CN=") {
                Some(common) => params.distinguished_name.push(DnType::CommonName, common),
                None if name.contains("://") => {
                    let uri = SanType::URI((*name).try_into().unwrap());
                    params.subject_alt_names.push(uri);
                }
                None => {
                    let dns = SanType::DnsName((*name).try_into().unwrap());
                    params.subject_alt_names.push(dns);
                }
            }
        }
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        Leaf {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// A revocation list with these serial numbers that is good until a year.
    pub fn crl(&self, revoked: &[u64], until_year: i32) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2021, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// How a client speaks to a server of this CA, with a certificate or without.
    pub fn client(&self, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Arc::new(config)
    }
}

/// Shakes hands with the proxy.
pub async fn handshake(
    config: &Arc<ClientConfig>,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("proxy.example").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}
