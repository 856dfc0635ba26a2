//! The ACL does what the policy says. How soon a change is in force is measured in `latency`.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{SHARED, own_on_batch, proxy_url};
use crate::client_pod::ClientPod;
use crate::cluster::Cluster;
use crate::fixtures;

pub(super) async fn as_written(cluster: Cluster) -> Result<()> {
    own_on_batch(&cluster, "written").await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    let rules = json!([
        {"name": "echo", "hosts": ["*.example.test"], "ports": [{"port": 80}, {"port": 443}]},
        {"name": "net", "cidrs": ["192.175.48.81/32", "2620:4f:8000:1::81/128"], "ports": [{"port": 8000, "endPort": 8999}]},
        {"name": "no-echo2", "action": "Deny", "hosts": ["echo2.example.test"], "ports": [{"port": 1, "endPort": 65535}]},
        {"name": "no-net", "action": "Deny", "cidrs": ["2620:4f:8000:1::/64"], "ports": [{"port": 443}]},
    ]);
    cluster
        .apply(&fixtures::policy(SHARED, "written", fixtures::BATCH, &rules).to_string())
        .await?;
    let policy = cluster
        .await_condition(SHARED, "written", "Programmed", "True", Duration::from_secs(20))
        .await?;
    let proxy = proxy_url(&policy)?;
    client.finds(&proxy).await?;
    for (url, status, reason) in [
        ("http://echo.example.test/", 200, ""),
        ("https://v4.example.test/", 200, ""),
        ("http://echo.example.test:8080/", 403, "no_rule_matches"),
        ("http://example.test/", 403, "no_rule_matches"),
        ("http://echo2.example.test/", 403, "denied_by_rule"),
        ("https://echo2.example.test/", 403, "denied_by_rule"),
        ("http://192.175.48.81:8080/", 200, ""),
        ("http://192.175.48.81/", 403, "no_rule_matches"),
        ("http://192.175.48.80:8080/", 403, "no_rule_matches"),
        ("http://[2620:4f:8000:1::81]:8080/", 200, ""),
        ("https://v6.example.test/", 403, "address_denied_by_rule"),
        ("http://v6.example.test/", 200, ""),
        ("http://nosuch.invalid/", 403, "no_rule_matches"),
    ] {
        let answer = client.fetch(&proxy, url, &["-insecure"]).await?;
        ensure!(
            answer.status == status,
            "{url}: {} {} {}",
            answer.status,
            answer.reason,
            answer.error
        );
        let code = answer.header("x-egressway-reason");
        ensure!(code == reason, "{url}: reason {code:?}");
        if status == 403 {
            ensure!(
                answer.reason.contains(&format!("{SHARED}/written")),
                "{url}: the reason phrase {:?} names no policy",
                answer.reason
            );
        }
    }
    cluster
        .patch_policy(SHARED, "written", json!({"spec": {"suspend": true}}))
        .await?;
    cluster
        .await_condition(SHARED, "written", "Programmed", "True", Duration::from_secs(20))
        .await?;
    let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(
        answer.status == 403 && answer.header("x-egressway-reason") == "policy_suspended",
        "suspended: {answer:?}"
    );
    cluster
        .patch_policy(SHARED, "written", json!({"spec": {"suspend": null}}))
        .await?;
    cluster
        .await_condition(SHARED, "written", "Ready", "True", Duration::from_secs(30))
        .await?;
    let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(answer.status == 200, "no longer suspended: {answer:?}");
    cluster.leave_policy(SHARED, "written").await
}
