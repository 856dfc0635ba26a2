//! The Deployment of one cell: proxies on the cell's nodes, spread over them, without rights of any kind.
//!
//! Nothing of a tenant's choice reaches the pod template except replicas, drain and amounts of compute.

use std::time::Duration;

use egressway_core::wire::{document, names};
use egressway_crds as crds;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    KeyToPath, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec,
    Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretProjection, SecretVolumeSource,
    SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Identity, Rest, labels};
use crate::context::Settings;
use crate::egress_pool::validate::{Fleet, ValidCell};

/// Seconds on top of the drain: the proxy goes on for a moment after SIGTERM, and needs one to end.
const GRACE: i64 = 15;
/// `nonroot` of distroless images.
const USER: i64 = 65_532;
/// Annotation of the pod template: a new report key means new pods.
const KEY_HASH: &str = "egressway.dev/key-hash";
/// Annotation of the pod template: another mark means new pods, which go where the cell's nodes are now.
pub const MOVED: &str = "egressway.dev/moved";
/// Annotation of a Deployment: digest of its pod template, which decides whether a write rolls the pods.
pub const TEMPLATE_HASH: &str = "egressway.dev/template-hash";

/// The Deployment.
#[must_use]
pub fn deployment(
    id: &Identity,
    cell: &ValidCell,
    fleet: &Fleet,
    rest: &Rest<'_>,
    settings: &Settings,
) -> Deployment {
    let mut annotations = labels::map([(KEY_HASH, &document::digest(&rest.key))]);
    let moved = rest.moved.get(&cell.name);
    annotations.extend(moved.map(|mark| (MOVED.to_owned(), mark.clone())));
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::cell_labels(id, &cell.name)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(id, cell, fleet, settings)),
    };
    let mut metadata = labels::metadata(id.cell(&cell.name), labels::cell_labels(id, &cell.name), settings);
    metadata.annotations = Some(labels::map([(TEMPLATE_HASH, &document::digest(&template))]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(fleet.replicas_per_cell),
            selector: labels::cell_selector(id, &cell.name),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            min_ready_seconds: Some(1),
            revision_history_limit: Some(3),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(id: &Identity, cell: &ValidCell, fleet: &Fleet, settings: &Settings) -> PodSpec {
    let secrets = settings
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        service_account_name: Some(id.fleet()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // The node's resolver: the cluster's would answer cluster names, and search lists change what a name means.
        dns_policy: Some("Default".to_owned()),
        node_selector: Some(cell.node_selector.clone()),
        tolerations: (!cell.tolerations.is_empty())
            .then(|| cell.tolerations.iter().map(toleration).collect()),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(labels::cell_selector(id, &cell.name)),
            match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
            ..TopologySpreadConstraint::default()
        }]),
        termination_grace_period_seconds: Some(seconds(fleet.drain).saturating_add(GRACE)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: (!settings.image_pull_secrets.is_empty()).then(|| secrets.collect()),
        containers: vec![container(cell, fleet, settings)],
        volumes: Some(volumes(id)),
        ..PodSpec::default()
    }
}

fn container(cell: &ValidCell, fleet: &Fleet, settings: &Settings) -> Container {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    Container {
        name: "proxy".to_owned(),
        image: Some(settings.proxy_image.clone()),
        image_pull_policy: Some(settings.proxy_image_pull_policy.clone()),
        args: Some(vec![format!("--drain={}s", seconds(fleet.drain))]),
        env: Some(vec![
            field(names::ENV_POD_NAME, "metadata.name"),
            field(names::ENV_POD_UID, "metadata.uid"),
            field(names::ENV_NODE_NAME, "spec.nodeName"),
            EnvVar {
                name: names::ENV_CELL.to_owned(),
                value: Some(cell.name.clone()),
                value_from: None,
            },
        ]),
        ports: Some(vec![
            port("proxy", names::PROXY_PORT),
            port("admin", names::ADMIN_PORT),
            port("report", names::REPORT_PORT),
        ]),
        // A quarantined pod must leave the Service at once; being alive is judged slowly.
        readiness_probe: Some(probe("/readyz", 2, 1)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        resources: Some(ResourceRequirements {
            requests: Some(fleet.compute.requests.clone()),
            limits: Some(fleet.compute.limits.clone()),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount("acl", names::ACL_MOUNT),
            mount("key", names::KEY_MOUNT),
        ]),
        ..Container::default()
    }
}

fn volumes(id: &Identity) -> Vec<Volume> {
    let acl = Volume {
        name: "acl".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![whole(id.documents()), clients(id), secrets(id)]),
            default_mode: Some(0o440),
        }),
        ..Volume::default()
    };
    let key = Volume {
        name: "key".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(id.fleet()),
            items: Some(vec![item(names::REPORT_KEY)]),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    vec![acl, key]
}

/// The ConfigMaps that the pods of a Deployment mount.
pub fn mounted(deployment: &Deployment) -> impl Iterator<Item = &str> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
    let projected = volumes.filter_map(|volume| volume.projected.as_ref()?.sources.as_ref());
    projected
        .flatten()
        .filter_map(|source| Some(source.config_map.as_ref()?.name.as_str()))
}

fn whole(config_map: String) -> VolumeProjection {
    VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: config_map,
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    }
}

/// Optional: a fleet whose clients all present credentials has none, and may get one without new pods.
fn clients(id: &Identity) -> VolumeProjection {
    VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: names::clients_name(&id.documents()),
            items: Some(vec![item(names::CLIENTS_KEY)]),
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    }
}

/// Optional: a fleet whose policy refers to no Secret has none, and may get one without new pods.
fn secrets(id: &Identity) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection {
            name: id.fleet(),
            items: Some(vec![item(names::SECRETS_KEY)]),
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    }
}

fn item(key: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: key.to_owned(),
        mode: None,
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn toleration(toleration: &crds::Toleration) -> Toleration {
    Toleration {
        key: toleration.key.clone(),
        operator: toleration.operator.clone(),
        value: toleration.value.clone(),
        effect: toleration.effect.clone(),
        toleration_seconds: toleration.toleration_seconds,
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> i64 {
    let whole = duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0));
    i64::try_from(whole).unwrap_or(i64::MAX)
}
