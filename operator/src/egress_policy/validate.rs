//! Pure: an EgressPolicy and what is observed around it into the fleet it gets, or the reason why it gets none.
//!
//! What is in force where a spec is refused stands in [`refused`].

mod refused;

use std::collections::BTreeMap;

use egressway_core::acl::compile::{self, Problems};
use egressway_core::acl::{Wall, lint};
use egressway_core::wire::document::{self, ClientAuth, Closed};
use egressway_crds::{AllowedNamespaces, EgressPolicy, EgressPool, PolicyFleet};
use kube::ResourceExt as _;

use self::refused::{keep, withdraw};
use super::condition::Reason;
use crate::desired::clients::Sources;
use crate::desired::kept::Kept;
use crate::desired::secrets::needs;
use crate::desired::{self, Identity, config_map, document::content};
use crate::egress_pool::validate::{self as pools, Fleet, ValidPool};

/// Largest policies document together with what the pool adds: a ConfigMap holds 1 MiB, and the floor wants room too.
const DOCUMENT_BYTES_MAX: usize = 900 * 1024;
/// Most problems in one message.
const PROBLEMS_MAX: usize = 20;

/// What was accepted last.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The document.
    pub document: document::Policy,
    /// `spec.fleet` as it stood beside it; `None` where nobody has noted it.
    pub fleet: Option<PolicyFleet>,
}

/// A policy that has a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPolicy {
    /// Whose fleet.
    pub id: Identity,
    /// What the fleet enforces.
    pub document: document::Policy,
    /// `spec.fleet` as it was accepted, for when the next one is refused; `None` where nobody has noted it.
    pub fleet: Option<PolicyFleet>,
    /// The document refuses everything, and not because what was accepted says so.
    pub closed: Option<Closed>,
    /// What the fleet looks like; `None` leaves pool and pods as they are.
    pub shape: Option<Shape>,
}

/// What a fleet looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The pool that it stands on.
    pub pool: ValidPool,
    /// Replicas, drain, resources; `None` leaves the pods as they are.
    pub fleet: Option<Fleet>,
}

/// The pool of a policy, as far as it was found.
#[derive(Clone, Copy, Debug)]
pub enum PoolFact<'a> {
    /// No poolRef, and no pool is the default one.
    NoDefault,
    /// No poolRef, and several pools that say to be the default one permit the namespace.
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
    /// The pool as it was accepted last, if there is a fleet.
    pub kept: Option<&'a Kept>,
    /// Labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// What was accepted last, if there is a fleet.
    pub accepted: Option<Accepted>,
    /// Whether there is a fleet, known or not what it enforces.
    pub fleet: bool,
    /// The cluster's own ranges, which need room beside the ACL.
    pub floor: &'a document::Floor,
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
            let message =
                "several pools that permit the namespace say to be the default one: name one in spec.poolRef"
                    .to_owned();
            return withdraw(facts, Reason::MultipleDefaultPools, message, None);
        }
        PoolFact::NotFound(name) => return gone(facts, name),
    };
    let denied = denial(facts, &pool.name_any(), &pool.spec.allowed_namespaces);
    let valid_pool = match (pools::validate(pool), &denied) {
        (Ok(valid), _) => valid,
        // A withdrawn permission counts even where the same edit broke the pool, and is remembered.
        (Err(_), Some(message)) => {
            let shape = as_kept(facts, |kept| kept.allowing(&pool.spec.allowed_namespaces));
            return withdraw(facts, Reason::NamespaceNotAllowed, message.clone(), shape);
        }
        (Err(problems), None) => {
            // Nor does an edit that means nothing give a permission back.
            let before = facts
                .kept
                .map(|kept| denial(facts, &pool.name_any(), &kept.allowed));
            if let Some(message) = before.flatten() {
                let shape = as_kept(facts, |kept| kept);
                return withdraw(facts, Reason::NamespaceNotAllowed, message, shape);
            }
            let message = format!("EgressPool {} is not accepted: {problems}", pool.name_any());
            let shape = as_kept(facts, |kept| kept);
            return keep(facts, Reason::PoolNotAccepted, message, shape);
        }
    };
    let asked = facts.policy.spec.fleet.clone().unwrap_or_default();
    let fleet = fleet(&asked, &valid_pool);
    let kept = |pool: ValidPool| Some(last_shape(facts, pool));
    if let Some(message) = denied {
        return withdraw(facts, Reason::NamespaceNotAllowed, message, kept(valid_pool));
    }
    let (fleet, above) = match fleet {
        Ok(fleet) => fleet,
        Err(problems) => {
            return keep(
                facts,
                Reason::InvalidFleet,
                problems.to_string(),
                kept(valid_pool),
            );
        }
    };
    if above {
        let message = format!(
            "spec.fleet.replicasPerCell: EgressPool {} allows {} proxy pods in a cell, and the fleet has no more: write that or less",
            pool.name_any(),
            valid_pool.replicas_per_cell_max
        );
        return keep(facts, Reason::ReplicasAboveCap, message, kept(valid_pool));
    }
    let (document, warnings) = match accept(facts, &valid_pool) {
        Ok(accepted) => accepted,
        Err((reason, message)) => return keep(facts, reason, message, kept(valid_pool)),
    };
    let (reason, message) = accepted(document.generation, &warnings);
    let valid = ValidPolicy {
        id: identity(facts),
        document,
        fleet: Some(asked),
        closed: None,
        shape: Some(Shape {
            pool: valid_pool,
            fleet: Some(fleet),
        }),
    };
    Validated {
        valid: Some(valid),
        accepted: true,
        reason,
        message,
    }
}

/// The pool is gone. Withdrawing is done by `allowedNamespaces` or a cell's state, so nothing is taken away by it; nothing
/// new is accepted either.
fn gone(facts: &Facts<'_>, name: &str) -> Validated {
    let Some(kept) = facts.kept else {
        let message = if facts.fleet {
            format!("EgressPool {name} is gone, and nobody knows any more what it allowed: make it again")
        } else {
            format!(
                "spec.poolRef: there is no EgressPool {name}: create it, or correct the name, which can be changed until the policy is accepted"
            )
        };
        return withdraw(facts, Reason::PoolNotFound, message, None);
    };
    let shape = as_kept(facts, |kept| kept);
    if let Some(message) = denial(facts, name, &kept.allowed) {
        return withdraw(facts, Reason::NamespaceNotAllowed, message, shape);
    }
    let message = format!(
        "EgressPool {name} is gone: the fleet goes on with it as it was accepted last, and nothing new is accepted until it is made again"
    );
    keep(facts, Reason::PoolNotFound, message, shape)
}

/// What is said where a pool does not allow the policy's namespace. A selector that is none allows nobody and takes
/// nothing away.
fn denial(facts: &Facts<'_>, pool: &str, allowed: &AllowedNamespaces) -> Option<String> {
    let namespace = facts.policy.namespace().unwrap_or_default();
    let allowed = pools::allows(allowed, &namespace, facts.namespace_labels);
    (allowed == Ok(false)).then(|| {
        format!(
            "EgressPool {pool} does not allow namespace {namespace}: ask its owner to add it to spec.allowedNamespaces"
        )
    })
}

/// The fleet on the pool as it was accepted last.
fn as_kept(facts: &Facts<'_>, change: impl FnOnce(Kept) -> Kept) -> Option<Shape> {
    let kept = change(facts.kept?.clone());
    Some(last_shape(facts, kept.pool))
}

/// What is refused leaves the pods as they were accepted, inside what the pool allows now.
fn last_shape(facts: &Facts<'_>, pool: ValidPool) -> Shape {
    let asked = facts.policy.spec.fleet.clone().unwrap_or_default();
    let noted = facts.accepted.as_ref().and_then(|last| last.fleet.as_ref());
    let fleet = fleet(noted.unwrap_or(&asked), &pool);
    Shape {
        fleet: fleet.ok().map(|(fleet, _)| fleet),
        pool,
    }
}

/// What is said of a spec that is accepted.
fn accepted(generation: i64, warnings: &[lint::Warning]) -> (Reason, String) {
    let mut message = format!("generation {generation} is accepted");
    if warnings.is_empty() {
        return (Reason::Accepted, message);
    }
    for warning in warnings.iter().take(PROBLEMS_MAX) {
        message.push_str(&format!("; {warning}"));
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(PROBLEMS_MAX) {
        message.push_str(&format!("; and {more} more"));
    }
    (Reason::AcceptedWithWarnings, message)
}

/// What a `spec.fleet` means on a pool, inside the pool's cap, and whether it asks for more than that.
fn fleet(spec: &PolicyFleet, pool: &ValidPool) -> Result<(Fleet, bool), Problems> {
    let mut problems = Problems::default();
    let (drain, resources) = (spec.drain.as_deref(), spec.resources.as_ref());
    let mut fleet = pools::fleet_of(
        spec.replicas_per_cell,
        drain,
        resources,
        &pool.fleet,
        &mut problems,
    );
    let above = pool.replicas_per_cell_max < fleet.replicas_per_cell;
    fleet.replicas_per_cell = fleet.replicas_per_cell.min(pool.replicas_per_cell_max);
    problems.into_result((fleet, above))
}

/// The document of a spec that is accepted, and what of it has no effect.
fn accept(
    facts: &Facts<'_>,
    pool: &ValidPool,
) -> Result<(document::Policy, Vec<lint::Warning>), (Reason, String)> {
    let (namespace, name) = (
        facts.policy.namespace().unwrap_or_default(),
        facts.policy.name_any(),
    );
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    let sources = Sources::of(&facts.policy.spec).map_err(|problems| refusal(&problems, ""))?;
    let content = content(&facts.policy.spec, &namespace).map_err(|problems| refusal(&problems, ""))?;
    within_caps(&content, pool)?;
    let mut document = document::Policies {
        version: document::VERSION,
        policies: vec![document::Policy::seal(&namespace, &name, generation, content)],
    };
    // The proxy's own compiler: what it would refuse never reaches a pod.
    let compiled = compile::policies(&document)
        .map_err(|problems| refusal(&problems, &format!("policy {namespace}/{name} ")))?;
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
    let acl = document::to_json(&document).len();
    let beside = document::to_json(&(&pool.caps, &pool.observation)).len();
    let next = "split the policy into several, or use wildcards and wider CIDRs";
    if acl.saturating_add(beside) > DOCUMENT_BYTES_MAX {
        let message = format!(
            "spec.rules: the ACL has {acl} bytes and what the pool adds to it {beside}, together more than {DOCUMENT_BYTES_MAX}: {next}"
        );
        return Err((Reason::ConfigTooLarge, message));
    }
    let floor = desired::floor(facts.floor, &pool.nat64_prefixes);
    let documents = config_map::Documents {
        policies: &document,
        fleet: facts.policy.spec.fleet.as_ref(),
        sources: &sources,
        floor: &floor,
        pool: &desired::document::pool(pool),
        note: Some(&pool.note),
    };
    let bytes = documents.bytes();
    if bytes > config_map::BYTES_MAX {
        let beside = bytes.saturating_sub(acl);
        let message = format!(
            "spec.rules: the ACL has {acl} bytes and what stands beside it, the cluster's own ranges among it, {beside}, together more than the {} of a ConfigMap: {next}",
            config_map::BYTES_MAX
        );
        return Err((Reason::ConfigTooLarge, message));
    }
    let document = document
        .policies
        .pop()
        .ok_or_else(|| (Reason::InvalidRule, "the document is empty".to_owned()))?;
    // A floor that says nothing yet is the compiled-in one.
    let floor = document::Floor {
        version: document::VERSION,
        ..floor
    };
    let wall = (compile::floor(&floor, &[]), compile::caps(&pool.caps));
    let warnings = match (compiled.as_slice(), wall) {
        ([policy], (Ok(floor), Ok(caps))) => lint::rules(policy, &document.content, &Wall { floor, caps }),
        (_, (Ok(_) | Err(_), _)) => Vec::new(),
    };
    Ok((document, warnings))
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
        edition: 0,
    }
}

#[cfg(test)]
pub(crate) mod tests;
