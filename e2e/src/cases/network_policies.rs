//! NetworkPolicies in force: who can open a connection to what. Judged by connections that are tried, over both
//! families; the lab enforces the policies, not this.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::json;

use super::ready;
use crate::cluster::{Cluster, FLEETS, SYSTEM};
use crate::fixtures;
use crate::wait::eventually;

const TENANT: &str = "e2e-walls";
const SIBLING: &str = "e2e-walls-sibling";
const STRANGERS: &str = "e2e-walls-strangers";
const MONITORING: &str = "e2e-walls-monitoring";
/// The node of the fleets, and another.
const FLEET_NODE: &str = "batch-1";
const GENERAL_NODE: &str = "sys-1";
/// What strangers listen on.
const STRANGERS_PORT: u16 = 9000;

/// One source and one destination, as it should be.
struct Pair {
    from: String,
    to: String,
    open: bool,
    what: String,
}

/// What the tool says of one connection.
#[derive(Debug, Deserialize)]
pub(super) struct Reached {
    target: String,
    /// open, closed, rejected, silent or failed.
    pub(super) verdict: String,
}

/// A pod's addresses, IPv4 first.
#[derive(Clone)]
pub(super) struct Addresses {
    pub(super) v4: String,
    pub(super) v6: String,
}

/// A pod that listens, on a node.
async fn listener(cluster: &Cluster, namespace: &str, name: &str, node: &str) -> Result<Addresses> {
    cluster.namespace(namespace).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{
                "name": "listener", "image": cluster.tool_image, "imagePullPolicy": "IfNotPresent",
                "args": ["observer", "--name", name, "--http", format!(":{STRANGERS_PORT}")],
                "readinessProbe": {"tcpSocket": {"port": STRANGERS_PORT}, "periodSeconds": 1},
            }],
        },
    });
    eventually("the pod's ServiceAccount", Duration::from_secs(20), || async {
        Ok(cluster
            .apply(&pod.to_string())
            .await
            .map_err(|error| error.to_string()))
    })
    .await?;
    addresses(cluster, namespace, &format!("app={name}")).await
}

/// The addresses of the one ready pod with a label.
pub(super) async fn addresses(cluster: &Cluster, namespace: &str, label: &str) -> Result<Addresses> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
    let selected = ListParams::default().labels(label);
    let what = format!("a ready pod {label} of {namespace}");
    eventually(&what, Duration::from_secs(60), || async {
        for pod in pods.list(&selected).await? {
            let leaves = pod.metadata.deletion_timestamp.is_some();
            let status = pod.status.unwrap_or_default();
            let ready = status.conditions.unwrap_or_default();
            let ready = ready.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            let ips: Vec<String> = status
                .pod_ips
                .unwrap_or_default()
                .into_iter()
                .map(|ip| ip.ip)
                .collect();
            if let ([v4, v6], true, false) = (&*ips, ready, leaves) {
                return Ok(Ok(Addresses {
                    v4: v4.clone(),
                    v6: v6.clone(),
                }));
            }
        }
        Ok(Err("none".to_owned()))
    })
    .await
}

/// Collects pairs: a source, then its destinations.
#[derive(Default)]
struct Matrix(Vec<Pair>);

impl Matrix {
    fn one(&mut self, source: (&str, &str), open: bool, what: &str, to: String) {
        let (name, from) = source;
        self.0.push(Pair {
            from: from.to_owned(),
            to,
            open,
            what: format!("{name} to {what}"),
        });
    }

    fn both(&mut self, source: (&str, &str), open: bool, what: &str, to: &Addresses, port: u16) {
        self.one(source, open, what, format!("{}:{port}", to.v4));
        self.one(source, open, what, format!("[{}]:{port}", to.v6));
    }

    /// The pairs that are not as they should be.
    async fn differing(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pair in &self.0 {
            targets.entry(&pair.from).or_default().push(&pair.to);
        }
        let lab = cluster.lab()?;
        let mut found = BTreeMap::new();
        for (from, targets) in targets {
            let mut args = vec!["reach", from];
            args.extend(targets);
            for line in lab.run(&args).await?.lines() {
                let reached: Reached =
                    serde_json::from_str(line).with_context(|| format!("unexpected line {line}"))?;
                found.insert((from, reached.target.clone()), reached.verdict);
            }
        }
        let mut differing = Vec::new();
        for pair in &self.0 {
            let verdict = found
                .get(&(&*pair.from, pair.to.clone()))
                .map_or("", String::as_str);
            // Closed would be the destination's own word: then nothing held the packet back.
            let as_wanted = matches!(
                (pair.open, verdict),
                (true, "open") | (false, "rejected" | "silent")
            );
            if !as_wanted {
                differing.push(format!("{} ({}): {verdict}", pair.what, pair.to));
            }
        }
        Ok(differing)
    }
}

pub(super) async fn matrix(cluster: Cluster) -> Result<()> {
    for namespace in [TENANT, SIBLING] {
        cluster.fresh_namespace(namespace).await?;
    }
    cluster.apply(&fixtures::batch().to_string()).await?;
    cluster.namespace(MONITORING).await?;
    cluster
        .apply(&fixtures::metrics_from(MONITORING, TENANT).to_string())
        .await?;
    for namespace in [TENANT, SIBLING] {
        ready(
            &cluster,
            namespace,
            "walls",
            fixtures::BATCH,
            &fixtures::allow_echo(),
        )
        .await?;
    }
    let proxy = addresses(
        &cluster,
        FLEETS,
        &format!("egressway.dev/policy-namespace={TENANT}"),
    )
    .await?;
    let sibling = addresses(
        &cluster,
        FLEETS,
        &format!("egressway.dev/policy-namespace={SIBLING}"),
    )
    .await?;
    let operator = addresses(&cluster, SYSTEM, "app.kubernetes.io/name=egressway-operator").await?;
    let coredns = addresses(&cluster, "kube-system", "k8s-app=kube-dns").await?;
    let client = listener(&cluster, TENANT, "client", GENERAL_NODE).await?;
    let stranger = listener(&cluster, STRANGERS, "stranger", GENERAL_NODE).await?;
    let near = listener(&cluster, STRANGERS, "near", FLEET_NODE).await?;
    let prometheus = listener(&cluster, MONITORING, "prometheus", GENERAL_NODE).await?;
    let outside = |last: u8| Addresses {
        v4: format!("192.175.48.{last}"),
        v6: format!("2620:4f:8000:1::{last}"),
    };

    let mut m = Matrix::default();
    let from = ("a client", &*client.v4);
    m.both(from, true, "the proxy", &proxy, 4750);
    m.both(from, false, "the metrics", &proxy, 4751);
    m.both(from, false, "the report", &proxy, 4752);
    m.both(from, true, "a pod without policies", &stranger, STRANGERS_PORT);
    for from in [
        ("a stranger", &*stranger.v4),
        ("a stranger on the proxy's node", &*near.v4),
    ] {
        m.both(from, false, "the proxy", &proxy, 4750);
        m.both(from, false, "the metrics", &proxy, 4751);
        m.both(from, false, "the report", &proxy, 4752);
    }
    m.both(
        ("a stranger", &stranger.v4),
        true,
        "the operator's metrics",
        &operator,
        8080,
    );
    let from = ("Prometheus", &*prometheus.v4);
    m.both(from, true, "the metrics", &proxy, 4751);
    m.both(from, false, "the report", &proxy, 4752);
    let from = ("the operator", &*operator.v4);
    m.both(from, false, "the proxy", &proxy, 4750);
    m.both(from, false, "the metrics", &proxy, 4751);
    m.both(from, true, "the report", &proxy, 4752);
    m.both(from, false, "a pod without policies", &stranger, STRANGERS_PORT);
    m.one(from, true, "the API server", "10.10.0.2:6443".to_owned());
    m.one(from, true, "the API server's Service", "10.96.0.1:443".to_owned());
    m.one(from, false, "the cluster's DNS", "10.96.0.10:53".to_owned());
    m.both(from, false, "the internet", &outside(80), 443);
    let from = ("the proxy", &*proxy.v4);
    m.both(from, false, "a pod on its node", &near, STRANGERS_PORT);
    m.both(from, false, "the operator", &operator, 8080);
    m.both(from, false, "another fleet", &sibling, 4750);
    m.one(from, false, "the API server", "10.10.0.2:6443".to_owned());
    m.one(from, false, "the API server", "[fd10:10::2]:6443".to_owned());
    m.one(
        from,
        false,
        "the API server's Service",
        "10.96.0.1:443".to_owned(),
    );
    m.one(from, false, "its own kubelet", "10.10.0.41:10250".to_owned());
    m.one(from, false, "another kubelet", "10.10.0.11:10250".to_owned());
    m.both(from, false, "the cluster's DNS", &coredns, 53);
    m.both(from, true, "the name server of its node", &outside(53), 53);
    m.both(from, true, "the internet", &outside(80), 80);
    let from = ("the proxy's node", FLEET_NODE);
    m.both(from, true, "the metrics, to probe", &proxy, 4751);
    m.one(from, true, "the proxy", format!("{}:4750", proxy.v4));
    m.one(from, true, "the report", format!("{}:4752", proxy.v4));
    m.both(("another node", GENERAL_NODE), false, "the metrics", &proxy, 4751);
    m.both(
        ("the control plane", "control"),
        false,
        "the metrics",
        &proxy,
        4751,
    );

    // An address that is new on a node is looked for once more before it is told as a hole or a wall.
    let differing = eventually("the matrix", Duration::from_secs(10), || async {
        let differing = m.differing(&cluster).await?;
        Ok(if differing.is_empty() {
            Ok(())
        } else {
            Err(differing.join("; "))
        })
    });
    differing.await?;
    cluster.note(format!(
        "{} of {} pairs of source and destination as wanted",
        m.0.len(),
        m.0.len()
    ));
    cluster
        .kubectl(&["delete", "networkpolicy", "-n", FLEETS, "e2e-walls-metrics"])
        .await?;
    for namespace in [TENANT, SIBLING, STRANGERS, MONITORING] {
        cluster.leave_namespace(namespace).await?;
    }
    Ok(())
}
