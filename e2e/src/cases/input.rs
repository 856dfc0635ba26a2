//! Bad input is refused where it can be seen first, and a bad edit takes nothing away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{SHARED, own_on_batch, proxy_url, shared_batch};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, condition, describe};
use crate::fixtures;
use crate::wait::eventually;

pub(super) async fn crds_are_accepted(cluster: Cluster) -> Result<()> {
    for crd in ["egresspools.egressway.dev", "egresspolicies.egressway.dev"] {
        let conditions = cluster
            .kubectl(&[
                "get",
                "crd",
                crd,
                "-o",
                "jsonpath={range .status.conditions[*]}{.type}={.status} {end}",
            ])
            .await?;
        ensure!(conditions.contains("Established=True"), "{crd}: {conditions}");
        ensure!(
            !conditions.contains("NonStructuralSchema=True"),
            "{crd}: {conditions}"
        );
    }
    // The committed files say the same as what is installed.
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
    let answer = cluster
        .kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-f",
            yaml,
        ])
        .await?;
    ensure!(answer.lines().count() == 2, "{answer}");
    for (field, words) in [
        ("egresspolicy.spec.rules.hosts", "Punycode"),
        ("egresspool.spec.cells.addresses", "promised"),
        ("epol.status.egressIPs.state", "Verified"),
    ] {
        let explained = cluster.kubectl(&["explain", field]).await?;
        ensure!(explained.contains(words), "kubectl explain {field}: {explained}");
    }
    Ok(())
}

fn with_rule(rule: &Value) -> Value {
    fixtures::policy(SHARED, "bad", fixtures::BATCH, &json!([rule]))
}

pub(super) async fn refused_at_apply(cluster: Cluster) -> Result<()> {
    cluster.namespace(SHARED).await?;
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for (rule, words) in [
        (json!({"name": "a"}), "either hosts or cidrs"),
        (
            json!({"name": "a", "hosts": ["a.example"], "cidrs": ["192.175.48.0/24"]}),
            "either hosts or cidrs",
        ),
        (json!({"name": "a", "hosts": []}), "hosts"),
        (json!({"name": "a", "hosts": ["https://a.example"]}), "no scheme"),
        (json!({"name": "a", "hosts": ["a.example/path"]}), "hosts"),
        (
            json!({"name": "a", "hosts": ["a.example:443"]}),
            "ports go into ports",
        ),
        (json!({"name": "a", "hosts": ["A.example"]}), "lower case"),
        (json!({"name": "a", "hosts": ["a.example."]}), "no trailing dot"),
        (
            json!({"name": "a", "hosts": ["*a.example"]}),
            "*.example.com or *",
        ),
        (json!({"name": "a", "hosts": ["a.*.example"]}), "hosts"),
        (json!({"name": "a", "hosts": ["192.175.48.80"]}), "hosts"),
        (json!({"name": "a", "hosts": ["übersee.example"]}), "Punycode"),
        (json!({"name": "a", "hosts": ["bücher.example"]}), "hosts"),
        (json!({"name": "a", "cidrs": ["192.175.48.80"]}), "address range"),
        (json!({"name": "a", "cidrs": ["300.1.1.1/8"]}), "address range"),
        (
            json!({"name": "a", "hosts": ["a.example"], "ports": [{"port": 0}]}),
            "port",
        ),
        (
            json!({"name": "a", "hosts": ["a.example"], "ports": [{"port": 65536}]}),
            "port",
        ),
        (
            json!({"name": "a", "hosts": ["a.example"], "ports": [{"port": 90, "endPort": 80}]}),
            "endPort",
        ),
        (json!({"name": "a", "hosts": ["a.example"], "ports": []}), "ports"),
        (
            json!({"name": "a", "hosts": ["a.example"], "action": "allow"}),
            "action",
        ),
        (json!({"name": "A b", "hosts": ["a.example"]}), "name"),
        (json!({"hosts": ["a.example"]}), "name"),
        (json!({"name": "a", "host": ["a.example"]}), "host"),
    ] {
        cases.push((with_rule(&rule), words));
    }
    let twice = json!([{"name": "a", "hosts": ["a.example"]}, {"name": "a", "hosts": ["b.example"]}]);
    cases.push((
        fixtures::policy(SHARED, "bad", fixtures::BATCH, &twice),
        "uplicate",
    ));
    let patched = |path: &str, value: Value| {
        let mut policy = fixtures::policy(SHARED, "bad", fixtures::BATCH, &json!([]));
        policy["spec"][path] = value;
        policy
    };
    cases.push((patched("fleet", json!({"replicasPerCell": 0})), "replicasPerCell"));
    cases.push((patched("fleet", json!({"drain": "5 minutes"})), "drain"));
    cases.push((patched("fleet", json!({"drain": "2h"})), "duration"));
    cases.push((patched("suspend", json!("yes")), "suspend"));
    cases.push((patched("nope", json!(1)), "nope"));
    let pool = |path: &str, value: Value| {
        let mut pool = fixtures::pool("e2e-bad", &[("a", "batch", None, 30)]);
        pool["spec"][path] = value;
        pool
    };
    cases.push((pool("cells", json!([])), "cells"));
    cases.push((
        pool("cells", json!([{"name": "a", "nodeSelector": {}}])),
        "nodeSelector",
    ));
    cases.push((
        pool(
            "cells",
            json!([{"name": "a", "nodeSelector": {"a": "b"}, "addresses": [{"cidr": "192.31.196.1"}]}]),
        ),
        "address range",
    ));
    cases.push((
        pool(
            "cells",
            json!([{"name": "a", "nodeSelector": {"a": "b"}, "state": "Off"}]),
        ),
        "state",
    ));
    cases.push((pool("allowedNamespaces", json!({"from": "Names"})), "names"));
    cases.push((
        pool("allowedNamespaces", json!({"from": "All", "selector": {}})),
        "selector",
    ));
    cases.push((
        pool(
            "observation",
            json!({"observers": [{"name": "a", "url": "ftp://x/"}]}),
        ),
        "url",
    ));
    cases.push((
        pool(
            "observation",
            json!({"observers": [{"name": "a", "url": "http://x.example/"}], "quorum": 2}),
        ),
        "quorum",
    ));
    cases.push((
        pool(
            "observation",
            json!({"observers": [{"name": "a", "url": "http://x.example/"}], "interval": "1s"}),
        ),
        "duration",
    ));
    let mut accepted = Vec::new();
    for (manifest, words) in &cases {
        match cluster.apply(&manifest.to_string()).await {
            Ok(_) => accepted.push(format!("accepted: {manifest}")),
            Err(error) if !format!("{error:#}").contains(words) => {
                accepted.push(format!("says nothing of {words}: {error:#}"))
            }
            Err(_) => {}
        }
    }
    ensure!(
        accepted.is_empty(),
        "{} of {}: {}",
        accepted.len(),
        cases.len(),
        accepted.join("; ")
    );
    cluster.note(format!("{} manifests refused, each with its field", cases.len()));
    Ok(())
}

pub(super) async fn becomes_a_condition(cluster: Cluster) -> Result<()> {
    shared_batch(&cluster).await?;
    let mut walled = fixtures::pool("e2e-walled", &[("batch", "batch", None, 30)]);
    walled["spec"]["allowedNamespaces"] = json!({"from": "Names", "names": ["somebody-else"]});
    cluster.apply(&walled.to_string()).await?;
    for (name, pool, rules, reason, words) in [
        (
            "no-pool",
            "nosuch",
            fixtures::allow_echo(),
            "PoolNotFound",
            "nosuch",
        ),
        (
            "not-allowed",
            "e2e-walled",
            fixtures::allow_echo(),
            "NamespaceNotAllowed",
            SHARED,
        ),
        (
            "host-bits",
            fixtures::BATCH,
            json!([{"name": "net", "cidrs": ["192.175.48.1/24"]}]),
            "InvalidRule",
            "192.175.48.0/24",
        ),
        (
            "hex",
            fixtures::BATCH,
            json!([{"name": "hex", "hosts": ["a.0x7f"]}]),
            "InvalidRule",
            "hex",
        ),
    ] {
        match cluster
            .apply(&fixtures::policy(SHARED, name, pool, &rules).to_string())
            .await
        {
            // Seen even earlier: as good.
            Err(_) if name == "hex" => continue,
            other => other?,
        };
        let policy = cluster
            .await_condition(SHARED, name, "Accepted", "False", Duration::from_secs(15))
            .await?;
        let accepted = condition(&policy, "Accepted").context("no condition")?;
        ensure!(
            accepted.reason == reason && accepted.message.contains(words),
            "{name}: {}",
            describe(&policy)
        );
        let ready = condition(&policy, "Ready").context("no Ready")?;
        ensure!(ready.status == "False", "{name}: {}", describe(&policy));
        ensure!(
            cluster.fleet_pods(SHARED, name).await?.is_empty(),
            "{name} got pods"
        );
        cluster
            .kubectl(&["delete", "egresspolicy", "-n", SHARED, name, "--timeout=30s"])
            .await?;
    }
    cluster
        .kubectl(&["delete", "egresspool", "e2e-walled", "--timeout=30s"])
        .await?;
    let moved = cluster
        .patch_policy(
            SHARED,
            "batch",
            json!({"spec": {"poolRef": {"name": fixtures::EDGE}}}),
        )
        .await;
    ensure!(
        moved.is_err_and(|e| e.to_string().contains("immutable")),
        "poolRef could be changed"
    );
    Ok(())
}

pub(super) async fn bad_edit_keeps_last_good(cluster: Cluster) -> Result<()> {
    let policy = own_on_batch(&cluster, "edited").await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    let proxy = proxy_url(&policy)?;
    client.finds(&proxy).await?;
    let before = policy
        .status
        .as_ref()
        .and_then(|s| s.config.clone())
        .context("no config")?;
    let bad = json!([{"name": "net", "cidrs": ["192.175.48.1/24"]}]);
    cluster
        .patch_policy(SHARED, "edited", json!({"spec": {"rules": bad}}))
        .await?;
    let policy = cluster
        .await_condition(SHARED, "edited", "Accepted", "False", Duration::from_secs(15))
        .await?;
    let message = condition(&policy, "Accepted")
        .map(|c| c.message.clone())
        .unwrap_or_default();
    ensure!(
        message.contains("192.175.48.0/24") && message.contains("force"),
        "{message}"
    );
    let config = policy
        .status
        .as_ref()
        .and_then(|s| s.config.clone())
        .context("no config")?;
    ensure!(
        config.hash == before.hash && config.generation == before.generation,
        "{before:?} became {config:?}"
    );
    let answer = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(
        answer.status == 200,
        "the last good ACL is not in force: {answer:?}"
    );
    cluster
        .patch_policy(
            SHARED,
            "edited",
            json!({"spec": {"rules": fixtures::allow_echo()}}),
        )
        .await?;
    cluster
        .await_condition(SHARED, "edited", "Ready", "True", Duration::from_secs(30))
        .await?;
    eventually("Accepted=True", Duration::from_secs(10), || async {
        let policy = cluster.policies(SHARED).get("edited").await?;
        Ok(
            if condition(&policy, "Accepted").is_some_and(|c| c.status == "True") {
                Ok(())
            } else {
                Err(describe(&policy))
            },
        )
    })
    .await?;
    cluster.leave_policy(SHARED, "edited").await
}
