//! Pure: which Secrets a policy refers to, and what is taken from each: what it is used for says which keys.

use std::collections::BTreeMap;

use egressway_core::wire::document::{Auth, Content, Scheme, SecretRef};

/// Most Secrets that one policy may refer to: each is read again and again.
pub const SECRETS_MAX: usize = 100;
/// Key of a password, unless the policy names another.
const PASSWORD: &str = "password";
/// Key of a shared secret, unless the policy names another.
const SHARED: &str = "secret";
/// The certificate chain in a Secret of type kubernetes.io/tls.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// The private key in a Secret of type kubernetes.io/tls, and that of an RSA signature unless the policy names another.
pub(super) const PRIVATE_KEY: &str = "tls.key";
/// A bundle of CA certificates.
pub(super) const CA: &str = "ca.crt";
/// Revocation lists.
pub(super) const REVOKED: &str = "ca.crl";

/// By name of the Secret: what is taken from it, and where the policy says so.
pub type Needs = BTreeMap<String, BTreeMap<What, Place>>;

/// What is taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The digest of a password.
    Password(String),
    /// The listener's certificate chain and its private key.
    ListenerPair,
    /// A certificate chain and its private key, to show to a destination.
    KeyPair,
    /// CA certificates, and revocation lists where there are any.
    Ca,
    /// A secret of Standard Webhooks.
    Webhook(String),
    /// A shared secret.
    Hmac(String),
    /// An RSA private key.
    Rsa(String),
}

impl What {
    /// Whether it is the password at this key.
    #[must_use]
    pub fn is_password(&self, key: &str) -> bool {
        matches!(self, Self::Password(own) if own == key)
    }

    /// The keys that are taken as they stand.
    #[must_use]
    pub fn data_keys(&self) -> Vec<&str> {
        match self {
            Self::Password(_) => vec![],
            Self::ListenerPair | Self::KeyPair => vec![CERTIFICATE, PRIVATE_KEY],
            Self::Ca => vec![CA, REVOKED],
            Self::Webhook(key) | Self::Hmac(key) | Self::Rsa(key) => vec![key],
        }
    }

    /// The keys that a Secret must have for it, for people.
    #[must_use]
    pub fn required_keys(&self) -> Vec<&str> {
        match self {
            Self::Password(key) => vec![key],
            Self::Ca => vec![CA],
            Self::ListenerPair | Self::KeyPair | Self::Webhook(_) | Self::Hmac(_) | Self::Rsa(_) => {
                self.data_keys()
            }
        }
    }
}

/// Which part of a policy needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The listener's certificate: without it nobody is served.
    Listener,
    /// What clients are checked against.
    Client,
    /// TLS towards destinations.
    Upstream,
    /// Signatures.
    Signing,
}

impl Part {
    /// The parts that have certificates.
    pub const WITH_CERTIFICATES: [Self; 3] = [Self::Listener, Self::Client, Self::Upstream];

    /// As a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Signing => "signing",
        }
    }
}

/// Where the policy says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which part.
    pub part: Part,
    /// The field, as in the spec.
    pub field: String,
    /// Keys that the Secret must have.
    pub keys: String,
}

impl Place {
    /// Whether nobody is served without it.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        self.part == Part::Listener
    }
}

/// What a policy needs.
#[must_use]
pub fn needs(content: &Content) -> Needs {
    let mut needs = Needs::new();
    let mut add = |secret: &str, what: What, part: Part, field: String| {
        let keys = what.required_keys().join(" and ");
        let uses = needs.entry(secret.to_owned()).or_default();
        uses.entry(what).or_insert(Place { part, field, keys });
    };
    if let Some(tls) = &content.listener.tls {
        let field = "spec.listener.tls.certificateRef".to_owned();
        add(&tls.certificate, What::ListenerPair, Part::Listener, field);
    }
    for client in &content.clients {
        let field = format!("spec.clients[{}].auth", client.name);
        match &client.auth {
            Some(Auth::Passwords(secrets)) => {
                for secret in secrets {
                    let what = What::Password(key(secret, PASSWORD));
                    add(
                        &secret.name,
                        what,
                        Part::Client,
                        format!("{field}.passwordSecretRefs"),
                    );
                }
            }
            Some(Auth::Certificate(certificate)) => {
                add(
                    &certificate.ca,
                    What::Ca,
                    Part::Client,
                    format!("{field}.certificate.caRef"),
                );
            }
            Some(Auth::ServiceAccounts(_)) | None => {}
        }
    }
    for rule in &content.rules {
        let field = format!("spec.rules[{}]", rule.name);
        if let Some(tls) = &rule.upstream_tls {
            let field = format!("{field}.upstreamTLS");
            if let Some(secret) = &tls.client_certificate {
                add(
                    secret,
                    What::KeyPair,
                    Part::Upstream,
                    format!("{field}.clientCertificateRef"),
                );
            }
            if let Some(secret) = &tls.ca {
                add(secret, What::Ca, Part::Upstream, format!("{field}.caRef"));
            }
        }
        if let Some(signing) = &rule.signing {
            for secret in &signing.secrets {
                let what = match signing.scheme {
                    Scheme::StandardWebhooks => What::Webhook(key(secret, SHARED)),
                    Scheme::HmacSha256 => What::Hmac(key(secret, SHARED)),
                    Scheme::RsaSha256 => What::Rsa(key(secret, PRIVATE_KEY)),
                };
                add(
                    &secret.name,
                    what,
                    Part::Signing,
                    format!("{field}.signing.secretRefs"),
                );
            }
        }
    }
    needs
}

fn key(secret: &SecretRef, usual: &str) -> String {
    secret.key.clone().unwrap_or_else(|| usual.to_owned())
}
