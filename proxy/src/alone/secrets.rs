//! The Secrets that a policy refers to, read from a directory that looks like mounted ones: `DIR/<name>/<key>`.
//!
//! systemd hands a directory over as `DIR/<name>_<key>` (LoadCredential), which is looked for second. Only what the policy
//! names is read. Passwords become digests at once; nothing here prints what it read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use egressway_core::pem_text;
use egressway_core::wire::document::{Auth, Content, PasswordDigest, Scheme, Secret, SecretRef};

use super::Refused;
use super::source::Read;
use crate::input;

/// Key of a password where none is named.
const PASSWORD: &str = "password";
/// Key of a signing key where none is named.
const SIGNING: &str = "secret";
/// Largest file: the API server takes Secrets up to 1 MiB.
const BYTES_MAX: u64 = 1024 * 1024;

/// Where Secrets are.
#[derive(Clone, Debug)]
pub struct SecretsDir {
    dir: Option<PathBuf>,
    /// Differs from process to process, so that no digest can be compared with another's.
    salt: String,
}

/// One key that a policy needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// Name of the Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Password,
    Data,
    /// May be absent.
    Optional,
}

impl Needed {
    /// It is used where it is there, and not missed where it is not.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.what == What::Optional
    }
}

/// What a policy's content refers to, each key once.
#[must_use]
pub fn needed(content: &Content) -> BTreeSet<Needed> {
    let mut all = BTreeSet::new();
    let mut add = |name: &str, key: &str, what| {
        all.insert(Needed {
            name: name.to_owned(),
            key: key.to_owned(),
            what,
        });
    };
    let key = |secret: &SecretRef, usual: &str| secret.key.clone().unwrap_or_else(|| usual.to_owned());
    if let Some(tls) = &content.listener.tls {
        add(&tls.certificate, "tls.crt", What::Data);
        add(&tls.certificate, "tls.key", What::Data);
    }
    for client in &content.clients {
        match &client.auth {
            Some(Auth::Passwords(secrets)) => {
                for secret in secrets {
                    add(&secret.name, &key(secret, PASSWORD), What::Password);
                }
            }
            Some(Auth::Certificate(certificate)) => {
                add(&certificate.ca, "ca.crt", What::Data);
                add(&certificate.ca, "ca.crl", What::Optional);
            }
            Some(Auth::ServiceAccounts(_)) | None => {}
        }
    }
    for rule in &content.rules {
        if let Some(tls) = &rule.upstream_tls {
            if let Some(name) = &tls.client_certificate {
                add(name, "tls.crt", What::Data);
                add(name, "tls.key", What::Data);
            }
            if let Some(name) = &tls.ca {
                add(name, "ca.crt", What::Data);
                add(name, "ca.crl", What::Optional);
            }
        }
        if let Some(signing) = &rule.signing {
            let usual = match signing.scheme {
                Scheme::StandardWebhooks | Scheme::HmacSha256 => SIGNING,
                Scheme::RsaSha256 => "tls.key",
            };
            for secret in &signing.secrets {
                add(&secret.name, &key(secret, usual), What::Data);
            }
        }
    }
    all
}

impl SecretsDir {
    /// Reads nothing yet; without a directory every Secret is missing.
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        let mut random = [0; 16];
        // Without the system's randomness the salt repeats, which matters only to whoever reads this memory.
        let _ = getrandom::fill(&mut random);
        Self {
            dir,
            salt: format!("{:032x}", u128::from_ne_bytes(random)),
        }
    }

    /// Where names of Secrets come and go.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.dir.iter().cloned().collect()
    }

    /// Where each needed key is, or would be.
    pub(super) fn paths<'a>(&'a self, needed: &'a BTreeSet<Needed>) -> impl Iterator<Item = PathBuf> + 'a {
        let found = |one: &Needed| self.dir.as_ref().map(|dir| path(dir, one));
        needed.iter().filter_map(found)
    }

    /// Reads what is needed.
    ///
    /// # Errors
    /// Everything that is missing, too large or not text.
    pub fn read(&self, needed: &BTreeSet<Needed>) -> Result<BTreeMap<String, Secret>, Refused> {
        self.read_with(needed, &mut input::read_bytes)
    }

    /// The same in a way of the caller's.
    pub(super) fn read_with(
        &self,
        needed: &BTreeSet<Needed>,
        read: &mut Read<'_>,
    ) -> Result<BTreeMap<String, Secret>, Refused> {
        let (mut secrets, mut refused) = (BTreeMap::<String, Secret>::new(), Refused::default());
        for one in needed {
            match self.read_one(one, read) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let secret = secrets.entry(one.name.clone()).or_default();
                    match one.what {
                        What::Password => {
                            let digest =
                                PasswordDigest::new(&format!("{}/{}", self.salt, one.name), line(&bytes));
                            secret.passwords.insert(one.key.clone(), digest);
                        }
                        What::Data | What::Optional => {
                            let pem = pem_text(&bytes).map(Cow::into_owned);
                            match pem.or_else(|| String::from_utf8(bytes).ok()) {
                                Some(text) => {
                                    secret.data.insert(one.key.clone(), text);
                                }
                                None => {
                                    refused.push(format!("Secret {} key {} is not text", one.name, one.key))
                                }
                            }
                        }
                    }
                }
                Err(problem) => refused.push(problem),
            }
        }
        refused.into_result(secrets)
    }

    fn read_one(&self, one: &Needed, read: &mut Read<'_>) -> Result<Option<Vec<u8>>, String> {
        let Needed { name, key, what } = one;
        if [name, key]
            .iter()
            .any(|part| part.is_empty() || part.starts_with('.') || part.contains('/'))
        {
            return Err(format!("Secret {name:?} key {key:?}: no name of a file"));
        }
        let Some(dir) = &self.dir else {
            return match what {
                What::Optional => Ok(None),
                What::Password | What::Data => Err(format!(
                    "Secret {name} key {key}: give --secrets-dir DIR and put it into DIR/{name}/{key}"
                )),
            };
        };
        let path = path(dir, one);
        match read(&path, BYTES_MAX) {
            Ok(bytes) if *what == What::Password && line(&bytes).is_empty() => {
                Err(format!("{} is empty", path.display()))
            }
            Ok(bytes) => Ok(Some(bytes)),
            // One that is written for the first time is not there yet.
            Err(error)
                if *what == What::Optional
                    && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) =>
            {
                Ok(None)
            }
            Err(error) => Err(format!("Secret {name} key {key}: {}: {error}", path.display())),
        }
    }
}

fn path(dir: &Path, Needed { name, key, .. }: &Needed) -> PathBuf {
    let (mounted, credential) = (dir.join(name).join(key), dir.join(format!("{name}_{key}")));
    if !mounted.exists() && credential.exists() {
        credential
    } else {
        mounted
    }
}

/// A password without the end of its line: editors and `echo` add one that nobody means.
fn line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use egressway_core::wire::document::{Encoding, Rule, Signing};

    use super::*;

    #[test]
    fn each_scheme_has_its_usual_key_unless_another_is_named() {
        for (scheme, named, expected) in [
            (Scheme::StandardWebhooks, None, "secret"),
            (Scheme::HmacSha256, None, "secret"),
            (Scheme::RsaSha256, None, "tls.key"),
            (Scheme::RsaSha256, Some("own"), "own"),
        ] {
            let secret = SecretRef {
                name: "signing".to_owned(),
                key: named.map(ToOwned::to_owned),
            };
            let signing = Signing {
                scheme,
                secrets: vec![secret],
                header: None,
                encoding: Encoding::Hex,
            };
            let rule = Rule {
                signing: Some(signing),
                ..Rule::default()
            };
            let content = Content {
                rules: vec![rule],
                ..Content::default()
            };
            let keys: Vec<_> = needed(&content).into_iter().map(|one| one.key).collect();
            assert_eq!(keys, [expected], "{scheme:?}");
        }
    }

    #[test]
    fn a_key_is_found_where_kubelets_and_where_systemd_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretsDir::new(Some(dir.path().to_owned()));
        let password = Needed {
            name: "pass".to_owned(),
            key: "password".to_owned(),
            what: What::Password,
        };
        let needed = BTreeSet::from([password]);
        let problem = secrets.read(&needed).unwrap_err().to_string();
        assert!(problem.contains("Secret pass key password"), "{problem}");
        let matches = |expected: &[u8]| {
            let read = secrets.read(&needed).unwrap();
            read["pass"].passwords["password"].matches(expected)
        };
        std::fs::write(dir.path().join("pass_password"), "of systemd\r\n").unwrap();
        assert!(matches(b"of systemd"));
        std::fs::create_dir(dir.path().join("pass")).unwrap();
        std::fs::write(dir.path().join("pass/password"), "mounted").unwrap();
        assert!(matches(b"mounted"));
        for content in ["", "\n"] {
            std::fs::write(dir.path().join("pass/password"), content).unwrap();
            assert!(secrets.read(&needed).is_err(), "an empty password is none");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        let secrets = SecretsDir::new(Some(PathBuf::from("/")));
        for (name, key) in [
            ("..", "etc"),
            ("etc", "../passwd"),
            ("a/b", "c"),
            ("", "a"),
            ("a", ""),
        ] {
            let one = Needed {
                name: name.to_owned(),
                key: key.to_owned(),
                what: What::Optional,
            };
            assert!(
                secrets.read_one(&one, &mut input::read_bytes).is_err(),
                "{name} {key}"
            );
        }
    }
}
