//! The end of a policy: its pods drain, then everything goes, then the policy itself.
//!
//! The finalizer is there before the first child, so no fleet outlives its policy by accident.

use std::time::Duration;

use egressway_core::wire::names;
use egressway_crds::EgressPolicy;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use serde_json::json;

use super::condition::Reason;
use super::observe::observe;
use super::publish;
use super::retry::Class;
use super::status::{self, Facts};
use super::validate::Validated;
use super::{Error, object_key};
use crate::cluster::prune::sweep;
use crate::context::Context;

/// Field manager of the finalizer.
const MANAGER: &str = "egressway-operator-finalizer";
/// After so long past its grace period a pod is taken for lost.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// Pods that go wake the controller; this is for when nobody does.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Puts the finalizer on; false where there is no policy to put it on any more.
///
/// # Errors
/// The API server refused. A conflict is one: another policy may have taken the name, and a fleet made in spite of it
/// would be nobody's.
pub async fn claim(policy: &EgressPolicy, ctx: &Context) -> Result<bool, Error> {
    let name = policy.name_any();
    // Server-side apply: of the list only our own entry is ours.
    let patch = json!({
        "apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": name, "uid": policy.uid(), "finalizers": [names::FINALIZER]},
    });
    let params = PatchParams::apply(MANAGER).force();
    match publish::api(ctx, policy)
        .patch(&name, &params, &Patch::Apply(&patch))
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(Error::apply("EgressPolicy", &name, error)),
    }
}

/// Takes the finalizer off, whoever put it on: one that came with an exported manifest belongs to who applied that, and
/// apply would leave it for ever.
async fn release(policy: &EgressPolicy, ctx: &Context) -> Result<(), Error> {
    let others: Vec<&String> = policy
        .finalizers()
        .iter()
        .filter(|other| *other != names::FINALIZER)
        .collect();
    let version = policy.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": others}});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = policy.name_any();
    match publish::api(ctx, policy)
        .patch(&name, &params, &Patch::Merge(&patch))
        .await
    {
        Ok(_) => Ok(()),
        // It has changed meanwhile, or has gone: the next run sees that.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Error::apply("EgressPolicy", &name, error)),
    }
}

/// Drains, deletes, lets go.
///
/// # Errors
/// The API server refused; the next run goes on where this one stopped.
pub async fn finalize(policy: &EgressPolicy, ctx: &Context) -> Result<Action, Error> {
    if !policy.finalizers().iter().any(|name| name == names::FINALIZER) {
        return Ok(Action::await_change());
    }
    match end(policy, ctx).await {
        // With the namespace went our rights in it: nobody can be asked, and nothing is left to be asked for.
        Err(error) if error.class() == Class::Refused && !has_fleet_namespace(ctx) => {
            tracing::warn!(policy = %object_key(policy), "the fleet namespace is gone, and the fleet with it");
            gone(policy, ctx).await
        }
        outcome => outcome,
    }
}

fn has_fleet_namespace(ctx: &Context) -> bool {
    let fleets = ObjectRef::new(&ctx.settings.fleet_namespace);
    ctx.caches.namespaces.get(&fleets).is_some()
}

async fn end(policy: &EgressPolicy, ctx: &Context) -> Result<Action, Error> {
    let uid = policy.uid().unwrap_or_default();
    // Deployments first: their pods get SIGTERM and drain, while Service and ACL are still there for them.
    sweep::<PodDisruptionBudget>(ctx, &uid).await?;
    sweep::<Deployment>(ctx, &uid).await?;
    let now = (ctx.now)();
    let left = ctx
        .caches
        .pods
        .state_filter(|pod: &Pod| pod.labels().get(names::POLICY_UID_LABEL) == Some(&uid) && !lost(pod, now));
    if !left.is_empty() {
        draining(policy, ctx).await?;
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    sweep::<Service>(ctx, &uid).await?;
    sweep::<NetworkPolicy>(ctx, &uid).await?;
    sweep::<ConfigMap>(ctx, &uid).await?;
    sweep::<Secret>(ctx, &uid).await?;
    sweep::<ServiceAccount>(ctx, &uid).await?;
    tracing::info!(policy = %object_key(policy), "fleet deleted");
    gone(policy, ctx).await
}

/// Nothing of the fleet is left.
async fn gone(policy: &EgressPolicy, ctx: &Context) -> Result<Action, Error> {
    let uid = policy.uid().unwrap_or_default();
    ctx.reports.forget(&uid);
    ctx.metrics.certificates(&uid, &[]);
    release(policy, ctx).await?;
    Ok(Action::await_change())
}

/// Whether a pod should have ended long ago: its node is gone or cut off, and a policy cannot wait for that.
///
/// The deletion timestamp already lies the grace period ahead of the deletion.
fn lost(pod: &Pod, now: Timestamp) -> bool {
    let deadline = pod.metadata.deletion_timestamp.as_ref();
    deadline.is_some_and(|deadline| now.duration_since(deadline.0) > LOST_AFTER)
}

/// Says how far it is.
async fn draining(policy: &EgressPolicy, ctx: &Context) -> Result<(), Error> {
    let observed = observe(ctx, policy).await?;
    let validated = Validated {
        valid: None,
        accepted: true,
        reason: Reason::DrainingFleet,
        message: "the policy is being deleted".to_owned(),
    };
    let facts = Facts {
        policy,
        validated: &validated,
        hashes: None,
        clients_left_out: false,
        secrets: None,
        pool: observed.valid_pool.as_ref(),
        pods: &observed.pods,
        cells: &observed.cells,
        proxy_url: None,
        failure: None,
        contested: Vec::new(),
        programmed_since: None,
        now: observed.now,
    };
    let next = status::next(&facts);
    publish::write(ctx, policy, &next).await
}
