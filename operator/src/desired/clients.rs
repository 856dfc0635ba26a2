//! The ConfigMap of a fleet's client pods: which pods of the policy's namespace are which of its clients, and who issues
//! the tokens of ServiceAccounts.
//!
//! It is apart from the policies, so that pods that come and go rewrite no policy and move no hash that Programmed is
//! about; for the selectors see [`crate::reports`]. What it leaves out is refused by the proxies, never let in.

use std::collections::BTreeMap;

use egressway_core::acl::compile::Problems;
use egressway_core::manifest::ALL_PODS;
use egressway_core::wire::{document, names};
use egressway_crds::EgressPolicySpec;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};

use super::{Identity, labels};
use crate::cluster::client_pods::table::Holder;
use crate::context::Settings;

/// Most client pods of a policy. A pod with both families and an ordinary name takes 130 bytes, so that they fit; long
/// names meet [`BYTES_MAX`] first.
pub const PODS_MAX: usize = 5000;
/// Most bytes of the document: a ConfigMap holds 1 MiB.
pub const BYTES_MAX: usize = 900 * 1024;
/// Annotation: digest of what the table was made from. The next operator knows by it what the pods have.
const SELECTORS: &str = "egressway.dev/selectors-hash";
/// Most bytes of a policy's selectors, which are kept beside its ACL.
const SELECTORS_BYTES_MAX: usize = 32 * 1024;

/// What a policy's clients are told apart by, as far as the operator must look it up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// By name of the client: which pods of the namespace it is.
    pub selectors: BTreeMap<String, LabelSelector>,
    /// Some client presents a token of its ServiceAccount.
    pub tokens: bool,
}

/// The document, and whether everything found room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// What proxies load.
    pub document: document::Clients,
    /// Some pods did not fit; they are refused.
    pub left_out: bool,
}

impl Sources {
    /// The sources that a spec names.
    ///
    /// # Errors
    /// Every selector that selects nothing for sure, with its field.
    pub fn of(spec: &EgressPolicySpec) -> Result<Self, Problems> {
        let (mut problems, mut sources) = (Problems::default(), Self::default());
        let Some(clients) = &spec.clients else {
            let all = LabelSelector::default();
            sources.selectors.insert(ALL_PODS.to_owned(), all);
            return Ok(sources);
        };
        for client in clients {
            let accounts = client
                .auth
                .as_ref()
                .and_then(|auth| auth.service_accounts.as_ref());
            sources.tokens |= accounts.is_some();
            let Some(from) = &client.from else { continue };
            if let Err(problem) = sound(&from.pod_selector) {
                let field = format!("spec.clients {}", client.name);
                problems.push(field, format!("from.podSelector: {problem}"));
            }
            let selector = from.pod_selector.clone();
            sources.selectors.insert(client.name.clone(), selector);
        }
        let bytes = document::to_json(&sources).len();
        if bytes > SELECTORS_BYTES_MAX {
            problems.push(
                "spec.clients",
                format!("the selectors have {bytes} bytes, more than {SELECTORS_BYTES_MAX}"),
            );
        }
        problems.into_result(sources)
    }
}

/// What Kubernetes itself demands of a selector: one that breaks it must not select more than was meant.
///
/// # Errors
/// What is wrong with which requirement.
pub fn sound(selector: &LabelSelector) -> Result<(), String> {
    for requirement in selector.match_expressions.iter().flatten() {
        let (key, operator) = (&requirement.key, requirement.operator.as_str());
        let values = requirement
            .values
            .as_ref()
            .is_some_and(|values| !values.is_empty());
        match (operator, values) {
            ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false) => {}
            ("In" | "NotIn", false) => return Err(format!("{key} {operator} needs values")),
            ("Exists" | "DoesNotExist", true) => return Err(format!("{key} {operator} takes no values")),
            _ => {
                return Err(format!(
                    "{key} {operator:?} is not known: write In, NotIn, Exists or DoesNotExist"
                ));
            }
        }
    }
    Ok(())
}

/// The document of a policy; `None` where its clients need none.
///
/// Where not all pods fit, those that were started last are left out: whoever is served stays served.
#[must_use]
pub fn rendered(
    id: &Identity,
    sources: &Sources,
    holders: &[Holder],
    issuer: Option<&document::Issuer>,
) -> Option<Rendered> {
    if sources.selectors.is_empty() && !sources.tokens {
        return None;
    }
    let mut document = document::Clients {
        version: document::VERSION,
        issuer: issuer.filter(|_| sources.tokens).cloned(),
        policies: vec![document::PolicyClients {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            pods: Vec::new(),
        }],
    };
    let bytes_left = BYTES_MAX.saturating_sub(document::to_json(&document).len());
    let (pods, left_out) = within(clients(&sources.selectors, holders), bytes_left);
    for policy in &mut document.policies {
        policy.pods.clone_from(&pods);
    }
    Some(Rendered { document, left_out })
}

/// The pods that some selector selects, those that were started first in front.
fn clients(selectors: &BTreeMap<String, LabelSelector>, holders: &[Holder]) -> Vec<document::ClientPod> {
    // What does not parse was refused when the policy was; here it selects nothing.
    let selectors: Vec<(&String, Selector)> = selectors
        .iter()
        .filter_map(|(name, selector)| Some((name, Selector::try_from(selector.clone()).ok()?)))
        .collect();
    let mut holders: Vec<&Holder> = holders.iter().collect();
    holders.sort_by_key(|holder| (holder.pod.since.is_none(), holder.pod.since, &holder.pod.name));
    let client = |holder: &Holder| document::ClientPod {
        name: holder.pod.name.clone(),
        ips: holder.ips.iter().map(ToString::to_string).collect(),
        clients: selectors
            .iter()
            .filter(|(_, selector)| selector.matches(&holder.pod.labels))
            .map(|(name, _)| (*name).clone())
            .collect(),
    };
    holders
        .into_iter()
        .map(client)
        .filter(|pod| !pod.clients.is_empty())
        .collect()
}

/// As many of the first as there is room for, sorted by name; and whether some are left out.
fn within(pods: Vec<document::ClientPod>, bytes_max: usize) -> (Vec<document::ClientPod>, bool) {
    let all = pods.len();
    let mut bytes: usize = 0;
    let mut kept: Vec<document::ClientPod> = pods
        .into_iter()
        .take(PODS_MAX)
        .take_while(|pod| {
            // With the comma.
            bytes = bytes
                .saturating_add(document::to_json(pod).len())
                .saturating_add(1);
            bytes <= bytes_max
        })
        .collect();
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    let left_out = kept.len() < all;
    (kept, left_out)
}

/// The ConfigMap.
#[must_use]
pub fn config_map(
    id: &Identity,
    clients: &document::Clients,
    selectors: &str,
    settings: &Settings,
) -> ConfigMap {
    let name = names::clients_name(&id.documents());
    let mut metadata = labels::metadata(name, labels::labels(id), settings);
    metadata.annotations = Some(labels::map([(SELECTORS, selectors)]));
    ConfigMap {
        metadata,
        data: Some([(names::CLIENTS_KEY.to_owned(), document::to_json(clients))].into()),
        ..ConfigMap::default()
    }
}

/// The issuer that a live ConfigMap names.
#[must_use]
pub fn issuer(config_map: &ConfigMap) -> Option<document::Issuer> {
    live(config_map)?.issuer
}

/// Digests of what the table in a live ConfigMap was made from, and of the table.
#[must_use]
pub fn left(config_map: &ConfigMap) -> Option<(String, String)> {
    let selectors = config_map.annotations().get(SELECTORS)?;
    Some((selectors.clone(), document::digest(&live(config_map)?)))
}

fn live(config_map: &ConfigMap) -> Option<document::Clients> {
    serde_json::from_str(config_map.data.as_ref()?.get(names::CLIENTS_KEY)?).ok()
}

#[cfg(test)]
mod tests;
