//! Who may use a proxy, told by the pod that asks. Everybody is let through to the fleets of these cases, as if no
//! NetworkPolicy were enforced, so what refuses here is the proxy itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::proxy_url;
use crate::client_pod::{Answer, ClientPod};
use crate::cluster::{Cluster, FLEETS};
use crate::fixtures;
use crate::wait::eventually;

/// Namespaces of policies and of those who may use them, one for each case.
const TENANT: &str = "e2e-clients";
const LABELLED: &str = "e2e-clients-labelled";
const ARRIVING: &str = "e2e-clients-arriving";
const LEAVING: &str = "e2e-clients-leaving";
/// Namespaces of those who may not.
const STRANGERS: &str = "e2e-strangers";
const HEIRS: &str = "e2e-heirs";
const URL: &str = "http://echo.example.test/";
/// The proxy waits so long for a source that is not in its table yet.
const WAIT: Duration = Duration::from_secs(2);
/// New pods whose first request is looked at.
const NEW_PODS: usize = 10;
/// The node that client pods stand on.
const GENERAL_NODE: &str = "sys-1";
/// Where its CNI plugin keeps which addresses are in use, and which it gave last.
const ADDRESSES: &str = "/var/lib/cni/networks/lab";

/// The policy `guarded`, Ready, with these clients; `null` is all pods of the namespace.
async fn guarded(cluster: &Cluster, tenant: &str, clients: Value) -> Result<String> {
    cluster.fresh_namespace(tenant).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    let mut policy = fixtures::policy(tenant, "guarded", fixtures::BATCH, &fixtures::allow_echo());
    if !clients.is_null() {
        policy["spec"]["clients"] = clients;
    }
    cluster.apply(&policy.to_string()).await?;
    cluster.apply(&fixtures::open_to_all(tenant).to_string()).await?;
    let ready = cluster.await_condition(tenant, "guarded", "Ready", "True", Duration::from_secs(90));
    proxy_url(&ready.await?)
}

fn refused(answer: &Answer, who: &str) -> Result<()> {
    ensure!(
        answer.status == 403 && answer.header("x-egressway-reason") == "client_unknown",
        "{who}: {answer:?}"
    );
    Ok(())
}

fn served(answer: &Answer, who: &str) -> Result<()> {
    ensure!(answer.status == 200, "{who}: {answer:?}");
    Ok(())
}

pub(super) async fn other_namespaces(cluster: Cluster) -> Result<()> {
    let proxy = guarded(&cluster, TENANT, Value::Null).await?;
    let tenant = ClientPod::start(&cluster, TENANT, "named-in-the-log").await?;
    let stranger = ClientPod::start(&cluster, STRANGERS, "stranger").await?;
    tenant.finds(&proxy).await?;
    served(&tenant.fetch(&proxy, URL, &[]).await?, "a pod of the namespace")?;
    refused(
        &stranger.fetch(&proxy, URL, &[]).await?,
        "a pod of another namespace",
    )?;
    let tunnel = stranger
        .fetch(&proxy, "https://v4.example.test/", &["-insecure"])
        .await?;
    refused(&tunnel, "its CONNECT")?;
    let selector = format!("egressway.dev/policy-namespace={TENANT},egressway.dev/policy-name=guarded");
    eventually("the log to name the pod", Duration::from_secs(10), || async {
        let log = cluster
            .kubectl(&["logs", "-n", FLEETS, "-l", &selector, "--tail=-1"])
            .await?;
        Ok(
            match log.lines().find(|line| line.contains("\"named-in-the-log\"")) {
                Some(_) => Ok(()),
                None => Err(log.lines().last().unwrap_or_default().to_owned()),
            },
        )
    })
    .await?;
    stranger.delete().await?;
    cluster.leave_namespace(TENANT).await
}

pub(super) async fn by_labels(cluster: Cluster) -> Result<()> {
    let clients = json!([{"name": "sender", "from": {"podSelector": {"matchLabels": {"app": "sender"}}}}]);
    let proxy = guarded(&cluster, LABELLED, clients).await?;
    // A client pod's label `app` is its name.
    let sender = ClientPod::start(&cluster, LABELLED, "sender").await?;
    let other = ClientPod::start(&cluster, LABELLED, "other").await?;
    sender.finds(&proxy).await?;
    served(&sender.fetch(&proxy, URL, &[]).await?, "the pod with the label")?;
    refused(&other.fetch(&proxy, URL, &[]).await?, "a pod without")?;
    for (pod, label) in [("sender", "app=other"), ("other", "app=sender")] {
        cluster
            .kubectl(&["label", "pod", "-n", LABELLED, pod, label, "--overwrite"])
            .await?;
    }
    let swapped = Instant::now();
    eventually(
        "the labels to have changed places",
        Duration::from_secs(15),
        || async {
            let (was, is) = (
                sender.fetch(&proxy, URL, &[]).await?,
                other.fetch(&proxy, URL, &[]).await?,
            );
            Ok(match (refused(&was, "was"), served(&is, "is")) {
                (Ok(()), Ok(())) => Ok(()),
                (one, two) => Err(format!("{one:?} {two:?}")),
            })
        },
    )
    .await?;
    // The refusal itself takes the wait for a source that may be new.
    cluster.note(format!(
        "changed labels are in force after {} ms, the wait of {} s included",
        swapped.elapsed().as_millis(),
        WAIT.as_secs()
    ));
    cluster.leave_namespace(LABELLED).await
}

/// A pod that does nothing but one request, the moment it starts.
async fn first_request(cluster: &Cluster, name: &str, proxy: &str) -> Result<Answer> {
    let api = Api::<Pod>::namespaced(cluster.client.clone(), ARRIVING);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "new"}},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{
                "name": "client", "image": cluster.tool_image, "imagePullPolicy": "IfNotPresent",
                "args": ["fetch", "--json", "--proxy", proxy, URL],
                "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                                    "seccompProfile": {"type": "RuntimeDefault"}},
            }],
        },
    }))?;
    api.create(&PostParams::default(), &pod).await?;
    eventually(&format!("pod {name} to end"), Duration::from_secs(60), || async {
        let status = api.get(name).await?.status.unwrap_or_default();
        Ok(match status.phase.as_deref() {
            Some("Succeeded" | "Failed") => Ok(()),
            phase => Err(format!("{phase:?}")),
        })
    })
    .await?;
    let log = cluster.kubectl(&["logs", "-n", ARRIVING, name]).await?;
    let answer = serde_json::from_str(log.trim()).with_context(|| format!("the tool printed {log:?}"))?;
    cluster
        .kubectl(&["delete", "pod", "-n", ARRIVING, name, "--wait=false"])
        .await?;
    Ok(answer)
}

pub(super) async fn new_pods(cluster: Cluster) -> Result<()> {
    let clients = json!([{"name": "new", "from": {"podSelector": {"matchLabels": {"app": "new"}}}}]);
    let proxy = guarded(&cluster, ARRIVING, clients).await?;
    let mut took = Vec::new();
    for count in 0..NEW_PODS {
        let answer = first_request(&cluster, &format!("new-{count}"), &proxy).await?;
        served(&answer, &format!("the first request of pod {count}"))?;
        took.push(answer.duration_ms);
    }
    took.sort_unstable();
    cluster.note(format!(
        "first requests of {NEW_PODS} new pods: p50 {} ms, max {} ms",
        took.get(NEW_PODS / 2).context("no pod")?,
        took.last().context("no pod")?
    ));
    cluster.leave_namespace(ARRIVING).await
}

pub(super) async fn given_back(cluster: Cluster) -> Result<()> {
    guarded(&cluster, LEAVING, Value::Null).await?;
    // Straight to a pod over IPv4: through the Service the client might choose the family that it does not inherit.
    let pods = cluster.fleet_pods(LEAVING, "guarded").await?;
    let ip = pods.first().and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
    let proxy = format!("http://{}:4750", ip.context("the fleet has no pod")?);
    let tenant = ClientPod::start(&cluster, LEAVING, "leaving").await?;
    served(&tenant.fetch(&proxy, URL, &[]).await?, "the pod")?;
    let ip = address(&cluster, LEAVING, "leaving").await?;
    let table = Api::<ConfigMap>::namespaced(cluster.client.clone(), FLEETS);
    let name = egressway_core::wire::names::clients_name(&egressway_core::wire::names::fleet_name(
        LEAVING, "guarded",
    ));
    let listed = || async {
        let data = table.get(&name).await?.data.unwrap_or_default();
        anyhow::Ok(
            data.get("clients.json")
                .is_some_and(|json| json.contains(&format!("\"{ip}\""))),
        )
    };
    ensure!(
        listed().await?,
        "{ip} is not in the table while its pod is served"
    );
    tenant.delete().await?;
    let gone = Instant::now();
    eventually(
        "the address to leave the table",
        Duration::from_secs(5),
        || async {
            Ok(if listed().await? {
                Err(ip.to_string())
            } else {
                Ok(())
            })
        },
    )
    .await?;
    cluster.note(format!(
        "an address left the table {} ms after its pod",
        gone.elapsed().as_millis()
    ));
    // The node gives the same address to the next pod, which is somebody else's.
    let before = Ipv4Addr::from(u32::from(ip).saturating_sub(1));
    let rewind = format!("test ! -e {ADDRESSES}/{ip} && printf %s {before} >{ADDRESSES}/last_reserved_ip.0");
    let lab = cluster.lab()?;
    eventually(
        "the node to take the address back",
        Duration::from_secs(30),
        || async {
            lab.run(&["node", "exec", GENERAL_NODE, "/bin/sh", "-c", &rewind])
                .await?;
            Ok(Ok(()))
        },
    )
    .await?;
    let heir = ClientPod::start(&cluster, HEIRS, "heir").await?;
    let inherited = address(&cluster, HEIRS, "heir").await?;
    ensure!(
        inherited == ip,
        "the heir got {inherited} instead of {ip}: the lab hands addresses out otherwise than it did"
    );
    // A node's kubelet brings the new table within a second or so; whoever is faster than that is served, and no later.
    eventually(
        "the stranger on a client's former address to be refused",
        Duration::from_secs(5),
        || async {
            let answer = heir.fetch(&proxy, URL, &[]).await?;
            Ok(
                refused(&answer, "a stranger on a client's former address")
                    .map_err(|error| error.to_string()),
            )
        },
    )
    .await?;
    cluster.note(format!(
        "its heir was refused {} ms after the pod had gone",
        gone.elapsed().as_millis()
    ));
    cluster.leave_namespace(HEIRS).await?;
    cluster.leave_namespace(LEAVING).await
}

/// The pod's IPv4 address.
async fn address(cluster: &Cluster, namespace: &str, name: &str) -> Result<Ipv4Addr> {
    let pod = Api::<Pod>::namespaced(cluster.client.clone(), namespace)
        .get(name)
        .await?;
    for ip in pod.status.and_then(|status| status.pod_ips).unwrap_or_default() {
        if let Ok(IpAddr::V4(ip)) = ip.ip.parse() {
            return Ok(ip);
        }
    }
    bail!("pod {namespace}/{name} has no IPv4 address")
}
