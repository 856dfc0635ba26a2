//! Every pod of the cluster that has an address, as far as it matters who sends from where; kept by one watch.
//!
//! Of a pod only names, labels and addresses are stored, and each page of the list is dropped as soon as it is read. Who
//! holds an address is decided in [`table`], how often policies hear of it in [`pace`], who may use a proxy in
//! [`crate::desired::clients`].

pub mod pace;
pub mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Api, Client, Resource};
use kube_runtime::watcher::{self, Event};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;

use self::table::{Holder, Namespaces, Sender, Table};
use super::health::{Health, Watch};
use super::watching::follow;
use crate::wake::Wake;

/// Condition of a pod: it has a sandbox with a network (Kubernetes 1.29 and newer). False before there is one, and as
/// soon as it is gone, while the pod still shows the address that it had.
const NETWORK: &str = "PodReadyToStartContainers";

/// A pod as the API server sends it, without everything that is not read here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodSeen {
    #[serde(default, deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SpecSeen,
    #[serde(default)]
    status: StatusSeen,
}

/// Managed fields and annotations are most of a pod: they are skipped, not read and dropped.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct MetadataSeen {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
    }
    let seen = MetadataSeen::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: seen.name,
        namespace: seen.namespace,
        resource_version: seen.resource_version,
        creation_timestamp: seen.creation_timestamp,
        labels: seen.labels,
        ..ObjectMeta::default()
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecSeen {
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct StatusSeen {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    #[serde(default, rename = "startTime")]
    start_time: Option<Time>,
    #[serde(default)]
    conditions: Vec<ConditionSeen>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConditionSeen {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

impl Resource for PodSeen {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodSeen {
    /// The pod as a sender; `None` while it cannot send: it has no address yet, or it has ended and gave it back.
    ///
    /// One that is being deleted may still send, and does until it is gone.
    fn sender(self) -> Option<Sender> {
        let network = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.kind == NETWORK);
        let taken = network.is_some_and(|condition| condition.status == "False");
        if taken || matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        // A node that has rebooted gives its pods new addresses, and they keep the time of their start.
        let since = [
            self.status.start_time,
            network.and_then(|condition| condition.last_transition_time.clone()),
        ];
        let ips = self.status.pod_ips.iter();
        let ips: Vec<_> = ips
            .filter_map(|ip| ip.ip.parse().ok().map(|ip: std::net::IpAddr| ip.to_canonical()))
            .collect();
        (!ips.is_empty()).then(|| Sender {
            namespace: self.metadata.namespace.unwrap_or_default(),
            name: self.metadata.name.unwrap_or_default(),
            labels: Arc::new(self.metadata.labels.unwrap_or_default()),
            ips,
            host_network: self.spec.host_network,
            since: since.into_iter().flatten().map(|time| time.0).max(),
            created: self.metadata.creation_timestamp.map(|time| time.0),
        })
    }
}

/// The pods of the cluster that can send, and who is told when they change.
#[derive(Debug)]
pub struct ClientPods {
    state: RwLock<State>,
    filled: watch::Sender<bool>,
    /// Namespaces whose pods have changed.
    pub changed: Arc<Wake<String>>,
}

#[derive(Debug, Default)]
struct State {
    now: Table,
    /// What a list that is under way has brought so far.
    listed: Table,
}

impl Default for ClientPods {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            filled: watch::Sender::new(false),
            changed: Arc::default(),
        }
    }
}

impl ClientPods {
    /// Waits until the pods have been listed once. A table made before would refuse every client.
    pub async fn ready(&self) {
        // The sending end lives as long as this, so waiting cannot fail.
        let _ = self.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// The pods of a namespace, each with the addresses that it and no other pod of the cluster holds.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Vec<Holder> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.now.holders(namespace)
    }

    /// Takes in what the watch says, and asks for the namespaces that it changes.
    pub fn apply(&self, event: Event<PodSeen>) {
        let changed = self.take(event);
        for namespace in changed {
            self.changed.wake(namespace);
        }
    }

    fn take(&self, event: Event<PodSeen>) -> Namespaces {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(pod) => put(&mut state.now, pod),
            Event::Delete(pod) => {
                let name = pod.metadata.name.unwrap_or_default();
                state
                    .now
                    .remove(&pod.metadata.namespace.unwrap_or_default(), &name)
            }
            Event::Init => {
                state.listed = Table::default();
                Namespaces::new()
            }
            Event::InitApply(pod) => {
                put(&mut state.listed, pod);
                Namespaces::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut state.listed);
                let before = std::mem::replace(&mut state.now, listed);
                let changed = state.now.differs(&before);
                drop(state);
                self.filled.send_replace(true);
                changed
            }
        }
    }

    /// Watches until the process ends.
    pub async fn watch(self: Arc<Self>, client: Client, health: Arc<Health>) {
        let api = Api::<PodSeen>::all(health.client(&client, Watch::ClientPods));
        // A watch by itself delivers nothing while it is not polled, and nothing here waits: no buffer is needed.
        let config = watcher::Config::default();
        follow(api, config, Watch::ClientPods, &health, |event| self.apply(event)).await;
    }
}

fn put(table: &mut Table, pod: PodSeen) -> Namespaces {
    let meta = pod.meta();
    let (namespace, name) = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    match pod.sender() {
        Some(sender) => table.put(sender),
        None => table.remove(&namespace, &name),
    }
}

#[cfg(test)]
mod tests;
