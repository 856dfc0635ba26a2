//! The ACL does what the policy says, and a change is in force soon.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{SHARED, own_on_batch, proxy_url};
use crate::client_pod::{Answer, ClientPod};
use crate::cluster::{Cluster, condition};
use crate::fixtures;

/// Changes measured; the figures of docs/measurements.md are of this many.
const CHANGES: usize = 50;
/// Between two changes. A kubelet syncs a pod at most once per relist of its containers (1 s), so changes on each
/// other's heels measure that second; EGRESSWAY_E2E_PACE=0 does.
const PACE: Duration = Duration::from_millis(1300);
/// Namespace of the fleet that is changed.
const TENANT: &str = "e2e-changes";

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

/// One answer of one pod.
struct Sample {
    pod: String,
    answer: Answer,
}

pub(super) async fn latency(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(TENANT).await?;
    cluster.apply(&fixtures::edge().to_string()).await?;
    let mut policy = fixtures::policy(TENANT, "changing", fixtures::EDGE, &fixtures::allow_echo());
    policy["spec"]["fleet"]["replicasPerCell"] = json!(4);
    cluster.apply(&policy.to_string()).await?;
    cluster
        .await_condition(TENANT, "changing", "Ready", "True", Duration::from_secs(120))
        .await?;
    let pods = crate::wait::eventually("8 serving pods", Duration::from_secs(120), || async {
        let policy = cluster.policies(TENANT).get("changing").await?;
        let status = policy.status.unwrap_or_default();
        Ok(
            if status.ready_replicas == 8 && status.pods.iter().filter(|p| p.phase == "Serving").count() == 8
            {
                Ok(())
            } else {
                Err(format!("{} ready", status.ready_replicas))
            },
        )
    })
    .await
    .and(cluster.fleet_pods(TENANT, "changing").await)?;
    // A pod of its own: its loops end with it, not with the kubectl that started them.
    let client = ClientPod::start(&cluster, TENANT, "looping").await?;

    let (send, mut samples) = mpsc::unbounded_channel();
    let mut loops = JoinSet::new();
    let mut names = Vec::new();
    for pod in pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let (name, ip) = (
            pod.metadata.name.clone().context("no name")?,
            pod.status
                .as_ref()
                .and_then(|s| s.pod_ip.clone())
                .context("no IP")?,
        );
        names.push(name.clone());
        let mut child = client
            .command(&[
                "loop",
                "--proxy",
                &format!("http://{ip}:4750"),
                "-seconds",
                "600",
                "-gap",
                "50ms",
                "http://v4.example.test/",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let (lines, send) = (child.stdout.take().context("no stdout")?, send.clone());
        loops.spawn(async move {
            let mut lines = BufReader::new(lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(answer) = serde_json::from_str(&line) {
                    let _ = send.send(Sample {
                        pod: name.clone(),
                        answer,
                    });
                }
            }
            drop(child);
        });
    }
    ensure!(names.len() == 8, "8 pods, found {}", names.len());

    let api = cluster.policies(TENANT);
    let mut policies = watcher(
        api.clone(),
        watcher::Config::default().fields("metadata.name=changing"),
    )
    .applied_objects()
    .boxed();
    let (mut enforced, mut programmed) = (Vec::new(), Vec::new());
    let pace = if std::env::var("EGRESSWAY_E2E_PACE").is_ok_and(|pace| pace == "0") {
        Duration::ZERO
    } else {
        PACE
    };
    for change in 0..CHANGES {
        tokio::time::sleep(pace).await;
        let deny = change % 2 == 0;
        let action = if deny { "Deny" } else { "Allow" };
        let rules = json!([{"name": "echo", "action": action, "hosts": ["*.example.test"], "ports": [{"port": 80}, {"port": 443}]}]);
        let applied = cluster
            .patch_policy(TENANT, "changing", json!({"spec": {"rules": rules}}))
            .await?;
        let (start, start_ms) = (Instant::now(), unix_ms());
        let generation = applied.metadata.generation.context("no generation")?;
        let wanted = if deny { 403 } else { 200 };
        // The last answer of each pod that was still the old one, and the first new one after it.
        let everywhere = async {
            let mut since: BTreeMap<String, i64> = BTreeMap::new();
            while since.len() < names.len() {
                let Sample { pod, answer } = samples.recv().await.context("the loops ended")?;
                if answer.time_ms < start_ms {
                    continue;
                }
                if answer.status == wanted {
                    since.entry(pod).or_insert(answer.time_ms - start_ms);
                } else {
                    since.remove(&pod);
                }
            }
            since.values().copied().max().context("no pods")
        };
        let in_status = async {
            loop {
                let policy = policies.next().await.context("the watch ended")??;
                let config = policy.status.as_ref().and_then(|s| s.config.as_ref());
                let in_force = config.is_some_and(|c| c.generation == generation);
                if in_force && condition(&policy, "Programmed").is_some_and(|c| c.status == "True") {
                    return anyhow::Ok(start.elapsed());
                }
            }
        };
        let (all_pods, status) = timeout(Duration::from_secs(30), async {
            tokio::try_join!(everywhere, in_status)
        })
        .await
        .with_context(|| format!("change {change} was not in force after 30 s"))??;
        enforced.push(Duration::from_millis(u64::try_from(all_pods)?));
        programmed.push(status);
    }
    loops.abort_all();
    client.delete().await?;
    for (what, times) in [
        ("every pod enforces", &mut enforced),
        ("Programmed=True", &mut programmed),
    ] {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
        cluster.note(format!(
            "{what}: p50 {} ms, p95 {} ms, max {} ms over {} changes, 8 pods",
            at(50),
            at(95),
            at(100),
            times.len()
        ));
    }
    // The aim is 1 s and 2 s; a shared machine may miss it for once, so the test's bar is what would mean that the
    // bump does not work (a kubelet left alone takes 60 to 90 s).
    ensure!(
        enforced.last().is_some_and(|t| *t < Duration::from_secs(10)),
        "slowest: {enforced:?}"
    );
    cluster.leave_namespace(TENANT).await
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
