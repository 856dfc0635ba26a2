//! Out: a fleet's objects in an order that never leaves a pod without what it mounts, and never two cells at once.
//!
//! Each object is written on its own: one that is refused stops none but those that must not be without it.

use std::collections::BTreeSet;

use egressway_core::wire::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;

use super::Error;
use super::cells::unschedulable;
use super::rollout::{self, View};
use crate::cluster::apply::{Object, current, ensure, kind};
use crate::cluster::contested::Contested;
use crate::cluster::prune::{owned, prune};
use crate::context::Context;
use crate::desired::deployment::mounted;
use crate::desired::{Cell, Desired, Documents, Identity, edition_of};

/// What became of a fleet's objects.
#[derive(Debug, Default)]
pub struct Applied {
    /// What could not be done, in the order of the objects.
    pub errors: Vec<Error>,
    /// What somebody else sets otherwise.
    pub contested: Vec<Contested>,
    /// Something that new pods mount or are guarded by is not there.
    lacks: bool,
}

impl Applied {
    /// Notes an outcome; true where it went well.
    fn note(&mut self, outcome: Result<Option<Contested>, Error>) -> bool {
        match outcome {
            Ok(contested) => {
                self.contested.extend(contested);
                true
            }
            Err(error) => {
                self.errors.push(error);
                false
            }
        }
    }

    /// The same of an object that pods must not be without. An older one that is there serves them.
    async fn note_needed<K: Object>(
        &mut self,
        ctx: &Context,
        name: &str,
        outcome: Result<Option<Contested>, Error>,
    ) {
        let taken = matches!(outcome, Err(Error::Taken { .. }));
        if !self.note(outcome) {
            let there = !taken && matches!(current::<K>(ctx, name).await, Ok(Some(_)));
            self.lacks |= !there;
        }
    }

    fn note_pruned(&mut self, outcome: Result<(), Error>) {
        self.errors.extend(outcome.err());
    }
}

/// Applies the documents, and has the pods hear of them at once: an ACL change waits for nothing, whatever becomes of the
/// rest; the client pods are right behind, and heard of together with it.
pub async fn documents(ctx: &Context, id: &Identity, documents: Documents) -> Applied {
    let mut applied = Applied::default();
    let Documents {
        config_map,
        clients,
        hashes,
    } = documents;
    // What has no room stays as it is, and the pods as they are.
    let Some(config_map) = config_map else {
        return applied;
    };
    let fleet = id.fleet();
    let mut keep_config: BTreeSet<String> = [&config_map]
        .into_iter()
        .chain(&clients)
        .map(|config| config.name_any())
        .collect();
    // Pods of cells whose turn has not come yet mount the edition before.
    for deployment in owned::<Deployment>(ctx, &id.uid) {
        let before = |name: &&str| edition_of(&fleet, name).is_some_and(|edition| edition != id.edition);
        keep_config.extend(mounted(&deployment).filter(before).map(ToOwned::to_owned));
    }
    let config = ensure(ctx, config_map).await;
    let clients = match clients {
        Some(clients) => Some(ensure(ctx, clients).await),
        None => None,
    };
    if config.is_ok() {
        ctx.reports.want(&id.uid, &hashes);
    }
    applied
        .note_needed::<ConfigMap>(ctx, &id.documents(), config)
        .await;
    if let Some(clients) = clients {
        applied.note(clients);
    }
    applied.note_pruned(prune::<ConfigMap>(ctx, &id.uid, &keep_config).await);
    applied
}

/// Applies everything. The documents go at once and beside the rest: neither a failure there nor a call that is not
/// answered stands before a revocation.
pub async fn apply(ctx: &Context, id: &Identity, documents: Documents, wanted: Desired) -> Applied {
    // Without `..`: a new object fails to compile here instead of never being applied.
    let Desired {
        service_account,
        secret,
        service,
        network_policy,
        cells,
    } = wanted;
    let fleet = id.fleet();
    let (account, secret, mut applied) = futures::join!(
        Box::pin(ensure(ctx, service_account)),
        Box::pin(ensure(ctx, secret)),
        Box::pin(self::documents(ctx, id, documents)),
    );
    applied
        .note_needed::<k8s_openapi::api::core::v1::ServiceAccount>(ctx, &fleet, account)
        .await;
    applied
        .note_needed::<k8s_openapi::api::core::v1::Secret>(ctx, &fleet, secret)
        .await;
    applied.note(ensure(ctx, service).await);
    let guarded = ensure(ctx, network_policy).await;
    applied
        .note_needed::<k8s_openapi::api::networking::v1::NetworkPolicy>(ctx, &fleet, guarded)
        .await;
    let Some(cells) = cells else { return applied };
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
        applied.note(ensure(ctx, disruption_budget).await);
        deployments.push(deployment);
    }
    roll(ctx, id, deployments, &mut applied).await;
    applied.note_pruned(prune::<Deployment>(ctx, &id.uid, &keep).await);
    applied.note_pruned(prune::<PodDisruptionBudget>(ctx, &id.uid, &keep_budgets).await);
    applied
}

/// Applies the Deployments. Where pods would be replaced, [`rollout`] says which cell's turn it is; a change of the
/// Deployments' status brings the next run.
async fn roll(ctx: &Context, id: &Identity, wanted: Vec<Deployment>, applied: &mut Applied) {
    let mut views: Vec<View> = Vec::with_capacity(wanted.len());
    let mut unknown = BTreeSet::new();
    for deployment in &wanted {
        let name = deployment.name_any();
        match current::<Deployment>(ctx, &name).await {
            Ok(Some(live)) => views.push(View::new(&live, deployment, lacks_nodes(ctx, id, deployment))),
            Ok(None) => {}
            Err(error) => {
                applied.errors.push(error);
                unknown.insert(name);
            }
        }
    }
    // A cell that nobody can look at may be rolling.
    let turn = if unknown.is_empty() {
        rollout::may_roll(&id.uid, &views)
    } else {
        Vec::new()
    };
    for deployment in wanted {
        let name = deployment.name_any();
        let view = views.iter().find(|view| view.name == name);
        let waits = view.is_some_and(|view| view.replaces) && !turn.contains(&name.as_str());
        if unknown.contains(&name) {
            continue;
        } else if waits {
            tracing::info!(deployment = name, "rollout waits for another cell");
        } else if applied.lacks && view.is_none_or(|view| view.replaces) {
            // Nor is a key that could not be written down, and is drawn anew each time, a reason for new pods.
            tracing::info!(
                kind = kind::<Deployment>(),
                name,
                "no new pods: what they mount or are guarded by is not there"
            );
        } else {
            applied.note(ensure(ctx, deployment).await);
        }
    }
}

/// Whether the scheduler finds no node for some pod of a cell.
fn lacks_nodes(ctx: &Context, id: &Identity, deployment: &Deployment) -> bool {
    let cell = deployment.labels().get(names::CELL_LABEL);
    let of_cell = |pod: &Pod| {
        pod.labels().get(names::POLICY_UID_LABEL) == Some(&id.uid)
            && pod.labels().get(names::CELL_LABEL) == cell
            && pod.metadata.deletion_timestamp.is_none()
    };
    let pods = ctx.caches.pods.state_filter(of_cell);
    pods.iter().any(|pod| unschedulable(pod).is_some())
}
