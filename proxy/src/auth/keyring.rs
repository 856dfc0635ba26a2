//! `secrets.json` in force: for each policy the digests, certificates, roots and keys that it refers to.
//!
//! Read once when the documents change. What is missing or broken denies whatever depends on it and is listed as a
//! problem, in words that hold nothing of the Secret; everything else of the policy goes on. One thing outlives its
//! Secret's mistakes: the listener's last good certificate, without which nobody would be served, until it expires.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use egressway_core::acl::Policy;
use egressway_core::wire::document::{self, Auth, Scheme, SecretRef};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{AnyOf, Verifier};
use crate::key_pair;
use crate::signing::Signer;
use crate::signing::key::reference_remark;
use crate::upstream_tls::roots::revocations;
use crate::upstream_tls::x509;

/// Key of a password, unless the policy names another.
const PASSWORD: &str = "password";
/// Key of a signing key, unless the policy names another.
const SIGNING: &str = "secret";
/// Keys of a Secret of type kubernetes.io/tls.
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
/// Key of a bundle of CA certificates.
const CA_CERT: &str = "ca.crt";
/// Key of revocation lists.
const CA_CRL: &str = "ca.crl";

/// The secrets of every policy.
#[derive(Default)]
pub struct Keyring {
    policies: HashMap<(String, String), Keys>,
    problems: Vec<String>,
    remarks: Vec<String>,
    hash: String,
}

/// The secrets of one policy.
#[derive(Default)]
pub struct Keys {
    secrets: BTreeMap<String, document::Secret>,
    listener: Option<Result<Listening, Problem>>,
    /// By name of the client; one that cannot verify anybody is missing.
    verifiers: HashMap<String, Verifier>,
}

/// How the listener speaks TLS.
struct Listening {
    config: Arc<ServerConfig>,
    /// The Secret, the certificate from it, and when that ends.
    secret: String,
    certificate: Arc<CertifiedKey>,
    not_after: Option<Timestamp>,
    /// What is wrong with the Secret, while the last good certificate from it is shown.
    kept: Option<Problem>,
}

/// Why a Secret cannot be used; names it, never says what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Secret {secret}: {problem}")]
pub struct Problem {
    secret: String,
    problem: String,
    /// It is not there at all, which may be meant.
    is_gone: bool,
}

static NO_KEYS: LazyLock<Keys> = LazyLock::new(Keys::default);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("secrets", &self.secrets.keys())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads what the policies refer to.
    #[must_use]
    pub fn new(policies: &[Arc<Policy>], document: document::Secrets) -> Self {
        Self::after(policies, document, &Self::default())
    }

    /// The same in place of others, whose listeners' certificates outlive a Secret that is there and broken.
    #[must_use]
    pub fn after(policies: &[Arc<Policy>], document: document::Secrets, before: &Self) -> Self {
        let hash = if document == document::Secrets::default() {
            String::new()
        } else {
            document::digest(&document)
        };
        let mut secrets: HashMap<_, _> = document
            .policies
            .into_iter()
            .map(|policy| ((policy.namespace, policy.name), policy.secrets))
            .collect();
        let (mut compiled, mut problems, mut remarks) = (HashMap::new(), Vec::new(), Vec::new());
        for policy in policies {
            let id = (policy.namespace().to_owned(), policy.name().to_owned());
            let own = secrets.remove(&id).unwrap_or_default();
            let mut found = Vec::new();
            let keys = Keys::new(policy, own, before.of(policy), &mut found);
            remarks.extend(keys.remarks(policy));
            compiled.insert(id, keys);
            found.sort();
            found.dedup();
            let name = format!("policy {}/{}", policy.namespace(), policy.name());
            problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
        }
        Self {
            policies: compiled,
            problems,
            remarks,
            hash,
        }
    }

    /// The secrets of a policy; of one that has none, no secrets.
    #[must_use]
    pub fn of(&self, policy: &Policy) -> &Keys {
        let named = |((namespace, name), _): &(&(String, String), &Keys)| {
            namespace == policy.namespace() && name == policy.name()
        };
        // One policy in a dedicated fleet.
        self.policies
            .iter()
            .find(named)
            .map_or(&*NO_KEYS, |(_, keys)| keys)
    }

    /// What cannot be used, and by whom it is referred to.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What can be used, and may mean something else to somebody else.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Digest of the document; empty where there is none.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl Keys {
    fn new(
        policy: &Policy,
        secrets: BTreeMap<String, document::Secret>,
        before: &Self,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut keys = Self {
            secrets,
            ..Self::default()
        };
        for client in policy.clients() {
            let mut note = |problem: Problem| problems.push(format!("client {}: {problem}", client.name));
            match &client.auth {
                Some(Auth::Passwords(refs)) => {
                    refs.iter().filter_map(|at| keys.missing(at)).for_each(note);
                }
                Some(Auth::Certificate(certificate)) => {
                    let roots = keys.roots(&certificate.ca);
                    let crls = keys.data(&certificate.ca, CA_CRL);
                    let broken = |problem| Problem::new(&certificate.ca, problem);
                    let verifier = roots.and_then(|roots| {
                        Verifier::new(roots, crls, &certificate.identities).map_err(broken)
                    });
                    match verifier {
                        Ok(verifier) => {
                            keys.verifiers.insert(client.name.clone(), verifier);
                        }
                        Err(problem) => note(problem),
                    }
                }
                Some(Auth::ServiceAccounts(_)) | None => {}
            }
        }
        if let Some(tls) = &policy.listener().tls {
            let listening = keys.listening(&tls.certificate, before);
            match &listening {
                Ok(Listening { kept: None, .. }) => {}
                Ok(Listening {
                    kept: Some(problem), ..
                }) => {
                    problems.push(format!(
                        "listener: {problem}; the last good certificate stays until it expires"
                    ));
                }
                Err(problem) => problems.push(format!("listener: {problem}")),
            }
            keys.listener = Some(listening);
        }
        for settings in policy.rule_settings() {
            let tls = settings.upstream_tls.as_deref();
            let certificate = tls.and_then(|tls| tls.client_certificate.as_deref());
            let broken = [
                certificate.and_then(|secret| keys.certified_key(secret).err()),
                tls.and_then(|tls| tls.ca.as_deref())
                    .and_then(|secret| keys.roots(secret).and_then(|_| keys.revocations(secret)).err()),
            ];
            problems.extend(broken.into_iter().flatten().map(|problem| problem.to_string()));
            if let Some(signing) = &settings.signing
                && let Err(problem) = Signer::new(signing, |name| keys.secret(name))
            {
                problems.push(problem.to_string());
            }
        }
        keys
    }

    /// Secrets of webhooks that a receiver's library reads otherwise.
    fn remarks(&self, policy: &Policy) -> BTreeSet<String> {
        let signing = policy
            .rule_settings()
            .filter_map(|settings| settings.signing.as_ref());
        let standard = signing.filter(|signing| signing.scheme == Scheme::StandardWebhooks);
        let remark = |at: &SecretRef| {
            let text = self.data(&at.name, at.key.as_deref().unwrap_or(SIGNING))?;
            Some(format!("Secret {}: {}", at.name, reference_remark(text)?))
        };
        standard
            .flat_map(|signing| &signing.secrets)
            .filter_map(remark)
            .collect()
    }

    /// One value of a Secret.
    #[must_use]
    pub fn data(&self, secret: &str, key: &str) -> Option<&str> {
        self.secrets.get(secret)?.data.get(key).map(String::as_str)
    }

    /// A Secret as a whole.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&document::Secret> {
        self.secrets.get(name)
    }

    /// A certificate with its private key.
    ///
    /// # Errors
    /// What is missing or broken.
    pub fn certified_key(&self, secret: &str) -> Result<Arc<CertifiedKey>, Problem> {
        let (chain, key) = (self.pem(secret, TLS_CERT)?, self.pem(secret, TLS_KEY)?);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        key_pair::parse(chain, key, &provider)
            .map(Arc::new)
            .map_err(|broken| Problem::new(secret, broken))
    }

    /// The roots of a CA.
    ///
    /// # Errors
    /// What is missing or broken.
    pub fn roots(&self, secret: &str) -> Result<Arc<RootCertStore>, Problem> {
        let broken = || Problem::new(secret, "ca.crt cannot be read");
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(self.pem(secret, CA_CERT)?.as_bytes()) {
            roots.add(cert.map_err(|_| broken())?).map_err(|_| broken())?;
        }
        if roots.is_empty() {
            return Err(Problem::new(secret, "ca.crt holds no certificate"));
        }
        Ok(Arc::new(roots))
    }

    /// Whether the lists beside the roots of a destination's CA, if there are any, can be used.
    fn revocations(&self, secret: &str) -> Result<(), Problem> {
        let lists = self.data(secret, CA_CRL).map(str::as_bytes).map(revocations);
        let lists = lists.transpose().map_err(|error| Problem::new(secret, error))?;
        drop(lists);
        Ok(())
    }

    /// How the listener speaks TLS; `None` where the policy has it speak none.
    ///
    /// # Errors
    /// Its certificate is missing or broken, and there is no good one from before: nobody can be served.
    pub fn listener(&self) -> Option<Result<&Arc<ServerConfig>, &Problem>> {
        let listening = match self.listener.as_ref()? {
            Ok(listening) => listening,
            Err(problem) => return Some(Err(problem)),
        };
        Some(match &listening.kept {
            Some(problem) if !listening.is_valid() => Err(problem),
            Some(_) | None => Ok(&listening.config),
        })
    }

    /// What certificates of a client are verified with; `None` where nobody's can be.
    #[must_use]
    pub fn verifier(&self, client: &str) -> Option<&Verifier> {
        self.verifiers.get(client)
    }

    /// Whether a password is one of these, in either of the encodings that clients use. All are compared, so that the
    /// time says nothing about which is right.
    #[must_use]
    pub fn has_password(&self, refs: &[SecretRef], password: &[u8]) -> bool {
        let other = in_other_encoding(password);
        let digests = refs.iter().filter_map(|at| self.password(at));
        digests.fold(false, |found, digest| {
            let other = other.as_ref().is_some_and(|other| digest.matches(other));
            digest.matches(password) | other | found
        })
    }

    fn password(&self, at: &SecretRef) -> Option<&document::PasswordDigest> {
        let key = at.key.as_deref().unwrap_or(PASSWORD);
        self.secrets.get(&at.name)?.passwords.get(key)
    }

    fn missing(&self, at: &SecretRef) -> Option<Problem> {
        let key = at.key.as_deref().unwrap_or(PASSWORD);
        self.password(at)
            .is_none()
            .then(|| Problem::new(&at.name, format!("has no {key}")))
    }

    fn pem(&self, secret: &str, key: &str) -> Result<&str, Problem> {
        if !self.secrets.contains_key(secret) {
            return Err(Problem {
                is_gone: true,
                ..Problem::new(secret, "is missing, or must not be read")
            });
        }
        self.data(secret, key)
            .ok_or_else(|| Problem::new(secret, format!("has no {key}")))
    }

    /// With the certificate of the Secret, or with the last one from it where that is broken and this has not expired.
    fn listening(&self, secret: &str, before: &Self) -> Result<Listening, Problem> {
        let (certificate, kept) = match self.certified_key(secret) {
            Ok(certificate) => (certificate, None),
            Err(problem) if problem.is_gone => return Err(problem),
            Err(problem) => match &before.listener {
                Some(Ok(last)) if last.secret == secret && last.is_valid() => {
                    (Arc::clone(&last.certificate), Some(problem))
                }
                Some(_) | None => return Err(problem),
            },
        };
        let ends = certificate
            .cert
            .iter()
            .filter_map(|one| Some(x509::facts(one)?.not_after));
        Ok(Listening {
            config: self.server_config(secret, Arc::clone(&certificate))?,
            secret: secret.to_owned(),
            not_after: ends.min(),
            certificate,
            kept,
        })
    }

    fn server_config(
        &self,
        secret: &str,
        certificate: Arc<CertifiedKey>,
    ) -> Result<Arc<ServerConfig>, Problem> {
        let certificate: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certificate));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::new(secret, error))?;
        let builder = match AnyOf::new(self.verifiers.values()) {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// RFC 7617 leaves open how a password with other letters than ASCII's is encoded: most clients send UTF-8, Python's
/// requests and pip send Latin-1. The Secret holds what whoever wrote it had, mostly UTF-8.
fn in_other_encoding(password: &[u8]) -> Option<Vec<u8>> {
    if password.is_ascii() {
        return None;
    }
    match std::str::from_utf8(password) {
        Ok(text) => text.chars().map(|letter| u8::try_from(letter).ok()).collect(),
        Err(_) => Some(
            password
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>()
                .into_bytes(),
        ),
    }
}

impl Listening {
    /// A certificate whose end cannot be read is nobody's to rely on.
    fn is_valid(&self) -> bool {
        self.not_after.is_some_and(|end| end > Timestamp::now())
    }
}

impl Problem {
    fn new(secret: &str, problem: impl fmt::Display) -> Self {
        Self {
            secret: secret.to_owned(),
            problem: problem.to_string(),
            is_gone: false,
        }
    }
}

#[cfg(test)]
mod tests;
