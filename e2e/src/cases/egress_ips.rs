//! The claim of the project: the egress IPs in status are the addresses that servers outside saw.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egressway_crds::EgressPolicy;

use super::{SHARED, proxy_url, shared, shared_edge, shared_general};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, condition, describe};
use crate::fixtures::{self, INTERVAL_SECONDS};
use crate::wait::eventually;

/// What the pool with two cells promises: one address of each family for a cell.
pub(super) const PROMISED: [&str; 4] = [
    "192.31.196.10",
    "2620:4f:8000:2::10",
    "192.31.196.20",
    "2620:4f:8000:2::20",
];

/// What the pool on the general node promises.
pub(super) const PROMISED_GENERAL: [&str; 2] = ["192.31.196.1", "2620:4f:8000:2::1"];

/// Long enough for an address to leave the observation window (three rounds) and for status to say so.
pub(super) const SETTLE: Duration = Duration::from_secs(INTERVAL_SECONDS * 6 + 15);

pub(super) fn in_state(policy: &EgressPolicy, states: &[&str]) -> BTreeSet<IpAddr> {
    let entries = policy.status.iter().flat_map(|s| &s.egress_ips);
    entries
        .filter(|e| states.contains(&e.state.as_str()))
        .filter_map(|e| e.ip.parse().ok())
        .collect()
}

pub(super) fn unexpected(policy: &EgressPolicy) -> BTreeSet<IpAddr> {
    policy
        .status
        .iter()
        .flat_map(|s| &s.unexpected_ips)
        .filter_map(|e| e.ip.parse().ok())
        .collect()
}

pub(super) fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().filter_map(|a| a.parse().ok()).collect()
}

/// Waits until exactly these addresses are Verified and none is unexpected.
pub(super) async fn await_verified(
    cluster: &Cluster,
    name: &str,
    addresses: &[&str],
) -> Result<EgressPolicy> {
    let api = cluster.policies(SHARED);
    eventually(
        &format!("{addresses:?} to be all that is Verified of {name}"),
        SETTLE,
        || async {
            let policy = api.get(name).await?;
            let found = in_state(&policy, &["Verified"]);
            let clean = unexpected(&policy).is_empty();
            let serving = condition(&policy, "EgressIPsVerified").is_some_and(|c| c.status == "True");
            Ok(if found == set(addresses) && clean && serving {
                Ok(policy)
            } else {
                Err(format!(
                    "Verified {found:?}, unexpected {:?}, {}",
                    unexpected(&policy),
                    describe(&policy)
                ))
            })
        },
    )
    .await
}

/// Traffic through every pod of a policy, both families; returns what the echo servers saw.
async fn seen_outside(
    cluster: &Cluster,
    client: &ClientPod,
    name: &str,
    count: &str,
) -> Result<BTreeSet<IpAddr>> {
    let lab = cluster.lab()?;
    let since = lab.mark().await?;
    // Others ask the same servers at the same time, by other paths.
    let path = format!("/seen-of-{name}-{since}");
    for pod in cluster.fleet_pods(SHARED, name).await? {
        let ip = pod
            .status
            .and_then(|s| s.pod_ip)
            .context("a fleet pod has no IP")?;
        for host in ["v4.example.test", "v6.example.test"] {
            let proxy = format!("http://{ip}:4750");
            let answers = client
                .many(
                    &proxy,
                    &format!("http://{host}{path}"),
                    // Tunnels: a forwarded request may go over a connection that is kept, from the address it has.
                    &["-tunnel", "-count", count, "-gap", "1ms"],
                )
                .await?;
            for answer in answers {
                ensure!(
                    answer.status == 200,
                    "{host} through {ip}: {} {} {}",
                    answer.status,
                    answer.reason,
                    answer.error
                );
            }
        }
    }
    lab.sources(since, &path).await
}

pub(super) async fn verified_is_what_was_seen(cluster: Cluster) -> Result<()> {
    shared(&cluster).await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    for (name, addresses) in [
        ("edge", &PROMISED[..]),
        ("batch", &["192.31.196.30", "2620:4f:8000:2::30"][..]),
    ] {
        let policy = await_verified(&cluster, name, addresses).await?;
        let outside = seen_outside(&cluster, &client, name, "3").await?;
        ensure!(
            outside == in_state(&policy, &["Verified"]),
            "{name}: the outside saw {outside:?}, status says {:?}",
            in_state(&policy, &["Verified"])
        );
        for entry in &policy.status.as_ref().context("no status")?.egress_ips {
            let cell = match entry.ip.rsplit([':', '.']).next() {
                Some("10") => "edge-a",
                Some("20") => "edge-b",
                _ => "batch",
            };
            ensure!(entry.cell == cell, "{} stands under {}", entry.ip, entry.cell);
        }
        // And through the Service, as clients do it, with TLS inside.
        let proxy = proxy_url(&policy)?;
        client.finds(&proxy).await?;
        let answer = client
            .fetch(&proxy, "https://echo.example.test/", &["-insecure"])
            .await?;
        ensure!(answer.status == 200, "through the Service: {answer:?}");
        ensure!(
            outside.contains(&answer.body.trim().parse()?),
            "the echo answered {}",
            answer.body
        );
    }
    Ok(())
}

pub(super) async fn three_addresses(cluster: Cluster) -> Result<()> {
    shared_general(&cluster).await?;
    let (lab, client) = (
        cluster.lab()?,
        ClientPod::start(&cluster, SHARED, "client").await?,
    );
    let addresses = [
        "192.31.196.1",
        "192.31.196.2",
        "192.31.196.3",
        "2620:4f:8000:2::1",
        "2620:4f:8000:2::2",
        "2620:4f:8000:2::3",
    ];
    let declare = |addresses: &[&str]| {
        let cidrs: Vec<_> = addresses
            .iter()
            .map(|a| serde_json::json!({"cidr": format!("{a}/{}", if a.contains(':') { 128 } else { 32 })}))
            .collect();
        let mut pool = fixtures::general();
        pool["spec"]["cells"][0]["addresses"] = cidrs.into();
        pool
    };
    cluster.apply(&declare(&addresses).to_string()).await?;
    lab.nat("general", &addresses).await?;
    let result = async {
        let policy = await_verified(&cluster, "general", &addresses).await?;
        let outside = seen_outside(&cluster, &client, "general", "12").await?;
        ensure!(
            outside == in_state(&policy, &["Verified"]),
            "the outside saw {outside:?}"
        );
        Ok(())
    }
    .await;
    lab.nat("general", &["reset"]).await?;
    cluster.apply(&declare(&PROMISED_GENERAL).to_string()).await?;
    result?;
    await_verified(&cluster, "general", &PROMISED_GENERAL)
        .await
        .map(|_| ())
}

pub(super) async fn changed_nat(cluster: Cluster) -> Result<()> {
    shared_edge(&cluster).await?;
    let (lab, client) = (
        cluster.lab()?,
        ClientPod::start(&cluster, SHARED, "client").await?,
    );
    let policy = await_verified(&cluster, "edge", &PROMISED).await?;
    let pods = cluster.fleet_pods(SHARED, "edge").await?;
    let cell = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.metadata
            .labels
            .as_ref()
            .and_then(|l| l.get("egressway.dev/cell").cloned())
    };
    let drifted = pods
        .iter()
        .find(|p| cell(p).as_deref() == Some("edge-a"))
        .context("no pod in edge-a")?;
    let pod_name = drifted.metadata.name.clone().context("a pod without a name")?;
    let pod_ip = drifted
        .status
        .as_ref()
        .and_then(|s| s.pod_ip.clone())
        .context("a pod without an IP")?;

    // Past the bound on the last request from the new address, by a few more of the Service's.
    let seconds = (INTERVAL_SECONDS * 3 + 5).to_string();
    let (service, direct) = (proxy_url(&policy)?, format!("http://{pod_ip}:4750"));
    // Tunnels: a forwarded request may go over a connection that is kept, which leaves from where it always did.
    let gap = ["-tunnel", "-seconds", seconds.as_str(), "-gap", "50ms"];
    let since = lab.mark().await?;
    let change = async {
        tokio::time::sleep(Duration::from_secs(3)).await; // traffic first flows from the promised address
        lab.nat("edge-a", &["192.31.196.110", "2620:4f:8000:2::110"])
            .await?;
        lab.mark().await
    };
    let (service_answers, direct_answers, changed) = tokio::try_join!(
        client.many(&service, "http://v4.example.test/", &gap),
        client.many(&direct, "http://v4.example.test/", &gap),
        change
    )?;
    let result = async {
        let new: IpAddr = "192.31.196.110".parse()?;
        let log = lab.echo_log(since).await?;
        let late = changed + i64::try_from(INTERVAL_SECONDS * 1000 + 5000)?;
        let last = log.iter().filter(|s| s.source == new).map(|s| s.time_ms).max();
        ensure!(
            last.is_none_or(|last| last <= late),
            "a request left from {new} {} ms after the change",
            last.unwrap_or(0) - changed
        );
        let quarantined = direct_answers.last().context("no answers")?;
        ensure!(
            quarantined.status == 503,
            "the drifted pod answers {} {}",
            quarantined.status,
            quarantined.reason
        );
        let after = service_answers
            .iter()
            .filter(|a| a.time_ms > late)
            .collect::<Vec<_>>();
        ensure!(
            !after.is_empty() && after.iter().all(|a| a.status == 200),
            "the Service does not go on with the other cell: {:?}",
            after.iter().find(|a| a.status != 200)
        );
        let now = cluster.policies(SHARED).get("edge").await?;
        ensure!(
            unexpected(&now) == set(&["192.31.196.110", "2620:4f:8000:2::110"]),
            "unexpectedIPs: {:?}",
            unexpected(&now)
        );
        let listed: BTreeSet<IpAddr> = now
            .status
            .iter()
            .flat_map(|s| &s.egress_ips)
            .filter_map(|e| e.ip.parse().ok())
            .collect();
        ensure!(listed == set(&PROMISED), "egressIPs: {listed:?}");
        let verified = condition(&now, "EgressIPsVerified").context("no condition")?;
        ensure!(verified.status == "False", "{}", describe(&now));
        let node = drifted
            .spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .unwrap_or_default();
        for word in [pod_name.as_str(), node.as_str(), "192.31.196.110"] {
            ensure!(
                verified.message.contains(word),
                "{:?} does not name {word}",
                verified.message
            );
        }
        cluster.note(format!(
            "last request from the new address {} ms after the change (interval {INTERVAL_SECONDS} s)",
            last.map_or(0, |l| l - changed)
        ));
        Ok(())
    }
    .await;
    lab.nat("edge-a", &["reset"]).await?;
    result?;
    await_verified(&cluster, "edge", &PROMISED).await?;
    cluster
        .await_condition(SHARED, "edge", "Ready", "True", SETTLE)
        .await
        .map(|_| ())
}
