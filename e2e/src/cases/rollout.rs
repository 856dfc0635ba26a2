//! New pods for a fleet that is in use: a rollout, the drain of a node, fewer replicas. Clients keep their connections, open
//! new ones and open tunnels meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::Instant;

use super::proxy_url;
use crate::client_pod::{ClientPod, Requests, per_second};
use crate::cluster::Cluster;
use crate::fixtures;
use crate::wait::eventually;

const TENANT: &str = "e2e-rollout";
/// Longest that any of it takes on a loaded machine.
const WITHIN: Duration = Duration::from_secs(90);
/// What the client pod does at one time through the Service: what it is, requests a second, path, how. 500 a second in
/// all; of 200 clients that keep a connection each comes a request every 0.8 s.
const LOAD: [(&str, u32, &str, &[&str]); 4] = [
    ("new connections", 150, "", &[]),
    ("kept connections", 150, "", &["-keep", "-clients", "120"]),
    (
        "kept connections, POST",
        100,
        "echo",
        &["-keep", "-clients", "80", "-data", "a webhook"],
    ),
    ("CONNECT", 100, "", &["-tunnel"]),
];

/// Waits until so many pods serve, none of them from before, and no other is left; returns their UIDs.
async fn serving(
    cluster: &Cluster,
    what: &str,
    count: usize,
    before: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    eventually(what, WITHIN, || async {
        let pods = cluster.fleet_pods(TENANT, "busy").await?;
        let uids: BTreeSet<String> = pods.into_iter().filter_map(|pod| pod.metadata.uid).collect();
        let status = cluster.policies(TENANT).get("busy").await?.status;
        let ready = status.map_or(0, |status| status.ready_replicas);
        let old = uids.intersection(before).count();
        Ok(
            if uids.len() == count && old == 0 && usize::try_from(ready) == Ok(count) {
                Ok(uids)
            } else {
                Err(format!("{} pods, {old} of them old, {ready} ready", uids.len()))
            },
        )
    })
    .await
}

/// Everything of [`LOAD`] at one time.
fn load(client: &ClientPod, proxy: &str) -> Result<Vec<(&'static str, Requests)>> {
    let begin = |(what, rate, path, how): (&'static str, u32, &str, &[&str])| {
        let url = format!("http://v4.example.test/{path}");
        let mut extra = vec!["-timeout", "20s"];
        extra.extend(how);
        Ok((what, client.requests(rate, proxy, &url, &extra)?))
    };
    LOAD.into_iter().map(begin).collect()
}

/// Ends it; none of the requests failed.
async fn ended(cluster: &Cluster, during: &str, load: Vec<(&str, Requests)>) -> Result<()> {
    for (what, requests) in load {
        let answers = requests.stop(&format!("{during}, {what}")).await?;
        let mut durations: Vec<i64> = answers.iter().map(|answer| answer.duration_ms).collect();
        durations.sort_unstable();
        let at = |percent: usize| {
            let at = durations.get((durations.len() - 1) * percent / 100);
            at.copied().unwrap_or_default()
        };
        cluster.note(format!(
            "{during}, {what}: {} requests, {} a second, none failed; p50 {} ms, p99 {} ms, max {} ms",
            answers.len(),
            per_second(&answers),
            at(50),
            at(99),
            at(100)
        ));
    }
    Ok(())
}

pub(super) async fn fails_no_request(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    cluster.apply(&fixtures::edge().to_string()).await?;
    let mut policy = fixtures::policy(TENANT, "busy", fixtures::EDGE, &fixtures::allow_echo());
    policy["spec"]["fleet"] = json!({"replicasPerCell": 2});
    cluster.apply(&policy.to_string()).await?;
    let ready = cluster.await_condition(TENANT, "busy", "Ready", "True", WITHIN);
    let proxy = proxy_url(&ready.await?)?;
    let none = BTreeSet::new();
    let before = serving(&cluster, "4 pods", 4, &none).await?;
    let client = ClientPod::start(&cluster, TENANT, "client").await?;
    client.finds(&proxy).await?;

    let requests = load(&client, &proxy)?;
    let begin = Instant::now();
    cluster
        .patch_policy(
            TENANT,
            "busy",
            json!({"spec": {"fleet": {"resources": {"requests": {"cpu": "51m"}}}}}),
        )
        .await?;
    serving(&cluster, "4 other pods", 4, &before).await?;
    let during = format!("a rollout of 4 pods in {:.1} s", begin.elapsed().as_secs_f32());
    ended(&cluster, &during, requests).await?;

    let requests = load(&client, &proxy)?;
    let drained = drain_a_node(&cluster).await;
    ended(&cluster, &format!("the drain of node {}", drained?), requests).await?;

    let requests = load(&client, &proxy)?;
    let fewer = json!({"spec": {"fleet": {"replicasPerCell": 1}}});
    cluster.patch_policy(TENANT, "busy", fewer).await?;
    serving(&cluster, "2 pods", 2, &none).await?;
    ended(&cluster, "a scale-down to 2 pods", requests).await?;

    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}

/// Drains the node of one of the pods whose cell has another node, and gives it back; returns its name.
async fn drain_a_node(cluster: &Cluster) -> Result<String> {
    let pods = cluster.fleet_pods(TENANT, "busy").await?;
    let nodes = pods.into_iter().filter_map(|pod| pod.spec?.node_name);
    // Cell edge-a has two nodes.
    let node = nodes.into_iter().find(|node| node.starts_with("edge-a"));
    let node = node.context("no pod in cell edge-a")?;
    let selector =
        format!("--pod-selector=egressway.dev/policy-namespace={TENANT},egressway.dev/policy-name=busy");
    let args = [
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        &selector,
        "--timeout=90s",
    ];
    let drained = cluster.kubectl(&args).await;
    let replaced = serving(cluster, "4 pods on the other nodes", 4, &BTreeSet::new()).await;
    cluster.kubectl(&["uncordon", &node]).await?;
    drained?;
    replaced?;
    Ok(node)
}
