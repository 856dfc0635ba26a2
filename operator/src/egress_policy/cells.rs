//! The cells of a fleet as their Deployments show them, and what their scheduler says.

use egressway_core::wire::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::status::CellView;
use crate::cluster::prune::owned;
use crate::context::Context;

pub(super) fn cells(ctx: &Context, policy_uid: &str) -> Vec<CellView> {
    let mut cells: Vec<CellView> = owned::<Deployment>(ctx, policy_uid)
        .iter()
        .map(|deployment| CellView {
            name: deployment
                .labels()
                .get(names::CELL_LABEL)
                .cloned()
                .unwrap_or_default(),
            wanted: deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0),
            settled: settled(deployment),
            rolls: rolls(deployment),
            refused: refused(deployment),
        })
        .collect();
    cells.sort_by(|a, b| a.name.cmp(&b.name));
    cells
}

/// What the API server says to the pods that a Deployment's controller would make: a quota, an admission policy.
fn refused(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    failure.message.clone()
}

/// Whether pods of a Deployment are being made or replaced, however many of them serve.
#[must_use]
pub fn rolls(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let (wanted, updated) = (wanted.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    status.observed_generation < deployment.metadata.generation
        || updated < wanted
        || status.replicas.unwrap_or(0) != updated
}

/// Whether a Deployment's rollout has ended (as `kubectl rollout status` decides).
#[must_use]
pub fn settled(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(0);
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    status.observed_generation >= deployment.metadata.generation
        && is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
}

/// What the scheduler says about a pod that it finds no node for.
#[must_use]
pub fn unschedulable(pod: &Pod) -> Option<&String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))?;
    found.message.as_ref()
}
