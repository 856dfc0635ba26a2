//! Every edit that somebody can make by hand to a fleet's objects is undone within [`WITHIN`], or a condition names it.
//!
//! The list is generated from the objects as they live (`crate::edits`); what the API server refuses is no edit.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ready;
use crate::cluster::{Cluster, FLEETS};
use crate::edits::{Edit, edits};
use crate::fixtures;

/// Namespace of the policy whose objects are edited: without client pods, so that nothing else changes them.
const EDITED: &str = "e2e-edited";
const POLICY: &str = "edited";
/// An edit is undone within so long; most take less than a second.
const WITHIN: Duration = Duration::from_secs(10);
/// Fewest edits that an API server must take of those that are tried.
const TAKEN_MIN: usize = 150;
/// Every kind that the operator makes in the fleet namespace.
const KINDS: &str = "deployments.apps,services,configmaps,secrets,serviceaccounts,networkpolicies.networking.k8s.io,poddisruptionbudgets.policy";

/// The policy's objects by kind and name; of a document's editions the latest, under the name of the first.
async fn objects(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let selector = format!("egressway.dev/policy-namespace={EDITED},egressway.dev/policy-name={POLICY}");
    let text = cluster
        .kubectl(&["get", KINDS, "-n", FLEETS, "-l", &selector, "-o", "json"])
        .await?;
    let list: Value = serde_json::from_str(&text)?;
    let items = list["items"].as_array().context("no items")?;
    let key = |item: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, fleet) = (
            text(&item["metadata"]["name"]),
            text(&item["metadata"]["labels"]["egressway.dev/fleet"]),
        );
        let first = match name
            .strip_prefix(&fleet)
            .map(|rest| rest.strip_suffix("-clients").unwrap_or(rest))
        {
            Some(edition) if item["kind"] == "ConfigMap" => {
                name.replacen(edition, "", usize::from(!edition.is_empty()))
            }
            _ => name,
        };
        format!("{}/{first}", text(&item["kind"]))
    };
    Ok(items.iter().map(|item| (key(item), item.clone())).collect())
}

/// What must come back: not versions, times and addresses that servers and controllers set, nor a key that is drawn anew.
fn lasting(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = &object["metadata"];
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let ours: BTreeMap<&String, &Value> = annotations
        .filter(|(key, _)| key.starts_with("egressway.dev/") && !key.ends_with("-hash"))
        .collect();
    object["metadata"] = json!({"labels": metadata["labels"], "annotations": ours, "ownerReferences": metadata["ownerReferences"]});
    object["status"] = Value::Null;
    match object["kind"].as_str() {
        Some("Service") => {
            object["spec"]["clusterIP"] = Value::Null;
            object["spec"]["clusterIPs"] = Value::Null;
        }
        Some("Secret") => {
            for value in object["data"].as_object_mut().into_iter().flatten() {
                *value.1 = json!("drawn");
            }
        }
        // The name of the documents in the volumes may be another one afterwards, and digests with it.
        Some("Deployment") => {
            object["spec"]["template"]["metadata"]["annotations"] = Value::Null;
            object["spec"]["template"]["spec"]["volumes"] = Value::Null;
        }
        Some("ConfigMap") => {
            // Nodes come and go.
            object["data"]["floor.json"] = Value::Null;
        }
        _ => {}
    }
    object
}

/// Whether a condition of the policy says so.
async fn is_named(cluster: &Cluster, object: &str) -> Result<bool> {
    let policy = cluster.policies(EDITED).get(POLICY).await?;
    let conditions = policy.status.map(|status| status.conditions).unwrap_or_default();
    Ok(conditions
        .iter()
        .any(|condition| condition.message.contains(object)))
}

/// Waits until it is as before, or named; with how long that took.
async fn settles(
    cluster: &Cluster,
    wanted: &BTreeMap<String, Value>,
    object: &str,
) -> Result<(bool, Duration)> {
    let since = Instant::now();
    loop {
        let found = objects(cluster).await?;
        let differs = wanted
            .iter()
            .any(|(key, value)| found.get(key).map(lasting).as_ref() != Some(value));
        if !differs {
            return Ok((true, since.elapsed()));
        }
        if since.elapsed() > WITHIN {
            return Ok((is_named(cluster, object).await?, since.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn patch(cluster: &Cluster, key: &str, edit: &Edit) -> Result<bool> {
    let kind = key.split_once('/').context("a key")?.0;
    let live = objects(cluster).await?;
    let name = live
        .get(key)
        .and_then(|object| object["metadata"]["name"].as_str());
    let name = name.with_context(|| format!("{key} is not there"))?;
    let operations = json!([edit.operation]).to_string();
    let patched = cluster
        .kubectl(&[
            "patch",
            kind,
            name,
            "-n",
            FLEETS,
            "--type=json",
            "-p",
            &operations,
        ])
        .await;
    // "(no change)": the server filled in what was taken away.
    Ok(patched.is_ok_and(|said| !said.contains("no change")))
}

/// Of a Deployment's fields each is edited once: taking them away too would be an hour of rollouts.
fn is_tried(key: &str, edit: &Edit) -> bool {
    let template = key.starts_with("Deployment/") && edit.field.starts_with("/spec/template/");
    // Somebody who says that an object is managed by somebody else has taken it: that is named and for people to undo.
    let taken = edit.field.ends_with("managed-by");
    !(taken || template && edit.what == "taken away")
}

pub(super) async fn heal(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(EDITED).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    ready(&cluster, EDITED, POLICY, fixtures::BATCH, &fixtures::allow_echo()).await?;
    let live = objects(&cluster).await?;
    let wanted: BTreeMap<String, Value> = live
        .iter()
        .map(|(key, object)| (key.clone(), lasting(object)))
        .collect();
    let (mut taken, mut slowest, mut stay) = (0, (Duration::ZERO, String::new()), Vec::new());
    let mut one_deployment = false;
    for (key, object) in &live {
        if key.starts_with("Deployment/") && std::mem::replace(&mut one_deployment, true) {
            // The other cells' are the same but for their names.
            continue;
        }
        let name = object["metadata"]["name"].as_str().context("a name")?;
        for edit in edits(object).iter().filter(|edit| is_tried(key, edit)) {
            if !patch(&cluster, key, edit).await? {
                continue;
            }
            taken += 1;
            let (good, took) = settles(&cluster, &wanted, name).await?;
            let line = format!("{key} {} {}: {:.1} s", edit.field, edit.what, took.as_secs_f64());
            if took > slowest.0 {
                slowest = (took, line.clone());
            }
            if !good {
                stay.push(line);
            }
        }
    }
    cluster.note(format!("{taken} edits; the slowest: {}", slowest.1));
    ensure!(
        stay.is_empty(),
        "{} of {taken} edits stay: {}",
        stay.len(),
        stay.join("; ")
    );
    ensure!(taken >= TAKEN_MIN, "only {taken} edits were taken");
    cluster
        .await_condition(EDITED, POLICY, "Ready", "True", Duration::from_secs(150))
        .await?;
    cluster.leave_namespace(EDITED).await
}
