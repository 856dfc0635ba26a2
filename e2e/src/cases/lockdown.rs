//! A namespace whose only way out is its proxy, by the very policy that the how-to page shows.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::network_policies::{Reached, addresses};
use super::{proxy_url, ready};
use crate::client_pod::ClientPod;
use crate::cluster::{Cluster, FLEETS};
use crate::fixtures;
use crate::wait::eventually;

const LOCKED: &str = "e2e-locked";
/// How-to page whose policy the case applies as it stands there, for another namespace.
const LOCKDOWN: &str = include_str!("../../../docs/how-to/lock-down-a-namespace.md");

/// The policy of the how-to, for another namespace than the page's.
fn lockdown(namespace: &str) -> Result<String> {
    let (_, rest) = LOCKDOWN.split_once("```yaml\n").context("the page has no YAML")?;
    let (yaml, _) = rest.split_once("```").context("the YAML does not end")?;
    ensure!(yaml.matches("payments").count() == 2, "the page says: twice");
    Ok(yaml.replace("payments", namespace))
}

pub(super) async fn locked_down(cluster: Cluster) -> Result<()> {
    cluster.fresh_namespace(LOCKED).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    let policy = ready(
        &cluster,
        LOCKED,
        "locked",
        fixtures::BATCH,
        &fixtures::allow_echo(),
    )
    .await?;
    let proxy = proxy_url(&policy)?;
    let client = ClientPod::start(&cluster, LOCKED, "client").await?;
    client.finds(&proxy).await?;
    let direct = ["http://192.175.48.80/", "http://[2620:4f:8000:1::80]/"];
    for url in direct {
        let answer = client.fetch("none", url, &["-timeout", "3s"]).await?;
        ensure!(answer.status == 200, "before: {url} directly: {answer:?}");
    }
    cluster.apply(&lockdown(LOCKED)?).await?;
    for url in direct {
        let what = format!("{url} to be out of reach but by the proxy");
        eventually(&what, Duration::from_secs(10), || async {
            let answer = client.fetch("none", url, &["-timeout", "3s"]).await?;
            Ok(if answer.status == 0 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            })
        })
        .await?;
    }
    let pods = addresses(
        &cluster,
        FLEETS,
        &format!("egressway.dev/policy-namespace={LOCKED}"),
    )
    .await?;
    let by_pod = [
        format!("http://{}:4750", pods.v4),
        format!("http://[{}]:4750", pods.v6),
    ];
    for (host, egress) in [("v4", "192.31.196.30"), ("v6", "2620:4f:8000:2::30")] {
        for proxy in std::iter::once(&proxy).chain(&by_pod) {
            let answer = client
                .fetch(proxy, &format!("http://{host}.example.test/"), &[])
                .await?;
            ensure!(
                answer.status == 200 && answer.body.trim() == egress,
                "{host} through {proxy}: {answer:?}"
            );
        }
    }
    // As the page says of the rest of the cluster.
    let dns = addresses(&cluster, "kube-system", "k8s-app=kube-dns").await?;
    let lab = cluster.lab()?;
    let client = address_of(&cluster, LOCKED, "client").await?;
    let lines = lab
        .run(&["reach", &client, "10.96.0.1:443", &format!("{}:53", dns.v4)])
        .await?;
    let verdicts: Vec<Reached> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| format!("unexpected lines {lines}"))?;
    let verdicts: Vec<&str> = verdicts.iter().map(|reached| &*reached.verdict).collect();
    ensure!(
        verdicts == ["rejected", "open"],
        "API server and DNS: {verdicts:?}"
    );
    cluster.note("nothing left directly over IPv4 and IPv6; both through the proxy, over both".to_owned());
    cluster.leave_namespace(LOCKED).await
}

/// The IPv4 address of a pod that runs.
async fn address_of(cluster: &Cluster, namespace: &str, name: &str) -> Result<String> {
    let pod = Api::<Pod>::namespaced(cluster.client.clone(), namespace)
        .get(name)
        .await?;
    match pod.status.and_then(|status| status.pod_ip) {
        Some(ip) => Ok(ip),
        None => bail!("pod {namespace}/{name} has no address"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_how_to_has_a_policy_for_any_namespace() {
        let policy: Value = serde_saphyr::from_str(&lockdown("other").unwrap()).unwrap();
        assert_eq!(policy["metadata"]["namespace"], "other");
        let fleet = &policy["spec"]["egress"][1]["to"][0]["podSelector"]["matchLabels"];
        assert_eq!(fleet["egressway.dev/policy-namespace"], "other");
        assert_eq!(policy["spec"]["podSelector"], json!({}));
    }
}
