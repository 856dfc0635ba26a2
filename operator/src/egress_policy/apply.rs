//! Out: a fleet's objects in an order that never leaves a pod without what it mounts, and never two cells at once.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;

use super::Error;
use super::rollout::{self, View};
use crate::cluster::apply::{current, ensure};
use crate::cluster::prune::{owned, prune};
use crate::context::Context;
use crate::desired::{Cell, Desired, Identity, config_map};

/// Applies it. The ConfigMap goes before the rest and the pods hear of it at once: an ACL change waits for nothing; the client pods
/// are right behind, and heard of together with it.
///
/// # Errors
/// The API server's; the next run makes every call again.
pub async fn apply(ctx: &Context, id: &Identity, wanted: Desired) -> Result<(), Error> {
    // Without `..`: a new object fails to compile here instead of never being applied.
    let Desired {
        service_account,
        secret,
        config_map,
        clients,
        service,
        network_policy,
        cells,
        hashes,
    } = wanted;
    ensure(ctx, service_account).await?;
    ensure(ctx, secret).await?;
    let keep_config: BTreeSet<String> = [&config_map]
        .into_iter()
        .chain(&clients)
        .map(|config| config.name_any())
        .collect();
    let bytes = config_map::bytes(&config_map);
    if bytes > config_map::BYTES_MAX {
        let name = config_map.name_any();
        return Err(Error::TooLarge { name, bytes });
    }
    ensure(ctx, config_map).await?;
    if let Some(clients) = clients {
        ensure(ctx, clients).await?;
    }
    ctx.reports.want(&id.uid, &hashes);
    prune::<ConfigMap>(ctx, &id.uid, &keep_config).await?;
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

/// Applies the Deployments. Where pods would be replaced, [`rollout`] says which cell's turn it is; a change of the
/// Deployments' status brings the next run.
async fn roll(ctx: &Context, id: &Identity, wanted: Vec<Deployment>) -> Result<(), Error> {
    let mut views: Vec<View> = Vec::with_capacity(wanted.len());
    for deployment in &wanted {
        if let Some(live) = current::<Deployment>(ctx, &deployment.name_any()).await? {
            views.push(View::new(&live, Some(deployment)));
        }
    }
    let going = owned::<Deployment>(ctx, &id.uid);
    let going = going
        .iter()
        .filter(|live| wanted.iter().all(|other| other.name_any() != live.name_any()));
    views.extend(going.map(|live| View::new(live, None)));
    let turn = rollout::may_roll(&views);
    for deployment in wanted {
        let name = deployment.name_any();
        let waits =
            views.iter().any(|view| view.name == name && view.replaces) && !turn.contains(&name.as_str());
        if waits {
            tracing::info!(deployment = name, "rollout waits for another cell");
        } else {
            ensure(ctx, deployment).await?;
        }
    }
    Ok(())
}
