//! `clients.json` in force: which address is which pod, and which clients of a policy that pod is.
//!
//! It knows nothing of credentials; the issuer of tokens travels in the same document and is [`super::token`]'s.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::acl::Policy;
use egressway_core::acl::compile::Problems;
use egressway_core::wire::document;

use super::token::Issuer;

/// The client pods of every policy, and who issues their tokens.
#[derive(Debug, Default)]
pub struct ClientTable {
    issuer: Option<Arc<Issuer>>,
    policies: HashMap<(String, String), Pods>,
    hash: String,
}

type Pods = HashMap<IpAddr, Arc<Pod>>;

/// One client pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Names of the clients that it is.
    pub clients: Vec<String>,
}

impl ClientTable {
    /// Compiles the document; an issuer that has not changed keeps the tokens that it verified.
    ///
    /// # Errors
    /// Every problem, with its field.
    pub fn new(document: &document::Clients, before: Option<&Self>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let issuer = document.issuer.as_ref().and_then(|issuer| {
            let kept = before.and_then(|before| before.issuer.as_ref());
            match kept.filter(|kept| kept.is(issuer)) {
                Some(kept) => Some(Arc::clone(kept)),
                None => Issuer::new(issuer)
                    .map(Arc::new)
                    .map_err(|problem| problems.push("issuer", problem))
                    .ok(),
            }
        });
        let mut policies = HashMap::new();
        for policy in &document.policies {
            let field = format!("policy {}/{}", policy.namespace, policy.name);
            let pods = pods(policy, &field, &mut problems);
            if policies
                .insert((policy.namespace.clone(), policy.name.clone()), pods)
                .is_some()
            {
                problems.push(&field, "stands twice in the document");
            }
        }
        problems.into_result(Self {
            issuer,
            policies,
            hash: document::digest(document),
        })
    }

    /// The pod of a policy that has an address.
    #[must_use]
    pub fn pod(&self, policy: &Policy, ip: IpAddr) -> Option<&Arc<Pod>> {
        // One policy in a dedicated fleet: comparing beats hashing two strings that would have to be owned first.
        let named =
            |(namespace, name): &&(String, String)| namespace == policy.namespace() && name == policy.name();
        let key = self.policies.keys().find(named)?;
        self.policies.get(key)?.get(&ip.to_canonical())
    }

    /// Who issues tokens.
    #[must_use]
    pub fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref()
    }

    /// Digest of the document; empty where there is none.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// An address that two pods claim is only what both are: nobody gains by sharing one.
fn pods(policy: &document::PolicyClients, field: &str, problems: &mut Problems) -> Pods {
    let mut pods = Pods::new();
    for pod in &policy.pods {
        let compiled = Arc::new(Pod {
            name: Arc::from(pod.name.as_str()),
            clients: pod.clients.clone(),
        });
        for text in &pod.ips {
            let Ok(ip) = text.parse::<IpAddr>() else {
                problems.push(
                    format!("{field} pod {}", pod.name),
                    format!("{text:?} is no address"),
                );
                continue;
            };
            pods.entry(ip.to_canonical())
                .and_modify(|other| {
                    let both = other.clients.iter().filter(|name| pod.clients.contains(name));
                    *other = Arc::new(Pod {
                        name: Arc::clone(&other.name),
                        clients: both.cloned().collect(),
                    });
                })
                .or_insert_with(|| Arc::clone(&compiled));
        }
    }
    pods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ips: &[&str], clients: &[&str]) -> document::ClientPod {
        document::ClientPod {
            name: name.to_owned(),
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
            clients: clients.iter().map(|client| (*client).to_owned()).collect(),
        }
    }

    fn document(pods: Vec<document::ClientPod>) -> document::Clients {
        document::Clients {
            version: document::VERSION,
            issuer: None,
            policies: vec![document::PolicyClients {
                namespace: "payments".to_owned(),
                name: "webhooks".to_owned(),
                pods,
            }],
        }
    }

    #[test]
    fn a_shared_address_is_only_what_both_pods_are() {
        let table = ClientTable::new(
            &document(vec![
                pod("a", &["10.0.0.1", "fd00::1"], &["sender", "batch"]),
                pod("b", &["::ffff:10.0.0.1"], &["sender"]),
            ]),
            None,
        )
        .unwrap();
        let pods = &table.policies[&("payments".to_owned(), "webhooks".to_owned())];
        assert_eq!(pods[&"10.0.0.1".parse::<IpAddr>().unwrap()].clients, ["sender"]);
        assert_eq!(
            pods[&"fd00::1".parse::<IpAddr>().unwrap()].clients,
            ["sender", "batch"]
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let broken = document(vec![pod("a", &["10.0.0.1/32", "x"], &[])]);
        let problems = ClientTable::new(&broken, None).unwrap_err();
        assert_eq!(problems.list().len(), 2, "{problems}");
        let mut twice = document(vec![]);
        twice.policies.push(twice.policies[0].clone());
        assert!(ClientTable::new(&twice, None).is_err());
    }
}
