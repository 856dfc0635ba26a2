//! Pods that are not what their Deployments say: admission has made something else of them. Named, never fought: who
//! rewrites one pod rewrites the next.

use egressway_core::wire::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt as _;
use serde_json::Value;

use super::cells::rolls;
use crate::cluster::contested::{By, Contested};
use crate::cluster::difference::difference;
use crate::cluster::prune::owned;
use crate::context::Context;

/// The first pod of each cell that is otherwise than its template. While pods roll out nobody can tell the old from the bent.
#[must_use]
pub fn rewritten(ctx: &Context, policy_uid: &str) -> Vec<Contested> {
    let deployments = owned::<Deployment>(ctx, policy_uid);
    let mut found: Vec<Contested> = deployments
        .iter()
        .filter(|deployment| !rolls(deployment))
        .filter_map(|deployment| of_cell(ctx, policy_uid, deployment))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn of_cell(ctx: &Context, policy_uid: &str, deployment: &Deployment) -> Option<Contested> {
    let template = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let cell = deployment.labels().get(names::CELL_LABEL)?;
    let is = |pod: &Pod, key: &str, value: &str| pod.labels().get(key).is_some_and(|label| label == value);
    let mut pods = ctx.caches.pods.state_filter(|pod: &Pod| {
        is(pod, names::POLICY_UID_LABEL, policy_uid)
            && is(pod, names::CELL_LABEL, cell)
            && pod.metadata.deletion_timestamp.is_none()
    });
    pods.sort_by_key(|pod| pod.name_any());
    pods.iter().find_map(|pod| {
        let fields = fields(template, pod.spec.as_ref()?);
        (!fields.is_empty()).then(|| Contested {
            kind: "Pod".to_owned(),
            name: pod.name_any(),
            fields,
            by: By::Admission,
        })
    })
}

/// Pure: fields of containers that are otherwise than the template has them, and containers that it has not.
fn fields(template: &PodSpec, pod: &PodSpec) -> Vec<String> {
    let json = |container: &Container| serde_json::to_value(container).unwrap_or(Value::Null);
    let mut fields = Vec::new();
    let known = |name: &str| {
        template
            .containers
            .iter()
            .find(|container| container.name == name)
    };
    if !pod
        .containers
        .iter()
        .any(|container| known(&container.name).is_some())
    {
        return fields;
    }
    for live in &pod.containers {
        let place = format!("spec.containers[{}]", live.name);
        let Some(wanted) = known(&live.name) else {
            fields.push(place);
            continue;
        };
        let found = difference(&json(wanted), &json(live));
        let others = found
            .into_iter()
            .flat_map(|found| found.fields)
            .filter(|field| !field.beside);
        fields.extend(others.map(|field| format!("{place}.{}", field.path)));
    }
    let before = pod.init_containers.iter().flatten();
    fields.extend(before.map(|container| format!("spec.initContainers[{}]", container.name)));
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(change: Value, more: Option<Value>, init: Option<Value>, expected: &[&str]) {
        let proxy = json!({"name": "proxy", "image": "proxy:1", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}});
        let spec = |containers: Vec<Value>, init: Option<Value>| -> PodSpec {
            serde_json::from_value(
                json!({"containers": containers, "initContainers": init.into_iter().collect::<Vec<_>>()}),
            )
            .unwrap()
        };
        let mut live = proxy.clone();
        live.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let pod = spec([live].into_iter().chain(more).collect(), init);
        assert_eq!(fields(&spec(vec![proxy], None), &pod), expected);
    }

    #[test]
    fn what_admission_made_of_a_pod_is_named_by_field() {
        let sidecar = || Some(json!({"name": "mesh", "image": "mesh:1"}));
        check(json!({}), None, None, &[]);
        check(
            json!({"image": "mirror/proxy:1"}),
            None,
            None,
            &["spec.containers[proxy].image"],
        );
        check(
            json!({"resources": {"requests": {"cpu": "50m", "memory": "1Gi"}}}),
            None,
            None,
            &["spec.containers[proxy].resources.requests.memory"],
        );
        check(json!({}), sidecar(), None, &["spec.containers[mesh]"]);
        check(json!({}), None, sidecar(), &["spec.initContainers[mesh]"]);
        // What a server fills in.
        check(json!({"terminationMessagePath": "/dev/x"}), None, None, &[]);
    }
}
