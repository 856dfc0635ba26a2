//! Out: status, written only when it differs, and Events on what moved.
//!
//! It is written by a merge patch, which replaces lists whole. With server-side apply an entry that somebody else put
//! into a list of status would be theirs for ever: an address that nobody promised must not stay in the contract.

use egressway_core::wire::names;
use egressway_crds::{EgressPolicy, EgressPolicyStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::condition::{Kind, find};
use super::observe::Observed;
use super::status::{self, Facts};
use super::validate::Validated;
use super::{Error, object_key};
use crate::cluster::contested::Contested;
use crate::context::Context;
use crate::desired::Hashes;
use crate::desired::secrets::Resolution;

/// The API of a policy's namespace.
#[must_use]
pub fn api(ctx: &Context, policy: &EgressPolicy) -> Api<EgressPolicy> {
    Api::namespaced(ctx.client.clone(), &policy.namespace().unwrap_or_default())
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// What validation said.
    pub validated: &'a Validated,
    /// What the pods should have in force.
    pub hashes: Option<&'a Hashes>,
    /// What the policy's Secrets came to.
    pub secrets: Option<&'a Resolution>,
    /// Not all client pods fit into their ConfigMap.
    pub clients_left_out: bool,
    /// What of the objects somebody else sets otherwise.
    pub contested: &'a [Contested],
    /// Why the objects could not be applied.
    pub failure: Option<&'a Error>,
}

/// Computes the status and writes it if anything moved, and if it is not too early to say.
///
/// # Errors
/// The API server refused.
pub async fn publish(
    ctx: &Context,
    policy: &EgressPolicy,
    observed: &Observed,
    outcome: &Outcome<'_>,
) -> Result<(), Error> {
    if policy.status.is_some() && observed.too_early(ctx) {
        return Ok(());
    }
    let fleet = names::fleet_name(&policy.namespace().unwrap_or_default(), &policy.name_any());
    let facts = Facts {
        policy,
        validated: outcome.validated,
        hashes: outcome.hashes,
        secrets: outcome.secrets,
        clients_left_out: outcome.clients_left_out,
        pool: observed.valid_pool.as_ref(),
        pods: &observed.pods,
        cells: &observed.cells,
        proxy_url: outcome.validated.valid.as_ref().map(|valid| {
            let listener = &valid.document.content.listener;
            names::proxy_url(listener, &fleet, &ctx.settings.fleet_namespace)
        }),
        failure: outcome
            .failure
            .map(|error| (error.reason(), words(ctx, policy, error))),
        contested: outcome
            .contested
            .iter()
            .map(|contested| contested.text(&ctx.settings.fleet_namespace))
            .collect(),
        programmed_since: ctx.reports.wanted_since(&policy.uid().unwrap_or_default()),
        now: Timestamp::from_second(observed.now.as_second()).unwrap_or(observed.now),
    };
    let next = status::next(&facts);
    write(ctx, policy, &next).await
}

/// What is said about a failure. The words of an API server may have a port or a count in them; each status that repeats
/// them is an event of the policy, and that event a run. So a run ahead of its delay says of the same trouble what was
/// said before.
fn words(ctx: &Context, policy: &EgressPolicy, error: &Error) -> String {
    let conditions = policy.status.as_ref().map(|status| &status.conditions);
    let said = conditions.and_then(|conditions| find(conditions, Kind::Progressing));
    let same = said.filter(|said| {
        said.reason == error.reason().as_str() && said.observed_generation == policy.metadata.generation
    });
    match same {
        Some(said) if ctx.wakes.failures.waits(&object_key(policy)) => said.message.clone(),
        Some(_) | None => error.chain(),
    }
}

/// Writes a status if it differs from the present one.
///
/// # Errors
/// The API server refused.
pub async fn write(ctx: &Context, policy: &EgressPolicy, next: &EgressPolicyStatus) -> Result<(), Error> {
    let next = &with_foreign(next, policy.status.as_ref());
    if policy.status.as_ref() == Some(next) {
        return Ok(());
    }
    let name = policy.name_any();
    let status = replacing(policy.status.as_ref(), next);
    // Of the very object that was read: another one of the same name has a status of its own.
    let patch = json!({"metadata": {"resourceVersion": policy.resource_version()}, "status": status});
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api(ctx, policy)
        .patch_status(&name, &params, &Patch::Merge(&patch))
        .await
    {
        Ok(_) => {}
        // It has changed meanwhile, or has gone, or was made anew: the next run sees that.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(()),
        Err(error) => return Err(Error::apply("EgressPolicy status", &name, error)),
    }
    let empty = Vec::new();
    let before = policy.status.as_ref().map_or(&empty, |status| &status.conditions);
    ctx.events.moved(policy, before, &next.conditions).await;
    Ok(())
}

/// The status with the conditions of other programs, which are theirs.
fn with_foreign(next: &EgressPolicyStatus, live: Option<&EgressPolicyStatus>) -> EgressPolicyStatus {
    let mut next = next.clone();
    let live = live.into_iter().flat_map(|live| foreign(&live.conditions));
    next.conditions.extend(live.cloned());
    next
}

/// The conditions of other programs.
pub fn foreign(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let is_ours = |condition: &Condition| Kind::ALL.iter().any(|kind| kind.as_str() == condition.type_);
    conditions.iter().filter(move |condition| !is_ours(condition))
}

/// What makes `live` into `next`: a field that `next` lacks is named with nothing in it.
#[must_use]
pub fn replacing<S: Serialize>(live: Option<&S>, next: &S) -> Value {
    fn json<S: Serialize>(status: &S) -> Map<String, Value> {
        match serde_json::to_value(status) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        }
    }
    let mut fields = json(next);
    for gone in live
        .map(json)
        .unwrap_or_default()
        .into_iter()
        .map(|(field, _)| field)
    {
        fields.entry(gone).or_insert(Value::Null);
    }
    Value::Object(fields)
}
