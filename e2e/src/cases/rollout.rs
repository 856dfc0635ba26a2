//! New pods for a fleet that is in use.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
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

/// The UIDs of a fleet's pods, those that are on their way out included.
async fn uids(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let pods = cluster.fleet_pods(TENANT, "busy").await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

pub(super) async fn fails_no_request(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    cluster.apply(&fixtures::edge().to_string()).await?;
    let mut policy = fixtures::policy(TENANT, "busy", fixtures::EDGE, &fixtures::allow_echo());
    policy["spec"]["fleet"] = json!({"replicasPerCell": 2});
    cluster.apply(&policy.to_string()).await?;
    let ready = cluster.await_condition(TENANT, "busy", "Degraded", "False", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    let before = uids(&cluster).await?;
    ensure!(before.len() == 4, "4 pods, found {}", before.len());
    let client = ClientPod::start(&cluster, TENANT, "client").await?;
    let requests = client.requests(RATE, &proxy, "http://v4.example.test/", &["-timeout", "20s"])?;

    let begin = Instant::now();
    cluster
        .patch_policy(
            TENANT,
            "busy",
            json!({"spec": {"fleet": {"resources": {"requests": {"cpu": "51m"}}}}}),
        )
        .await?;
    eventually("4 other pods", Duration::from_secs(90), || async {
        let (now, policy) = (uids(&cluster).await?, cluster.policies(TENANT).get("busy").await?);
        let serving = policy.status.map_or(0, |status| status.ready_replicas);
        Ok(if now.len() == 4 && now.is_disjoint(&before) && serving == 4 {
            Ok(())
        } else {
            Err(format!(
                "{} of the old, {serving} ready",
                now.intersection(&before).count()
            ))
        })
    })
    .await?;
    let took = begin.elapsed();
    let answers = requests.stop("a rollout").await?;
    let mut durations: Vec<i64> = answers.iter().map(|answer| answer.duration_ms).collect();
    durations.sort_unstable();
    let at = |percent: usize| durations.get((durations.len() - 1) * percent / 100).copied();
    eprintln!(
        "     {} requests, {} a second, over a rollout of 4 pods in {:.1} s: none failed; p50 {} ms, p99 {} ms, max {} ms",
        answers.len(),
        per_second(&answers),
        took.as_secs_f32(),
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        at(100).unwrap_or_default()
    );
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}
