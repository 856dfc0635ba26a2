//! What a client must never reach through the proxy, tried from a client pod against a policy that allows everything.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use super::{SHARED, proxy_url, ready};
use crate::client_pod::ClientPod;
use crate::cluster::Cluster;
use crate::fixtures;
use crate::wait::eventually;

/// Path of the request that ends a search of the log.
const MARKER: &str = "/nothing-before-this";
/// So long the servers outside may take to write it down.
const LOGGED: Duration = Duration::from_secs(10);

/// A policy on the batch pool that allows every name and every address on every port.
async fn open_policy(cluster: &Cluster, name: &str) -> Result<String> {
    cluster.namespace(SHARED).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    let every_port = json!([{"port": 1, "endPort": 65535}]);
    let rules = json!([
        {"name": "names", "hosts": ["*"], "ports": every_port},
        {"name": "addresses", "cidrs": ["0.0.0.0/0", "::/0"], "ports": every_port},
    ]);
    proxy_url(&ready(cluster, SHARED, name, fixtures::BATCH, &rules).await?)
}

/// The cluster's own addresses: every Service, pod and node, whatever the family.
async fn cluster_addresses(cluster: &Cluster) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let all = ListParams::default();
    for service in Api::<Service>::all(cluster.client.clone()).list(&all).await? {
        found.extend(
            service
                .spec
                .and_then(|s| s.cluster_ips)
                .unwrap_or_default()
                .into_iter()
                .filter(|ip| ip != "None"),
        );
    }
    for pod in Api::<Pod>::all(cluster.client.clone()).list(&all).await? {
        found.extend(
            pod.status
                .and_then(|s| s.pod_ips)
                .unwrap_or_default()
                .into_iter()
                .map(|ip| ip.ip),
        );
    }
    for node in Api::<Node>::all(cluster.client.clone()).list(&all).await? {
        let addresses = node.status.and_then(|s| s.addresses).unwrap_or_default();
        found.extend(
            addresses
                .into_iter()
                .map(|a| a.address)
                .filter(|a| a.parse::<std::net::IpAddr>().is_ok()),
        );
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

pub(super) async fn refused(cluster: Cluster) -> Result<()> {
    let proxy = open_policy(&cluster, "open").await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    client.finds(&proxy).await?;
    let lab = cluster.lab()?;
    let control = client.fetch(&proxy, "http://echo.example.test/", &[]).await?;
    ensure!(control.status == 200, "the control case must pass: {control:?}");

    let mut targets: Vec<(String, &str)> = cluster_addresses(&cluster)
        .await?
        .into_iter()
        .map(|ip| (ip, "403"))
        .collect();
    ensure!(targets.len() > 20, "the cluster has addresses: {}", targets.len());
    targets.push(("10.10.0.2".to_owned(), "403")); // the API server's own address
    for (target, status) in [
        ("127.0.0.1", "403"),
        ("127.8.8.8", "403"),
        ("0.0.0.0", "403"),
        ("::1", "403"),
        ("::", "403"),
        ("::ffff:127.0.0.1", "403"),
        ("169.254.169.254", "403"),
        ("fe80::1", "403"),
        ("fd00:ec2::254", "403"),
        ("168.63.129.16", "403"),
        ("100.100.100.200", "403"),
        ("10.0.0.1", "403"),
        ("172.16.0.1", "403"),
        ("192.168.1.1", "403"),
        ("100.64.0.1", "403"),
        ("fd12:3456::1", "403"),
        ("192.0.2.1", "403"),
        ("198.51.100.1", "403"),
        ("203.0.113.1", "403"),
        ("198.18.0.1", "403"),
        ("192.88.99.1", "403"),
        ("224.0.0.1", "403"),
        ("240.0.0.1", "403"),
        ("255.255.255.255", "403"),
        ("64:ff9b::10.0.0.1", "403"),
        ("64:ff9b:1::1", "403"),
        ("2002:7f00:1::", "403"),
        ("2001::1", "403"),
        ("2001:db8::1", "403"),
        ("3fff::1", "403"),
        ("5f00::1", "403"),
        ("fec0::1", "403"),
        ("ff02::1", "403"),
        ("::127.0.0.1", "403"),
        ("::ffff:0:127.0.0.1", "403"),
        ("2620:4f:8000:1::5efe:10.0.0.1", "403"),
        ("2130706433", "400"),
        ("0x7f000001", "400"),
        ("0177.0.0.1", "400"),
        ("127.1", "400"),
        ("0x7f.1", "400"),
        ("1.2.3.4.5", "400"),
        ("localhost", "403"),
        ("kubernetes", "403"),
        ("kubernetes.default.svc", "403"),
        ("kubernetes.default.svc.cluster.local", "403"),
        ("kube-dns.kube-system.svc.cluster.local.", "403"),
        ("metadata.google.internal", "403"),
        ("KUBERNETES.DEFAULT.SVC", "403"),
    ] {
        targets.push((target.to_owned(), status));
    }
    // Names that lead there, alone and mixed with a good address in both orders of family.
    for (n, address) in [
        "127.0.0.1",
        "10.96.0.1",
        "169.254.169.254",
        "10.10.0.11",
        "::1",
        "fd10:96::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("evil{n}.example.test");
        lab.run(&["dns", "set", &name, address]).await?;
        targets.push((name, "403"));
    }
    let since = lab.mark().await?;
    let mut asked = Vec::new();
    for (target, status) in &targets {
        let host = if target.contains(':') {
            format!("[{target}]")
        } else {
            target.clone()
        };
        for port in [80, 443] {
            asked.push((format!("http://{host}:{port}/"), status));
        }
    }
    let urls: Vec<&str> = asked.iter().map(|(url, _)| url.as_str()).collect();
    let mut wrong = Vec::new();
    for (how, extra) in [
        ("", &["-timeout", "5s"][..]),
        (" by CONNECT", &["-timeout", "5s", "-tunnel"][..]),
    ] {
        let answers = client.fetch_each(&proxy, &urls, extra).await?;
        for ((url, status), answer) in asked.iter().zip(answers) {
            if answer.status.to_string() != **status {
                wrong.push(format!(
                    "{url}{how}: {} {} {}",
                    answer.status, answer.reason, answer.error
                ));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {}: {}",
        wrong.len(),
        targets.len() * 4,
        wrong.join("; ")
    );
    // A request that may go out, and is written down after all that went before it.
    let marker = client
        .fetch(&proxy, &format!("http://echo.example.test{MARKER}"), &[])
        .await?;
    ensure!(marker.status == 200, "the marker must pass: {marker:?}");
    let seen = eventually("the marker in the log outside", LOGGED, || async {
        let log = lab.echo_log(since).await?;
        let there = log.iter().any(|s| s.path == MARKER);
        Ok(if there { Ok(log) } else { Err(format!("{log:?}")) })
    })
    .await?;
    let out: Vec<_> = seen
        .into_iter()
        .filter(|s| s.source.to_string().ends_with("30") && s.path != MARKER)
        .collect();
    ensure!(out.is_empty(), "something got out of the batch cell: {out:?}");
    cluster.note(format!(
        "{} requests to {} targets refused",
        targets.len() * 4,
        targets.len()
    ));
    cluster.leave_policy(SHARED, "open").await
}

/// So many names are tried until the first answer of one has reached the proxy.
const REBINDINGS_MAX: usize = 3;

pub(super) async fn rebinding(cluster: Cluster) -> Result<()> {
    let proxy = open_policy(&cluster, "rebound").await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    client.finds(&proxy).await?;
    let lab = cluster.lab()?;
    for (n, inside) in ["127.0.0.1", "10.96.0.1", "10.10.0.2"].iter().enumerate() {
        // A query that is sent once more on a busy machine uses the first answer up: then another name has to show it.
        let mut good_first = false;
        for attempt in 0..REBINDINGS_MAX {
            let name = format!("rebind{n}-{attempt}.example.test");
            lab.run(&["dns", "sequence", &name, "192.175.48.80", inside, inside])
                .await?;
            let seen = asked_four_times(&client, &proxy, &name).await?;
            lab.run(&["dns", "clear", &name]).await?;
            good_first = seen.first() == Some(&200);
            if good_first {
                break;
            }
        }
        ensure!(
            good_first,
            "of {REBINDINGS_MAX} names none had a good first answer before {inside}"
        );
    }
    cluster.leave_policy(SHARED, "rebound").await
}

/// The answers to four requests for a name: each is refused, or came from where the name's first answer leads.
async fn asked_four_times(client: &ClientPod, proxy: &str, name: &str) -> Result<Vec<u16>> {
    let url = format!("http://{name}/");
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = client.fetch(proxy, &url, &["-timeout", "5s"]).await?;
        seen.push(answer.status);
        ensure!(answer.status == 200 || answer.status == 403, "{name}: {answer:?}");
        if answer.status == 200 {
            ensure!(
                answer.body.trim() == "192.31.196.30",
                "{name} led to {:?}",
                answer.body
            );
        }
    }
    Ok(seen)
}
