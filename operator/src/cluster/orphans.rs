//! Fleets whose policy is gone: somebody took the finalizer off by hand, or a namespace was forced away.
//!
//! Deleted once the API server itself says that there is no such policy; a cache that lags is no proof.

use std::collections::BTreeSet;

use egressway_core::wire::names;
use egressway_crds::EgressPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::apply::Object;
use super::prune::sweep;
use crate::context::Context;
use crate::egress_policy::Error;

/// Looks for them, and deletes them. Returns the UIDs of the policies that they belonged to.
///
/// # Errors
/// The API server refused; what is left is found the next time.
pub async fn collect(ctx: &Context) -> Result<Vec<String>, Error> {
    let known: BTreeSet<String> = ctx
        .caches
        .policies
        .state()
        .iter()
        .filter_map(|policy| policy.uid())
        .collect();
    let owners = [
        owners::<Deployment>(ctx),
        owners::<Service>(ctx),
        owners::<ConfigMap>(ctx),
        owners::<Secret>(ctx),
        owners::<ServiceAccount>(ctx),
        owners::<NetworkPolicy>(ctx),
        owners::<PodDisruptionBudget>(ctx),
    ];
    let suspects: BTreeSet<String> = owners
        .into_iter()
        .flatten()
        .filter(|uid| !known.contains(uid))
        .collect();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let api = Api::<EgressPolicy>::all(ctx.client.clone());
    let policies = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(|source| Error::read("EgressPolicy", "list", source))?;
    let alive: BTreeSet<String> = policies.items.iter().filter_map(|policy| policy.uid()).collect();
    let gone: Vec<String> = suspects.difference(&alive).cloned().collect();
    for uid in &gone {
        tracing::warn!(policy_uid = uid, "deleting a fleet whose policy is gone");
        sweep::<PodDisruptionBudget>(ctx, uid).await?;
        sweep::<Deployment>(ctx, uid).await?;
        sweep::<Service>(ctx, uid).await?;
        sweep::<NetworkPolicy>(ctx, uid).await?;
        sweep::<ConfigMap>(ctx, uid).await?;
        sweep::<Secret>(ctx, uid).await?;
        sweep::<ServiceAccount>(ctx, uid).await?;
        ctx.reports.forget(uid);
    }
    Ok(gone)
}

/// UIDs of the policies that the cached objects of a kind belong to.
fn owners<K: Object>(ctx: &Context) -> Vec<String> {
    let objects = K::store(&ctx.caches).state();
    let labels = objects
        .iter()
        .filter_map(|object| object.labels().get(names::POLICY_UID_LABEL));
    labels.cloned().collect()
}
