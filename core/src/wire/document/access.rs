//! `clients.json` and `secrets.json`: which pods are whose clients, and what their credentials are checked against.
//!
//! They change with every client pod and with every rotation, so they are apart from the policies. Both are absent in
//! a fleet that needs neither.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `clients.json`: the client pods of every policy of the fleet, and who issues ServiceAccount tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clients {
    /// Format version, [`super::VERSION`].
    pub version: u32,
    /// Who issues the tokens of ServiceAccounts; absent: none can be verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// One entry a policy.
    pub policies: Vec<PolicyClients>,
}

/// The issuer of ServiceAccount tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` claim.
    pub issuer: String,
    /// Its public keys, a JSON Web Key Set (RFC 7517) as text.
    pub jwks: String,
}

/// The client pods of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyClients {
    /// Namespace of the EgressPolicy.
    pub namespace: String,
    /// Name of the EgressPolicy.
    pub name: String,
    /// The pods, each with the clients that it is; sorted by name.
    pub pods: Vec<ClientPod>,
}

/// One client pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientPod {
    /// `metadata.name`, for the log.
    pub name: String,
    /// Its addresses, one per family.
    pub ips: Vec<String>,
    /// Names of the clients of the policy that it is.
    pub clients: Vec<String>,
}

/// `secrets.json`: what the policies of the fleet refer to. Held in a Kubernetes Secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Format version, [`super::VERSION`].
    pub version: u32,
    /// One entry a policy.
    pub policies: Vec<PolicySecrets>,
}

/// The secrets of one policy.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySecrets {
    /// Namespace of the EgressPolicy.
    pub namespace: String,
    /// Name of the EgressPolicy.
    pub name: String,
    /// By name of the Secret. One that is missing here denies whatever depends on it.
    pub secrets: BTreeMap<String, Secret>,
}

/// One Secret, as far as the policy uses it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// By key: what a presented password is compared with. No password stands here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passwords: BTreeMap<String, PasswordDigest>,
    /// By key: certificates, private keys, signing keys, as they stand in the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// A password as a digest.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordDigest {
    /// Differs from Secret to Secret.
    pub salt: String,
    /// HMAC-SHA256 keyed by the salt, as lower-case hex.
    pub digest: String,
}

impl PasswordDigest {
    /// The digest of a password.
    #[must_use]
    pub fn new(salt: &str, password: &[u8]) -> Self {
        Self {
            salt: salt.to_owned(),
            digest: crate::wire::auth::keyed_digest(salt.as_bytes(), password),
        }
    }

    /// Whether this is the digest of `password`, compared in constant time.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        crate::wire::auth::keyed_digest_is(self.salt.as_bytes(), password, &self.digest)
    }
}

/// Says which Secrets there are, never what is in them.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PolicySecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{} {:?}",
            self.namespace,
            self.name,
            self.secrets.keys().collect::<Vec<_>>()
        )
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordDigest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_its_password_and_prints_nothing() {
        let digest = PasswordDigest::new("uid-1", b"s3cret-canary");
        assert!(digest.matches(b"s3cret-canary"));
        assert!(!digest.matches(b"s3cret-canarY"));
        assert!(
            !PasswordDigest {
                salt: "uid-2".to_owned(),
                ..digest.clone()
            }
            .matches(b"s3cret-canary")
        );
        assert!(!PasswordDigest::default().matches(b""));
        let secret = Secret {
            passwords: BTreeMap::from([("password".to_owned(), digest)]),
            data: BTreeMap::from([("tls.key".to_owned(), "s3cret-canary".to_owned())]),
        };
        let all = Secrets {
            version: 1,
            policies: vec![PolicySecrets {
                secrets: BTreeMap::from([("a".to_owned(), secret)]),
                ..PolicySecrets::default()
            }],
        };
        let printed = format!("{all:?}");
        assert!(!printed.contains("canary") && printed.contains('a'), "{printed}");
    }
}
