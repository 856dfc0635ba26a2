//! Jobs of the chart's hooks, with the operator's own image: there is no kubectl in it, nor anywhere else for sure.

use std::time::Duration;

use anyhow::{Context as _, bail};
use egressway_core::wire::names;
use egressway_crds::{EgressPolicy, EgressPool};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::args::{ApplyPoolArgs, CleanupArgs};

/// Between two looks.
const STEP: Duration = Duration::from_millis(500);

/// Before uninstalling: stops the operator, deletes every fleet, takes the finalizers off.
///
/// # Errors
/// What could not be done, or not in time.
pub async fn cleanup(args: CleanupArgs) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("failed to configure the Kubernetes client")?;
    within(&client, &args).await
}

async fn within(client: &Client, args: &CleanupArgs) -> anyhow::Result<()> {
    timeout(args.timeout, clean(client, args))
        .await
        .context("the cleanup took too long")?
}

async fn clean(client: &Client, args: &CleanupArgs) -> anyhow::Result<()> {
    // The operator would heal what is deleted here.
    let deployments = Api::<Deployment>::namespaced(client.clone(), &args.operator_namespace);
    let none = json!({"spec": {"replicas": 0}});
    match deployments
        .patch(
            &args.operator_deployment,
            &PatchParams::default(),
            &Patch::Merge(&none),
        )
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => return Err(error).context("failed to stop the operator"),
    }
    let pods = Api::<Pod>::namespaced(client.clone(), &args.operator_namespace);
    let operator =
        ListParams::default().labels(&format!("{}={}", names::APP_NAME_LABEL, names::OPERATOR_APP_NAME));
    while pods
        .list(&operator)
        .await
        .context("failed to list the operator's pods")?
        .iter()
        .any(may_run)
    {
        sleep(STEP).await;
    }
    tracing::info!("the operator has stopped");
    let fleet = args.fleet_namespace.as_str();
    match delete_fleets(client, fleet).await {
        Ok(()) => tracing::info!("every fleet is deleted; pods drain"),
        // What may be done in a namespace goes with it, so that there one is refused, not told that it is gone.
        Err(_) if gone(client, fleet).await? => {
            tracing::info!("the fleet namespace is gone, and every fleet with it")
        }
        Err(error) => {
            return Err(error).context(
                "if the fleet namespace was made anew, run helm upgrade first: it brings the rights back",
            );
        }
    }
    release(client).await
}

/// Whether anything may still run in a pod. One that has ended is kept, say after an eviction, until somebody deletes it.
fn may_run(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Failed" | "Succeeded"))
}

async fn delete_fleets(client: &Client, namespace: &str) -> anyhow::Result<()> {
    delete_all::<PodDisruptionBudget>(client, namespace).await?;
    delete_all::<Deployment>(client, namespace).await?;
    delete_all::<Service>(client, namespace).await?;
    delete_all::<NetworkPolicy>(client, namespace).await?;
    delete_all::<ConfigMap>(client, namespace).await?;
    delete_all::<Secret>(client, namespace).await?;
    delete_all::<ServiceAccount>(client, namespace).await
}

/// Whether a namespace is gone, or going with all that is in it.
async fn gone(client: &Client, namespace: &str) -> anyhow::Result<bool> {
    let found = Api::<Namespace>::all(client.clone())
        .get_opt(namespace)
        .await
        .context("failed to look for the fleet namespace")?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

/// Takes our finalizer off every policy, and what is no longer true out of the statuses.
async fn release(client: &Client) -> anyhow::Result<()> {
    let all = Api::<EgressPolicy>::all(client.clone());
    let policies = match all.list(&ListParams::default()).await {
        Ok(policies) => policies,
        // The kinds are gone already.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error).context("failed to list EgressPolicies"),
    };
    for policy in policies {
        released(client, policy).await?;
    }
    let pools = Api::<EgressPool>::all(client.clone());
    for pool in pools
        .list(&ListParams::default())
        .await
        .context("failed to list EgressPools")?
    {
        let gone = Patch::Merge(json!({"status": null}));
        let _ = pools
            .patch_status(&pool.name_any(), &PatchParams::default(), &gone)
            .await;
    }
    tracing::info!("every policy is released");
    Ok(())
}

/// Takes our finalizer off one policy. Of the very version that was read: another controller may put its own finalizer on,
/// or take it off, at the same time.
async fn released(client: &Client, mut policy: EgressPolicy) -> anyhow::Result<()> {
    let (name, uid) = (policy.name_any(), policy.uid());
    let api = Api::<EgressPolicy>::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    // A status that is no longer kept is worse than none; where it cannot be removed it says so by its age.
    let _ = api
        .patch_status(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"status": null})),
        )
        .await;
    loop {
        let read = api.get_opt(&name).await;
        match read.with_context(|| format!("failed to read EgressPolicy {name}"))? {
            Some(live) if live.uid() == uid => policy = live,
            // It has gone, or another has its name since: that one is no list's any more.
            Some(_) | None => return Ok(()),
        }
        if !policy.finalizers().iter().any(|other| other == names::FINALIZER) {
            return Ok(());
        }
        let left: Vec<&String> = policy
            .finalizers()
            .iter()
            .filter(|other| *other != names::FINALIZER)
            .collect();
        let version = policy.resource_version();
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
        match api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => sleep(STEP).await,
            Err(error) => {
                return Err(error).with_context(|| format!("failed to release EgressPolicy {name}"));
            }
        }
    }
}

async fn delete_all<K>(client: &Client, namespace: &str) -> anyhow::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let ours = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
    let api = Api::<K>::namespaced(client.clone(), namespace);
    match api.delete_collection(&DeleteParams::background(), &ours).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("failed to delete every {}", K::kind(&()))),
    }
}

/// After installing: applies one EgressPool once the API server serves the kind.
///
/// # Errors
/// The manifest is none, the API server refuses it, or does not serve the kind in time.
pub async fn apply_pool(args: ApplyPoolArgs) -> anyhow::Result<()> {
    let mut manifest: serde_json::Value =
        serde_json::from_str(&args.manifest).context("--manifest is no JSON")?;
    let Some(name) = manifest["metadata"]["name"].as_str().map(ToOwned::to_owned) else {
        bail!("--manifest has no metadata.name");
    };
    manifest["apiVersion"] = json!("egressway.dev/v1alpha1");
    manifest["kind"] = json!("EgressPool");
    let client = Client::try_default()
        .await
        .context("failed to configure the Kubernetes client")?;
    let (pools, deadline) = (Api::<EgressPool>::all(client), Instant::now() + args.timeout);
    let params = PatchParams::apply("egressway-chart").force();
    loop {
        match pools.patch(&name, &params, &Patch::Apply(&manifest)).await {
            Ok(_) => {
                tracing::info!(pool = name, "the default pool is applied");
                return Ok(());
            }
            // 404: the kind is not served yet. 403 may follow for a moment, until RBAC has heard of it.
            Err(kube::Error::Api(status))
                if matches!(status.code, 403 | 404) && Instant::now() < deadline => {}
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) if Instant::now() < deadline => {}
            Err(error) => return Err(error).with_context(|| format!("failed to apply EgressPool {name}")),
        }
        sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests;
