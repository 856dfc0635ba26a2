//! Observers are believed by quorum, and nothing that befalls them takes a pod down. The observers are those of a pool of
//! its own, so that other cases can go on with theirs.

use anyhow::{Result, ensure};
use egressway_crds::EgressPolicy;

use super::egress_ips::{PROMISED_GENERAL as PROMISED, SETTLE, await_verified, in_state, set, unexpected};
use super::{SHARED, proxy_url, shared_general};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, condition, describe};
use crate::fixtures::INTERVAL_SECONDS;
use crate::wait::eventually;

/// The shared policy `general` with nothing but what is promised and nothing under way.
async fn at_rest(cluster: &Cluster) -> Result<EgressPolicy> {
    shared_general(cluster).await?;
    await_verified(cluster, "general", &PROMISED).await?;
    cluster
        .await_condition(SHARED, "general", "Progressing", "False", SETTLE)
        .await
}

pub(super) async fn lying(cluster: Cluster) -> Result<()> {
    let before = at_rest(&cluster).await?;
    let lab = cluster.lab()?;
    lab.run(&["observer", "six", "lie", "192.31.196.66,2620:4f:8000:2::66"])
        .await?;
    let api = cluster.policies(SHARED);
    let result = eventually("the lie to show in unexpectedIPs only", SETTLE, || async {
        let policy = api.get("general").await?;
        let liar = unexpected(&policy);
        let entry = policy.status.iter().flat_map(|s| &s.unexpected_ips).next();
        let named = entry.is_some_and(|e| e.observers == ["six"] && !e.confirmed);
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
            lab.run(&["observer", "six", "honest"]).await?;
            return Err(error);
        }
    };
    lab.run(&["observer", "six", "honest"]).await?;
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
        in_state(&during, &["Verified"]) == set(&PROMISED),
        "egressIPs moved"
    );
    await_verified(&cluster, "general", &PROMISED).await.map(|_| ())
}

pub(super) async fn dead(cluster: Cluster) -> Result<()> {
    let policy = at_rest(&cluster).await?;
    let (lab, client) = (
        cluster.lab()?,
        ClientPod::start(&cluster, SHARED, "client").await?,
    );
    for observer in ["four", "five", "six"] {
        lab.run(&["observer", observer, "stop"]).await?;
    }
    let (proxy, url) = (proxy_url(&policy)?, "http://v4.example.test/");
    let result = async {
        let requests = client.requests(5, &proxy, url, &[])?;
        let serving = async || {
            let policy = cluster.policies(SHARED).get("general").await?;
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
    for observer in ["four", "five", "six"] {
        lab.run(&["observer", observer, "honest"]).await?;
    }
    result?;
    await_verified(&cluster, "general", &PROMISED).await.map(|_| ())
}
