//! A pool in use, from its tenant's side: deleted by accident it is protected, deleted on purpose it takes nothing away. The
//! policy's name begins with a digit, which a Service's may not everywhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{SHARED, proxy_url};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, condition, describe};
use crate::fixtures;
use crate::wait::eventually;

const POOL: &str = "e2e-in-use";
const POLICY: &str = "2fa-hooks";

pub(super) async fn in_use_is_protected(cluster: Cluster) -> Result<()> {
    let pool = fixtures::pool(POOL, &[("batch", "batch", None, 30)]);
    cluster.apply(&pool.to_string()).await?;
    // A typo in the pool's name can be corrected: the policy was never accepted.
    let typo = fixtures::policy(SHARED, POLICY, "e2e-in-usr", &fixtures::allow_echo());
    cluster.apply(&typo.to_string()).await?;
    let refused = cluster
        .await_condition(SHARED, POLICY, "Accepted", "False", Duration::from_secs(15))
        .await?;
    ensure!(
        describe(&refused).contains("PoolNotFound"),
        "{}",
        describe(&refused)
    );
    cluster
        .patch_policy(SHARED, POLICY, json!({"spec": {"poolRef": {"name": POOL}}}))
        .await?;
    let policy = cluster
        .await_condition(SHARED, POLICY, "Ready", "True", Duration::from_secs(60))
        .await?;
    let proxy = proxy_url(&policy)?;
    ensure!(proxy.contains("//p2fa-hooks-"), "{proxy}");
    let client = ClientPod::start(&cluster, SHARED, "in-use").await?;
    client.finds(&proxy).await?;

    eventually(
        "the pool to count its policy",
        Duration::from_secs(20),
        || async {
            let pool = cluster.pools().get(POOL).await?;
            let count = pool.status.map_or(0, |status| status.policies);
            Ok(if count == 1 {
                Ok(())
            } else {
                Err(format!("{count} policies"))
            })
        },
    )
    .await?;
    let denied = cluster
        .kubectl(&["delete", "egresspool", POOL, "--timeout=10s"])
        .await;
    ensure!(
        denied.is_err_and(|error| error.to_string().contains("egressway.dev/allow-deletion")),
        "a pool in use was deleted without a word"
    );
    cluster
        .kubectl(&[
            "annotate",
            "egresspool",
            POOL,
            "egressway.dev/allow-deletion=true",
        ])
        .await?;
    cluster
        .kubectl(&["delete", "egresspool", POOL, "--timeout=10s"])
        .await?;
    let gone = cluster
        .await_condition(SHARED, POLICY, "Programmed", "False", Duration::from_secs(15))
        .await?;
    let accepted = condition(&gone, "Accepted").context("no condition")?;
    ensure!(accepted.reason == "PoolNotFound", "{}", describe(&gone));
    ensure!(
        condition(&gone, "Ready").is_some_and(|ready| ready.status == "True"),
        "{}",
        describe(&gone)
    );
    for _ in 0..10 {
        let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
        ensure!(
            answer.status == 200,
            "the deletion took something away: {answer:?}"
        );
    }
    // Nothing new is accepted, and a pipeline that waits is not told that it is.
    cluster
        .patch_policy(SHARED, POLICY, json!({"spec": {"rules": []}}))
        .await?;
    let wait = format!("egresspolicy/{POLICY}");
    for kind in ["Ready", "Programmed"] {
        let met = cluster
            .kubectl(&[
                "wait",
                &format!("--for=condition={kind}"),
                "-n",
                SHARED,
                &wait,
                "--timeout=3s",
            ])
            .await;
        ensure!(met.is_err(), "a wait for {kind} ended with a refused generation");
    }
    let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(answer.status == 200, "{answer:?}");
    cluster.apply(&pool.to_string()).await?;
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "-n",
            SHARED,
            &wait,
            "--timeout=30s",
        ])
        .await?;
    let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(
        answer.status == 403,
        "what was edited meanwhile is in force now: {answer:?}"
    );
    cluster
        .kubectl(&["delete", "egresspolicy", "-n", SHARED, POLICY, "--timeout=60s"])
        .await?;
    cluster
        .kubectl(&[
            "annotate",
            "egresspool",
            POOL,
            "egressway.dev/allow-deletion=true",
        ])
        .await?;
    cluster
        .kubectl(&["delete", "egresspool", POOL, "--timeout=10s"])
        .await?;
    Ok(())
}
