//! `secrets.json`: what a policy's proxies need of the tenant's Secrets, from what was read of them.
//!
//! A Secret that is missing, not given, or broken is left out: whatever depends on it denies, and never opens. What stands
//! stays in force only where a read failed for the moment, and where a listener's pair was replaced by something broken:
//! that one until it expires, as without it nobody is served. Words about a Secret never hold anything of it.

pub mod expiry;
pub mod material;
pub mod needs;
pub mod problem;

use std::collections::BTreeMap;

use egressway_core::wire::{document, names};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use self::expiry::Validity;
use self::needs::{Needs, Place, What};
use self::problem::{Fault, Problem};
use super::Identity;
use crate::context::Settings;

/// Most bytes of the document: a Kubernetes Secret holds 1 MiB, and the report key stands there too.
const DOCUMENT_BYTES_MAX: usize = 900 * 1024;

/// What reading one Secret came to.
#[allow(missing_debug_implementations)]
pub enum Read {
    /// It is there.
    Found(Box<Secret>),
    /// It is not.
    Missing,
    /// The tenant has not given it to the operator.
    Forbidden,
    /// Nobody can tell for the moment, and why.
    Unreadable(String),
}

/// When a certificate begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The Secret.
    pub secret: String,
    /// What it is for.
    pub place: Place,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// It is the listener's last good one, because what its Secret holds now is broken.
    pub kept: bool,
}

/// What the needs of a policy came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The document; absent where the policy refers to no Secret.
    pub document: Option<document::Secrets>,
    /// How many Secrets the policy refers to.
    pub referred: usize,
    /// What could not be taken, in the order of Secrets.
    pub problems: Vec<Problem>,
    /// The first end of a certificate of each Secret and use.
    pub expiries: Vec<Expiry>,
}

impl Resolution {
    /// Whether some Secret has to be read again soon.
    #[must_use]
    pub fn unreadable(&self) -> bool {
        self.problems.iter().any(|problem| problem.fault.passes())
    }

    /// Digest of the document as pods report it; empty where there is none.
    #[must_use]
    pub fn hash(&self) -> String {
        self.document.as_ref().map(document::digest).unwrap_or_default()
    }
}

/// Takes what is needed from what was read, at the time `now`. `kept` is the document that stands in the fleet's Secret.
#[must_use]
pub fn resolve(
    id: &Identity,
    needs: &Needs,
    reads: &BTreeMap<String, Read>,
    kept: Option<&document::Secrets>,
    settings: &Settings,
    now: Timestamp,
) -> Resolution {
    if needs.is_empty() {
        return Resolution::default();
    }
    let mut resolution = Resolution {
        referred: needs.len(),
        ..Resolution::default()
    };
    let (mut secrets, mut bytes) = (BTreeMap::new(), 0_usize);
    for (name, uses) in needs {
        let mut taken = document::Secret::default();
        let mut fault = |place: &Place, fault: Fault, kept_until: Option<Timestamp>| {
            let problem = Problem::new(id, name, place, fault, kept_until, settings);
            resolution.problems.push(problem);
        };
        match reads.get(name) {
            Some(Read::Found(secret)) if !is_labelled(secret) => first(uses, Fault::NotLabelled, &mut fault),
            Some(Read::Found(secret)) => {
                for (what, place) in uses {
                    let expiry = |valid: Validity, kept| Expiry {
                        secret: name.clone(),
                        place: place.clone(),
                        not_before: valid.not_before,
                        not_after: valid.not_after,
                        kept,
                    };
                    match material::take(secret, what, &mut taken) {
                        Ok(Some(valid)) => resolution.expiries.push(expiry(valid, false)),
                        Ok(None) => {}
                        Err(found) => match last_pair(id, name, uses, what, kept, now) {
                            Some((pair, valid)) => {
                                fault(place, found, Some(valid.not_after));
                                resolution.expiries.push(expiry(valid, true));
                                taken.data.extend(pair.data);
                            }
                            None => fault(place, found, None),
                        },
                    }
                }
            }
            Some(Read::Missing) => first(uses, Fault::NotFound, &mut fault),
            Some(Read::Forbidden) => first(uses, Fault::Forbidden, &mut fault),
            Some(Read::Unreadable(why)) => {
                first(uses, Fault::Unreadable(why.clone()), &mut fault);
                taken = stands(id, name, uses, kept);
            }
            None => first(uses, Fault::Unreadable("it was not read".to_owned()), &mut fault),
        }
        if taken == document::Secret::default() {
            continue;
        }
        let size = document::to_json(&taken).len();
        if bytes.saturating_add(size) > DOCUMENT_BYTES_MAX {
            let text = format!(
                "does not fit any more: all that is taken together may have {DOCUMENT_BYTES_MAX} bytes"
            );
            first(uses, Fault::Invalid(text), &mut fault);
            continue;
        }
        bytes = bytes.saturating_add(size);
        secrets.insert(name.clone(), taken);
    }
    resolution.document = Some(document::Secrets {
        version: document::VERSION,
        policies: vec![document::PolicySecrets {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            secrets,
        }],
    });
    resolution
}

/// One problem for the whole Secret, at the first place that needs it; at the listener, if that is one.
fn first(uses: &BTreeMap<What, Place>, fault: Fault, say: &mut impl FnMut(&Place, Fault, Option<Timestamp>)) {
    let listener = uses.values().find(|place| place.is_listener());
    if let Some(place) = listener.or_else(|| uses.values().next()) {
        say(place, fault, None);
    }
}

fn is_labelled(secret: &Secret) -> bool {
    secret.labels().get(names::SECRET_USE_LABEL).map(String::as_str) == Some(names::SECRET_USE_PROXY)
}

/// The pair that the listener has until now, where it has not expired and nothing else would get it as well: an old key
/// that signs or shows who the proxy is may be what somebody wants to take back.
fn last_pair(
    id: &Identity,
    name: &str,
    uses: &BTreeMap<What, Place>,
    what: &What,
    kept: Option<&document::Secrets>,
    now: Timestamp,
) -> Option<(document::Secret, Validity)> {
    let pair = what.data_keys();
    let takes_of_it = |other: &&What| other.data_keys().iter().any(|key| pair.contains(key));
    if *what != What::ListenerPair || uses.keys().filter(takes_of_it).count() > 1 {
        return None;
    }
    let stands = stands(id, name, uses, kept).data.into_iter();
    let secret = Secret {
        data: Some(
            stands
                .map(|(key, text)| (key, ByteString(text.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    };
    let mut pair = document::Secret::default();
    let valid = material::take(&secret, what, &mut pair).ok().flatten()?;
    (valid.not_after > now).then_some((pair, valid))
}

/// What stands of a Secret, as far as it is still needed.
fn stands(
    id: &Identity,
    name: &str,
    uses: &BTreeMap<What, Place>,
    kept: Option<&document::Secrets>,
) -> document::Secret {
    let mut policies = kept.map(|kept| kept.policies.iter()).unwrap_or_default();
    let policy = policies.find(|policy| policy.namespace == id.namespace && policy.name == id.name);
    let Some(secret) = policy.and_then(|policy| policy.secrets.get(name)) else {
        return document::Secret::default();
    };
    let mut stands = secret.clone();
    stands
        .passwords
        .retain(|key, _| uses.keys().any(|what| what.is_password(key)));
    stands
        .data
        .retain(|key, _| uses.keys().any(|what| what.data_keys().contains(&key.as_str())));
    stands
}

#[cfg(test)]
mod tests;
