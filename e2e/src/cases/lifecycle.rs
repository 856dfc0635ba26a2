//! Objects come, stay as wanted, and go, whatever people do in between. What crashes do is for `kills` to show.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{SHARED, proxy_url, ready, shared};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, FLEETS, SYSTEM};
use crate::fixtures;
use crate::wait::eventually;

/// Namespace of the policy whose objects are edited and deleted: without pods, so that nothing else changes them.
const HEALED: &str = "e2e-healed";
/// Every kind that the operator makes in the fleet namespace.
const KINDS: &str = "deployments.apps,services,configmaps,secrets,serviceaccounts,networkpolicies.networking.k8s.io,poddisruptionbudgets.policy";

/// Names of a policy's objects by kind, with the parts that must not change (no versions, times, status).
pub(super) async fn objects(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, Value>> {
    let selector = format!("egressway.dev/policy-namespace={namespace},egressway.dev/policy-name={name}");
    let text = cluster
        .kubectl(&["get", KINDS, "-n", FLEETS, "-l", &selector, "-o", "json"])
        .await?;
    let list: Value = serde_json::from_str(&text)?;
    let mut found = BTreeMap::new();
    for item in list["items"].as_array().context("no items")? {
        let mut item = item.clone();
        let key = format!(
            "{}/{}",
            item["kind"].as_str().unwrap_or(""),
            item["metadata"]["name"].as_str().unwrap_or("")
        );
        item["metadata"] = json!({"labels": item["metadata"]["labels"], });
        item["status"] = Value::Null;
        // A Service that is made anew has a new address, and nodes come and go; neither is what these tests ask for.
        if let Some(data) = item["data"].as_object_mut() {
            data.remove("floor.json");
        }
        item["spec"]["clusterIP"] = Value::Null;
        item["spec"]["clusterIPs"] = Value::Null;
        found.insert(key, item);
    }
    Ok(found)
}

pub(super) async fn names_do_not_meet(cluster: Cluster) -> Result<()> {
    cluster.apply(&fixtures::batch().to_string()).await?;
    let pairs = [("e2e-a", "b-c"), ("e2e-a-b", "c")];
    for (namespace, name) in pairs {
        cluster.namespace(namespace).await?;
        cluster
            .apply(&fixtures::policy(namespace, name, fixtures::BATCH, &fixtures::allow_echo()).to_string())
            .await?;
    }
    let mut urls = Vec::new();
    for (namespace, name) in pairs {
        let policy = cluster
            .await_condition(namespace, name, "Ready", "True", Duration::from_secs(90))
            .await?;
        urls.push(proxy_url(&policy)?);
    }
    ensure!(urls[0] != urls[1], "both at {}", urls[0]);
    let (one, two) = (
        objects(&cluster, "e2e-a", "b-c").await?,
        objects(&cluster, "e2e-a-b", "c").await?,
    );
    ensure!(
        one.len() == two.len() && one.keys().all(|key| !two.contains_key(key)),
        "{:?} meets {:?}",
        one.keys(),
        two.keys()
    );
    cluster
        .kubectl(&["delete", "egresspolicy", "-n", "e2e-a", "b-c", "--timeout=60s"])
        .await?;
    ensure!(
        objects(&cluster, "e2e-a-b", "c").await?.len() == two.len(),
        "deleting one took objects of the other"
    );
    cluster.leave_namespace("e2e-a").await?;
    cluster.delete_namespace("e2e-a-b").await
}

pub(super) async fn heals(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(HEALED).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    ready(
        &cluster,
        HEALED,
        "healed",
        fixtures::BATCH,
        &fixtures::allow_echo(),
    )
    .await?;
    let wanted = objects(&cluster, HEALED, "healed").await?;
    ensure!(wanted.len() >= 8, "objects: {:?}", wanted.keys());
    let healed = |what: String| {
        let (cluster, wanted) = (cluster.clone(), wanted.clone());
        async move {
            eventually(&format!("{what} to heal"), Duration::from_secs(30), || async {
                let found = objects(&cluster, HEALED, "healed").await?;
                let differs = wanted.iter().find(|(key, value)| found.get(*key) != Some(value));
                Ok(match differs {
                    None if found.len() == wanted.len() => Ok(()),
                    Some((key, _)) => Err(format!("{key} differs")),
                    None => Err(format!("{:?}", found.keys())),
                })
            })
            .await
        }
    };
    for key in wanted.keys() {
        let (kind, name) = key.split_once('/').context("a key")?;
        let edit = match kind {
            "Deployment" => {
                json!({"spec": {"replicas": 0, "template": {"spec": {"nodeSelector": {"egressway.dev/pool": "edge"}}}}})
            }
            "Service" => json!({"spec": {"selector": {"app.kubernetes.io/name": "somebody-else"}}}),
            "ConfigMap" if name.ends_with("-clients") => json!({"data": {"clients.json": "{}"}}),
            "ConfigMap" => json!({"data": {"policies.json": "{}"}}),
            "NetworkPolicy" => json!({"spec": {"ingress": [{}]}}),
            "PodDisruptionBudget" => json!({"spec": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}),
            "ServiceAccount" => json!({"automountServiceAccountToken": true}),
            // A changed key is adopted, a broken one replaced: both are a new Secret, not the old content.
            "Secret" => json!({"metadata": {"labels": {"egressway.dev/fleet": "stolen"}}}),
            other => anyhow::bail!("an owned object of kind {other} that this test does not know"),
        };
        cluster
            .kubectl(&[
                "patch",
                kind,
                name,
                "-n",
                FLEETS,
                "--type=merge",
                "-p",
                &edit.to_string(),
            ])
            .await?;
        healed(format!("an edit of {key}")).await?;
    }
    for key in wanted.keys().filter(|key| !key.starts_with("Secret/")) {
        let (kind, name) = key.split_once('/').context("a key")?;
        cluster
            .kubectl(&["delete", kind, name, "-n", FLEETS, "--wait=false"])
            .await?;
        healed(format!("deletion of {key}")).await?;
    }
    // A new key is a new Secret; what must come back is a fleet whose reports are believed.
    let secret = wanted
        .keys()
        .find(|key| key.starts_with("Secret/"))
        .context("no Secret")?
        .replace("Secret/", "");
    cluster
        .kubectl(&["delete", "secret", &secret, "-n", FLEETS])
        .await?;
    eventually(
        "the deleted Secret to come back",
        Duration::from_secs(30),
        || async {
            Ok(
                if objects(&cluster, HEALED, "healed").await?.len() == wanted.len() {
                    Ok(())
                } else {
                    Err("missing".to_owned())
                },
            )
        },
    )
    .await?;
    cluster
        .await_condition(HEALED, "healed", "Ready", "True", Duration::from_secs(150))
        .await?;
    cluster
        .await_condition(HEALED, "healed", "Programmed", "True", Duration::from_secs(150))
        .await?;
    cluster.leave_namespace(HEALED).await
}

/// Writes of the operator that the audit log has since a mark.
async fn writes(cluster: &Cluster, since: i64) -> Result<Vec<String>> {
    let account = format!("system:serviceaccount:{SYSTEM}:");
    let events = cluster.lab()?.audit(since).await?;
    let writes = events
        .into_iter()
        .filter(|e| e.stage == "ResponseComplete" && e.user.username.starts_with(&account));
    Ok(writes
        .filter(|e| {
            matches!(
                e.verb.as_str(),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            )
        })
        .map(|e| format!("{} {} {}", e.verb, e.request_uri, e.response_status.code))
        .collect())
}

/// Waits until the operator has written nothing for 10 s, and returns since when.
pub(super) async fn settled(cluster: &Cluster) -> Result<i64> {
    let lab = cluster.lab()?;
    eventually("the operator to settle", Duration::from_secs(90), || async {
        let since = lab.mark().await? - 10_000;
        let recent = writes(cluster, since).await?;
        Ok(if recent.is_empty() {
            Ok(since)
        } else {
            Err(recent.join("; "))
        })
    })
    .await
}

pub(super) async fn no_writes(cluster: Cluster) -> Result<()> {
    shared(&cluster).await?;
    let since = settled(&cluster).await?;
    let passed = u64::try_from(cluster.lab()?.mark().await? - since)?;
    // The measurement itself: nothing may happen in it.
    tokio::time::sleep(Duration::from_secs(45).saturating_sub(Duration::from_millis(passed))).await;
    let writes = writes(&cluster, since).await?;
    ensure!(
        writes.is_empty(),
        "{} writes in 45 s: {}",
        writes.len(),
        writes.join("; ")
    );
    Ok(())
}

pub(super) async fn deletion(cluster: Cluster) -> Result<()> {
    cluster.namespace(SHARED).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    let name = "going";
    let mut manifest = fixtures::policy(SHARED, name, fixtures::BATCH, &fixtures::allow_echo());
    manifest["spec"]["fleet"]["drain"] = json!("60s");
    cluster.apply(&manifest.to_string()).await?;
    let policy = cluster
        .await_condition(SHARED, name, "Ready", "True", Duration::from_secs(90))
        .await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    let proxy = proxy_url(&policy)?;
    client.finds(&proxy).await?;
    // A slow answer through a tunnel that is open when the policy goes: drained, not cut.
    let slow = client.fetch(
        &proxy,
        "http://echo.example.test/slow/8",
        &["-tunnel", "-timeout", "40s"],
    );
    let delete = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster
            .kubectl(&[
                "delete",
                "egresspolicy",
                "-n",
                SHARED,
                name,
                "--wait=true",
                "--timeout=120s",
            ])
            .await
    };
    let (answer, _) = tokio::try_join!(slow, delete)?;
    ensure!(
        answer.status == 200 && answer.error.is_empty(),
        "the open tunnel was cut: {answer:?}"
    );
    let left = objects(&cluster, SHARED, name).await?;
    ensure!(left.is_empty(), "left behind: {:?}", left.keys());
    ensure!(
        cluster.fleet_pods(SHARED, name).await?.is_empty(),
        "pods left behind"
    );
    Ok(())
}
