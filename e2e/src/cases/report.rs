//! Mode Report: everything passes, and the status says what would not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::proxy_url;
use crate::client_pod::ClientPod;
use crate::cluster::Cluster;
use crate::fixtures;
use crate::wait::eventually;

const TENANT: &str = "e2e-report";
/// A pool that allows the mode, on the nodes of the batch cell.
const POOL: &str = "e2e-report";
const REQUESTS: i64 = 3;

pub(super) async fn says_what(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    let mut pool = fixtures::pool(POOL, &[("batch", "batch", None, 30)]);
    pool["spec"]["caps"] = json!({"modes": ["Enforce", "Report"]});
    cluster.apply(&pool.to_string()).await?;
    let rules = json!([
        {"name": "echo", "hosts": ["echo.example.test"], "ports": [{"port": 80}]},
        {"name": "not", "action": "Deny", "hosts": ["v4.example.test"], "ports": [{"port": 80}]},
    ]);
    let mut policy = fixtures::policy(TENANT, "look", POOL, &rules);
    policy["spec"]["mode"] = json!("Report");
    cluster.apply(&policy.to_string()).await?;
    let ready = cluster.await_condition(TENANT, "look", "Ready", "True", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    let client = ClientPod::start(&cluster, TENANT, "client").await?;
    client.finds(&proxy).await?;
    let get = async |url: &str| client.fetch(&proxy, url, &[]).await;

    let urls = ["http://echo2.example.test/", "http://v4.example.test/"];
    for _ in 0..REQUESTS {
        for url in urls {
            let answer = get(url).await?;
            ensure!(answer.status == 200, "{url} in mode Report: {answer:?}");
        }
    }
    let answer = get("http://echo.example.test/").await?;
    ensure!(answer.status == 200, "what a rule allows: {answer:?}");
    let floor = get("http://127.0.0.1/").await?;
    ensure!(floor.status == 403, "the floor holds in every mode: {floor:?}");
    let list = eventually("status.wouldDeny", Duration::from_secs(30), || async {
        let status = cluster.policies(TENANT).get("look").await?.status;
        let list = status.map(|status| status.would_deny).unwrap_or_default();
        Ok(if list.is_empty() {
            Err("an empty list".to_owned())
        } else {
            Ok(list)
        })
    })
    .await?;
    // Pods are asked every few seconds, and the first list counts what they had until then.
    let expected = [
        ("echo2.example.test:80", "no_rule_matches"),
        ("v4.example.test:80", "denied_by_rule"),
    ];
    for entry in &list {
        let known = expected.contains(&(entry.target.as_str(), entry.reason.as_str()));
        ensure!(known && (1..=REQUESTS).contains(&entry.count), "{list:?}");
    }
    let pods = cluster.fleet_pods(TENANT, "look").await?;
    let ip = pods.first().and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
    let url = format!("http://{}:4751/metrics", ip.context("the fleet has no pod")?);
    cluster
        .apply(&fixtures::metrics_from(TENANT, TENANT).to_string())
        .await?;
    let metrics = eventually("the way to the metrics", Duration::from_secs(10), || async {
        let answer = client.fetch("none", &url, &[]).await?;
        Ok(if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(answer.error)
        })
    })
    .await?;
    for (_, reason) in expected {
        let line =
            format!("egressway_proxy_requests_total{{decision=\"report\",reason=\"{reason}\"}} {REQUESTS}");
        let counted = metrics
            .lines()
            .find(|counted| counted.contains("decision=\"report\"") && counted.contains(reason));
        ensure!(counted == Some(&line), "{line} should be counted: {counted:?}");
    }

    cluster
        .patch_policy(TENANT, "look", json!({"spec": {"mode": "Enforce"}}))
        .await?;
    let enforcing = cluster
        .await_condition(TENANT, "look", "Programmed", "True", Duration::from_secs(20))
        .await?;
    ensure!(
        enforcing.status.is_none_or(|status| status.would_deny.is_empty()),
        "mode Enforce lists what it would refuse"
    );
    for url in urls {
        let answer = get(url).await?;
        ensure!(answer.status == 403, "{url} in mode Enforce: {answer:?}");
    }
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}
