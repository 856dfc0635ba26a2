//! Pods on nodes that are none of their cell's any more: which they are, and when their cell's pods are made anew.
//!
//! Schedulers look at labels once. A node that loses them keeps its pods, and they leave by the NAT of before. New pods
//! come by a new mark on the pod template: a rollout brings each up before one goes, so that no cell loses what serves, and
//! [`super::rollout`] says whose turn it is. The mark stays on the template until the next time.

use std::collections::BTreeMap;

use egressway_core::wire::{document, names};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;

use super::cells::rolls;
use super::status::{Misplaced, PodView};
use crate::cluster::prune::owned;
use crate::context::Context;
use crate::desired::deployment::MOVED;
use crate::egress_pool::validate::{ValidCell, ValidPool};

/// Marks the pods that are misplaced, and returns the marks of the cells' templates: new ones where pods have to move.
pub fn moved(
    ctx: &Context,
    policy_uid: &str,
    pool: Option<&ValidPool>,
    pods: &mut [PodView],
) -> BTreeMap<String, String> {
    let mut marks = BTreeMap::new();
    for deployment in owned::<Deployment>(ctx, policy_uid) {
        let Some(name) = deployment.labels().get(names::CELL_LABEL) else {
            continue;
        };
        let template = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.template.metadata.as_ref());
        let annotations = template.and_then(|metadata| metadata.annotations.as_ref());
        let mark = annotations
            .and_then(|annotations| annotations.get(MOVED))
            .cloned();
        let cell = pool.and_then(|pool| pool.cells.iter().find(|cell| cell.name == *name));
        let due = cell.and_then(|cell| misplaced(ctx, cell, mark.as_ref(), pods));
        let mark = match due {
            // One that is under way is waited for: its pods carry the mark of now already.
            Some(new) if !rolls(&deployment) => Some(new),
            Some(_) | None => mark,
        };
        marks.extend(mark.map(|mark| (name.clone(), mark)));
    }
    marks
}

/// The mark that moves the misplaced pods of a cell, if there are any and a node could take others. Pods of an older mark
/// are about to go.
fn misplaced(ctx: &Context, cell: &ValidCell, mark: Option<&String>, pods: &mut [PodView]) -> Option<String> {
    let nodes = ctx.caches.nodes.state();
    let could = nodes.iter().any(|node| fits(cell, node) && takes_pods(node));
    let mut due = Vec::new();
    let of_cell = |pod: &&mut PodView| pod.cell == cell.name && pod.counts();
    for pod in pods.iter_mut().filter(of_cell) {
        let node = pod
            .node
            .as_ref()
            .and_then(|node| ctx.caches.nodes.get(&ObjectRef::new(node)));
        if node.is_none_or(|node| fits(cell, &node)) {
            continue;
        }
        pod.misplaced = Some(if could { Misplaced::Moves } else { Misplaced::Stays });
        let reference = ObjectRef::<Pod>::new(&pod.name).within(&ctx.settings.fleet_namespace);
        let live = ctx.caches.pods.get(&reference);
        if live.is_some_and(|live| live.annotations().get(MOVED) == mark) {
            due.push(pod.name.clone());
        }
    }
    (could && !due.is_empty()).then(|| document::digest(&due))
}

/// Whether a node is one of the cell's.
fn fits(cell: &ValidCell, node: &Node) -> bool {
    let mut labels = cell.node_selector.iter();
    labels.all(|(key, value)| node.labels().get(key) == Some(value))
}

/// Whether a scheduler would put pods there.
fn takes_pods(node: &Node) -> bool {
    let cordoned = node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut down = conditions.into_iter().flatten();
    let down = down.any(|condition| condition.type_ == "Ready" && condition.status != "True");
    !cordoned && !down && node.metadata.deletion_timestamp.is_none()
}
