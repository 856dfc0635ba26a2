//! Out: a fleet's objects in an order that never leaves a pod without what it mounts, and never two cells at once.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;

use super::{Error, observe};
use crate::cluster::apply::{current, ensure};
use crate::cluster::prune::{owned, prune};
use crate::context::Context;
use crate::desired::deployment::TEMPLATE_HASH;
use crate::desired::{Cell, Desired, Identity};

/// Applies it. The ConfigMap goes before the rest and the pods hear of it at once: an ACL change waits for nothing.
///
/// # Errors
/// The API server's; the next run makes every call again.
pub async fn apply(ctx: &Context, id: &Identity, wanted: Desired) -> Result<(), Error> {
    // Without `..`: a new object fails to compile here instead of never being applied.
    let Desired {
        service_account,
        secret,
        config_map,
        service,
        network_policy,
        cells,
        hashes,
    } = wanted;
    ensure(ctx, service_account).await?;
    ensure(ctx, secret).await?;
    ensure(ctx, config_map).await?;
    ctx.reports.want(&id.uid, &hashes);
    ensure(ctx, service).await?;
    ensure(ctx, network_policy).await?;
    let Some(cells) = cells else { return Ok(()) };
    let keep_budgets: BTreeSet<String> = cells
        .iter()
        .map(|cell| cell.disruption_budget.name_any())
        .collect();
    let keep: BTreeSet<String> = cells.iter().map(|cell| cell.deployment.name_any()).collect();
    let mut deployments = Vec::with_capacity(cells.len());
    for Cell {
        name: _,
        deployment,
        disruption_budget,
    } in cells
    {
        ensure(ctx, disruption_budget).await?;
        deployments.push(deployment);
    }
    roll(ctx, id, deployments).await?;
    prune::<Deployment>(ctx, &id.uid, &keep).await?;
    prune::<PodDisruptionBudget>(ctx, &id.uid, &keep_budgets).await
}

/// Applies the Deployments. One whose pods would be replaced waits until all others have settled; a change of their
/// status brings the next run.
async fn roll(ctx: &Context, id: &Identity, deployments: Vec<Deployment>) -> Result<(), Error> {
    let mut rolling: Option<String> = None;
    for deployment in deployments {
        let name = deployment.name_any();
        let live = current::<Deployment>(ctx, &name).await?;
        if live.is_some_and(|live| replaces_pods(&deployment, &live)) {
            let others = owned::<Deployment>(ctx, &id.uid);
            let busy = others
                .iter()
                .find(|other| other.name_any() != name && !observe::settled(other));
            if let Some(busy) = rolling.clone().or_else(|| busy.map(|other| other.name_any())) {
                tracing::info!(deployment = name, busy, "rollout waits for another cell");
                continue;
            }
            rolling = Some(name);
        }
        ensure(ctx, deployment).await?;
    }
    Ok(())
}

fn replaces_pods(wanted: &Deployment, live: &Deployment) -> bool {
    wanted.annotations().get(TEMPLATE_HASH) != live.annotations().get(TEMPLATE_HASH)
}
