//! Observers are believed by quorum, and nothing that befalls them takes a pod down.

use anyhow::{Result, ensure};
use egressway_crds::EgressPolicy;

use super::egress_ips::{PROMISED, SETTLE, await_verified, in_state, set, unexpected};
use super::{SHARED, proxy_url, shared_batch, shared_edge};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, condition, describe};
use crate::fixtures::INTERVAL_SECONDS;
use crate::wait::eventually;

pub(super) async fn lying(cluster: Cluster) -> Result<()> {
    shared_batch(&cluster).await?;
    let lab = cluster.lab()?;
    let promised = ["192.31.196.30", "2620:4f:8000:2::30"];
    let before = await_verified(&cluster, "batch", &promised).await?;
    lab.run(&["observer", "three", "lie", "192.31.196.66,2620:4f:8000:2::66"])
        .await?;
    let api = cluster.policies(SHARED);
    let result = eventually("the lie to show in unexpectedIPs only", SETTLE, || async {
        let policy = api.get("batch").await?;
        let liar = unexpected(&policy);
        let entry = policy.status.iter().flat_map(|s| &s.unexpected_ips).next();
        let named = entry.is_some_and(|e| e.observers == ["three"] && !e.confirmed);
        Ok(
            if !liar.is_empty() && liar.is_subset(&set(&["192.31.196.66", "2620:4f:8000:2::66"])) && named {
                Ok(policy)
            } else {
                Err(format!("{liar:?}"))
            },
        )
    })
    .await;
    let during = match result {
        Ok(policy) => policy,
        Err(error) => {
            lab.run(&["observer", "three", "honest"]).await?;
            return Err(error);
        }
    };
    lab.run(&["observer", "three", "honest"]).await?;
    let conditions = |p: &EgressPolicy| -> Vec<(String, String)> {
        p.status
            .iter()
            .flat_map(|s| &s.conditions)
            .map(|c| (c.type_.clone(), c.status.clone()))
            .collect()
    };
    ensure!(
        conditions(&before) == conditions(&during),
        "conditions moved: {}",
        describe(&during)
    );
    ensure!(
        in_state(&during, &["Verified"]) == set(&promised),
        "egressIPs moved"
    );
    await_verified(&cluster, "batch", &promised).await.map(|_| ())
}

pub(super) async fn dead(cluster: Cluster) -> Result<()> {
    let policy = shared_edge(&cluster).await?;
    let (lab, client) = (
        cluster.lab()?,
        ClientPod::start(&cluster, SHARED, "client").await?,
    );
    await_verified(&cluster, "edge", &PROMISED).await?;
    for observer in ["one", "two", "three"] {
        lab.run(&["observer", observer, "stop"]).await?;
    }
    let (proxy, url) = (proxy_url(&policy)?, "http://v4.example.test/");
    let result = async {
        let requests = client.requests(5, &proxy, url, &[])?;
        let serving = async || {
            let policy = cluster.policies(SHARED).get("edge").await?;
            let status = |kind: &str| {
                condition(&policy, kind)
                    .map(|c| c.status.clone())
                    .unwrap_or_default()
            };
            Ok(
                if status("EgressIPsVerified") == "Unknown" && status("Ready") == "True" {
                    Ok(())
                } else {
                    Err(describe(&policy))
                },
            )
        };
        eventually(
            "EgressIPsVerified=Unknown with the pods still serving",
            SETTLE,
            &serving,
        )
        .await?;
        // And it stays so: one more round finds nobody.
        let seconds = INTERVAL_SECONDS.to_string();
        client
            .many(&proxy, url, &["-seconds", &seconds, "-gap", "200ms"])
            .await?;
        let still: Result<Result<(), String>> = serving().await;
        still?.map_err(|seen| anyhow::anyhow!("with dead observers for longer: {seen}"))?;
        requests.stop("with dead observers").await
    }
    .await;
    for observer in ["one", "two", "three"] {
        lab.run(&["observer", observer, "honest"]).await?;
    }
    result?;
    await_verified(&cluster, "edge", &PROMISED).await.map(|_| ())
}
