//! New pods for a fleet that is in use.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

use super::proxy_url;
use crate::client_pod::{ClientPod, per_second};
use crate::cluster::Cluster;
use crate::fixtures;
use crate::wait::eventually;

const TENANT: &str = "e2e-rollout";
/// Requests a second, each over a connection of its own, through the Service.
const RATE: u32 = 500;

/// Waits until 4 pods serve, none of them from before, and no other is left; returns their UIDs.
async fn serving(cluster: &Cluster, what: &str, before: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    eventually(what, Duration::from_secs(90), || async {
        let pods = cluster.fleet_pods(TENANT, "busy").await?;
        let uids: BTreeSet<String> = pods.into_iter().filter_map(|pod| pod.metadata.uid).collect();
        let status = cluster.policies(TENANT).get("busy").await?.status;
        let ready = status.map_or(0, |status| status.ready_replicas);
        let old = uids.intersection(before).count();
        Ok(if uids.len() == 4 && old == 0 && ready == 4 {
            Ok(uids)
        } else {
            Err(format!("{} pods, {old} of them old, {ready} ready", uids.len()))
        })
    })
    .await
}

pub(super) async fn fails_no_request(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    cluster.apply(&fixtures::edge().to_string()).await?;
    let mut policy = fixtures::policy(TENANT, "busy", fixtures::EDGE, &fixtures::allow_echo());
    policy["spec"]["fleet"] = json!({"replicasPerCell": 2});
    cluster.apply(&policy.to_string()).await?;
    let ready = cluster.await_condition(TENANT, "busy", "Ready", "True", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    let before = serving(&cluster, "4 pods", &BTreeSet::new()).await?;
    let client = ClientPod::start(&cluster, TENANT, "client").await?;
    client.finds(&proxy).await?;
    let requests = client.requests(RATE, &proxy, "http://v4.example.test/", &["-timeout", "20s"])?;

    let begin = Instant::now();
    cluster
        .patch_policy(
            TENANT,
            "busy",
            json!({"spec": {"fleet": {"resources": {"requests": {"cpu": "51m"}}}}}),
        )
        .await?;
    serving(&cluster, "4 other pods", &before).await?;
    let took = begin.elapsed();
    let answers = requests.stop("a rollout").await?;
    let mut durations: Vec<i64> = answers.iter().map(|answer| answer.duration_ms).collect();
    durations.sort_unstable();
    let at = |percent: usize| durations.get((durations.len() - 1) * percent / 100).copied();
    cluster.note(format!(
        "{} requests, {} a second, over a rollout of 4 pods in {:.1} s: none failed; p50 {} ms, p99 {} ms, max {} ms",
        answers.len(),
        per_second(&answers),
        took.as_secs_f32(),
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        at(100).unwrap_or_default()
    ));
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}
