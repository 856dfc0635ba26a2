//! Pure: an EgressPolicy and what is observed around it into the fleet it gets, or the reason why it gets none.
//!
//! A bad edit of the policy keeps the document that was accepted last; a pool that withdraws its permission takes
//! effect at once, as a fleet that refuses everything.

use std::collections::BTreeMap;

use egressway_core::acl::compile::{self, Problems};
use egressway_core::wire::document::{self, ClientAuth};
use egressway_crds::{EgressPolicy, EgressPool};
use kube::ResourceExt as _;

use super::condition::Reason;
use crate::desired::clients::Sources;
use crate::desired::secrets::needs;
use crate::desired::{Identity, document::content};
use crate::egress_pool::validate::{self as pools, Fleet, ValidPool};

/// Largest policies document together with what the pool adds: a ConfigMap holds 1 MiB, and the floor wants room too.
const DOCUMENT_BYTES_MAX: usize = 900 * 1024;
/// Most problems in one message.
const PROBLEMS_MAX: usize = 20;

/// The document that was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted(pub document::Policy);

/// A policy that has a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPolicy {
    /// Whose fleet.
    pub id: Identity,
    /// What the fleet enforces.
    pub document: document::Policy,
    /// The pool has withdrawn its permission; the document refuses everything because of that.
    pub withdrawn: bool,
    /// The document refuses everything because the policy says so, and goes on to when the pool permits again.
    pub suspended: bool,
    /// What the fleet looks like; `None` leaves the pods as they are.
    pub shape: Option<Shape>,
}

/// What a fleet looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The pool that it stands on.
    pub pool: ValidPool,
    /// Replicas, drain, resources.
    pub fleet: Fleet,
}

/// The pool of a policy, as far as it was found.
#[derive(Clone, Copy, Debug)]
pub enum PoolFact<'a> {
    /// No poolRef, and no pool is the default one.
    NoDefault,
    /// No poolRef, and several pools say to be the default one.
    ManyDefaults,
    /// There is no such pool.
    NotFound(&'a str),
    /// It is there.
    Found(&'a EgressPool),
}

/// What validation needs to know.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The policy.
    pub policy: &'a EgressPolicy,
    /// Its pool.
    pub pool: PoolFact<'a>,
    /// Labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// What was accepted last, if there is a fleet.
    pub accepted: Option<Accepted>,
    /// Whether there is a fleet, known or not what it enforces.
    pub fleet: bool,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The fleet, if the policy gets one.
    pub valid: Option<ValidPolicy>,
    /// Whether the spec as it stands is accepted.
    pub accepted: bool,
    /// Why.
    pub reason: Reason,
    /// Why, and what to do.
    pub message: String,
}

/// Decides.
#[must_use]
pub fn validate(facts: &Facts<'_>) -> Validated {
    let pool = match facts.pool {
        PoolFact::Found(pool) => pool,
        PoolFact::NoDefault => {
            let next =
                "name a pool in spec.poolRef, or annotate one with egressway.dev/is-default-pool: \"true\"";
            return withdraw(
                facts,
                Reason::NoDefaultPool,
                format!("there is no default pool: {next}"),
                None,
            );
        }
        PoolFact::ManyDefaults => {
            let message = "several pools say to be the default one: name one in spec.poolRef".to_owned();
            return withdraw(facts, Reason::MultipleDefaultPools, message, None);
        }
        PoolFact::NotFound(name) => {
            let message = format!("spec.poolRef: there is no EgressPool {name}: create it, or name another");
            return withdraw(facts, Reason::PoolNotFound, message, None);
        }
    };
    let namespace = facts.policy.namespace().unwrap_or_default();
    let allowed = pools::allows(&pool.spec.allowed_namespaces, &namespace, facts.namespace_labels);
    let denied = (allowed == Ok(false)).then(|| {
        format!(
            "EgressPool {} does not allow namespace {namespace}: ask its owner to add it to spec.allowedNamespaces",
            pool.name_any()
        )
    });
    let valid_pool = match (pools::validate(pool), &denied) {
        (Ok(valid), _) => valid,
        // A withdrawn permission counts even where the same edit broke the pool.
        (Err(_), Some(message)) => {
            return withdraw(facts, Reason::NamespaceNotAllowed, message.clone(), None);
        }
        (Err(problems), None) => {
            let message = format!("EgressPool {} is not accepted: {problems}", pool.name_any());
            return keep(facts, Reason::PoolNotAccepted, message, None);
        }
    };
    let mut problems = Problems::default();
    let spec = facts.policy.spec.fleet.clone().unwrap_or_default();
    let fleet = pools::fleet_of(
        spec.replicas_per_cell,
        spec.drain.as_deref(),
        spec.resources.as_ref(),
        &valid_pool.fleet,
        &mut problems,
    );
    let bad_fleet = !problems.list().is_empty();
    let above = valid_pool.replicas_per_cell_max < fleet.replicas_per_cell;
    let replicas_per_cell = fleet.replicas_per_cell.min(valid_pool.replicas_per_cell_max);
    let shape = (!bad_fleet).then_some(Shape {
        pool: valid_pool,
        fleet: Fleet {
            replicas_per_cell,
            ..fleet
        },
    });
    if let Some(message) = denied {
        return withdraw(facts, Reason::NamespaceNotAllowed, message, shape);
    }
    if bad_fleet {
        return keep(facts, Reason::InvalidFleet, problems.to_string(), None);
    }
    if above {
        let message = format!(
            "spec.fleet.replicasPerCell: EgressPool {} allows {replicas_per_cell} proxy pods in a cell, and the fleet has no more: write that or less",
            pool.name_any()
        );
        return keep(facts, Reason::ReplicasAboveCap, message, shape);
    }
    match accept(facts, shape.as_ref()) {
        Ok(document) => {
            let message = format!("generation {} is in force", document.generation);
            let valid = ValidPolicy {
                id: identity(facts),
                suspended: document.content.suspended,
                document,
                withdrawn: false,
                shape,
            };
            Validated {
                valid: Some(valid),
                accepted: true,
                reason: Reason::Accepted,
                message,
            }
        }
        Err((reason, message)) => keep(facts, reason, message, shape),
    }
}

fn accept(facts: &Facts<'_>, shape: Option<&Shape>) -> Result<document::Policy, (Reason, String)> {
    let (namespace, name) = (
        facts.policy.namespace().unwrap_or_default(),
        facts.policy.name_any(),
    );
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    if let Err(problems) = Sources::of(&facts.policy.spec) {
        return Err(refusal(&problems, ""));
    }
    let content = content(&facts.policy.spec, &namespace).map_err(|problems| refusal(&problems, ""))?;
    if let Some(shape) = shape {
        within_caps(&content, &shape.pool)?;
    }
    let mut document = document::Policies {
        version: document::VERSION,
        policies: vec![document::Policy::seal(&namespace, &name, generation, content)],
    };
    // The proxy's own compiler: what it would refuse never reaches a pod.
    if let Err(problems) = compile::policies(&document) {
        return Err(refusal(&problems, &format!("policy {namespace}/{name} ")));
    }
    let secrets = document
        .policies
        .first()
        .map_or(0, |policy| needs::needs(&policy.content).len());
    if secrets > needs::SECRETS_MAX {
        let most = needs::SECRETS_MAX;
        let message =
            format!("spec: refers to {secrets} Secrets, more than {most}: put several keys into one Secret");
        return Err((Reason::InvalidSettings, message));
    }
    let pool = shape.map_or(0, |shape| {
        document::to_json(&(&shape.pool.caps, &shape.pool.observation)).len()
    });
    let bytes = document::to_json(&document).len().saturating_add(pool);
    if bytes > DOCUMENT_BYTES_MAX {
        let next = "split the policy, or use wildcards";
        let message = format!(
            "spec.rules: the ACL and what the pool adds to it have {bytes} bytes, more than {DOCUMENT_BYTES_MAX}: {next}"
        );
        return Err((Reason::ConfigTooLarge, message));
    }
    document
        .policies
        .pop()
        .ok_or_else(|| (Reason::InvalidRule, "the document is empty".to_owned()))
}

/// What the pool's owner does not allow. The proxies hold to the caps all the same: this is for who reads it.
fn within_caps(content: &document::Content, pool: &ValidPool) -> Result<(), (Reason, String)> {
    let name = &pool.name;
    let modes = pool.caps.modes.as_deref().unwrap_or_default();
    if !modes.contains(&content.mode) {
        let allowed: Vec<String> = modes.iter().map(|mode| format!("{mode:?}")).collect();
        let message = format!(
            "spec.mode: EgressPool {name} allows {}, and proxies enforce {:?} as Enforce: write one of those, or ask its owner for spec.caps.modes",
            allowed.join(" and "),
            content.mode
        );
        return Err((Reason::ModeNotAllowed, message));
    }
    let bare = content.clients.iter().find(|client| client.auth.is_none());
    if let (ClientAuth::Required, Some(bare)) = (pool.caps.client_auth, bare) {
        let message = format!(
            "spec.clients[{}]: EgressPool {name} demands a credential of every client, and those without are refused: give the client an auth",
            bare.name
        );
        return Err((Reason::ClientAuthRequired, message));
    }
    let (rules, most) = (content.rules.len(), pool.rules_max);
    if rules > most {
        let message = format!(
            "spec.rules: there are {rules}, and EgressPool {name} allows {most}: join rules, or split the policy"
        );
        return Err((Reason::TooManyRules, message));
    }
    Ok(())
}

/// Problems as a reason and a message that names fields of the spec; `prefix` is how the compiler names the policy.
fn refusal(problems: &Problems, prefix: &str) -> (Reason, String) {
    let in_spec = |problem: &String| {
        let Some(rest) = problem.strip_prefix(prefix).filter(|_| !prefix.is_empty()) else {
            return problem.clone();
        };
        let Some((field, what)) = rest.split_once(": ") else {
            return rest.to_owned();
        };
        match field.split_once(' ') {
            Some((list @ ("rule" | "client"), name)) => format!("spec.{list}s[{name}]: {what}"),
            _ => format!("spec.{field}: {what}"),
        }
    };
    let list: Vec<String> = problems.list().iter().take(PROBLEMS_MAX).map(in_spec).collect();
    let reason = match list.first().map_or("", String::as_str) {
        first if first.starts_with("spec.rules ") && first.contains(": both allow ") => {
            Reason::ConflictingRules
        }
        first if first.starts_with("spec.rules") => Reason::InvalidRule,
        first if first.starts_with("spec.clients") => Reason::InvalidClient,
        _ => Reason::InvalidSettings,
    };
    (reason, list.join("; "))
}

/// Refused, and what was accepted last stays in force.
fn keep(facts: &Facts<'_>, reason: Reason, problem: String, shape: Option<Shape>) -> Validated {
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    let valid = facts.accepted.clone().map(|Accepted(document)| ValidPolicy {
        id: identity(facts),
        suspended: document.content.suspended,
        document,
        withdrawn: false,
        shape,
    });
    let message = match &valid {
        Some(valid) if valid.document.generation != generation => format!(
            "generation {generation} is refused: {problem}. Generation {} stays in force",
            valid.document.generation
        ),
        Some(_) => format!("{problem}. What was accepted stays in force"),
        None => problem,
    };
    Validated {
        valid,
        accepted: false,
        reason,
        message,
    }
}

/// Refused by the pool: a fleet that exists refuses everything from now on, also where what it enforces is lost.
fn withdraw(facts: &Facts<'_>, reason: Reason, problem: String, shape: Option<Shape>) -> Validated {
    let last = facts.accepted.clone().map(|Accepted(last)| last);
    let last = last.or_else(|| facts.fleet.then(|| nothing(facts)));
    let valid = last.map(|last| {
        let suspended = last.content.suspended;
        let content = document::Content {
            suspended: true,
            ..last.content
        };
        let document = document::Policy::seal(&last.namespace, &last.name, last.generation, content);
        ValidPolicy {
            id: identity(facts),
            document,
            withdrawn: true,
            suspended,
            shape,
        }
    });
    let message = match &valid {
        Some(_) => format!("{problem}. Until then the fleet refuses every new request"),
        None => problem,
    };
    Validated {
        valid,
        accepted: false,
        reason,
        message,
    }
}

/// A document without a rule: nobody gets anywhere.
fn nothing(facts: &Facts<'_>) -> document::Policy {
    let id = identity(facts);
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    document::Policy::seal(&id.namespace, &id.name, generation, document::Content::default())
}

fn identity(facts: &Facts<'_>) -> Identity {
    let policy = facts.policy;
    let pool = policy
        .spec
        .pool_ref
        .as_ref()
        .map(|pool| pool.name.clone())
        .unwrap_or_default();
    Identity {
        namespace: policy.namespace().unwrap_or_default(),
        name: policy.name_any(),
        uid: policy.uid().unwrap_or_default(),
        pool,
    }
}

#[cfg(test)]
pub(crate) mod tests;
