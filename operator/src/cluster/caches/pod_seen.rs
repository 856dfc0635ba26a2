//! What of a fleet's pod is worth a reconcile when it changes. What a client's pod is worth is in `client_pods`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::cluster::trouble::Trouble;

/// What a policy's outcome depends on in a pod. The nudge of a kubelet changes an annotation and nothing of this.
#[derive(Debug, PartialEq)]
pub(super) struct PodSeen {
    labels: BTreeMap<String, String>,
    terminating: bool,
    node: Option<String>,
    phase: Option<String>,
    ip: Option<String>,
    conditions: Vec<(String, String, Option<String>)>,
    trouble: Option<Trouble>,
}

impl PodSeen {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let trouble = Trouble::of(&status);
        let conditions = status.conditions.unwrap_or_default().into_iter();
        Self {
            labels: pod.labels().clone(),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            phase: status.phase,
            ip: status.pod_ip,
            conditions: conditions.map(|c| (c.type_, c.status, c.message)).collect(),
            trouble,
        }
    }
}
