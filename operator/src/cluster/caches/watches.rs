//! The watches that keep the copies, and who is woken by what they bring: only here is it known what changed.
//!
//! A list that is made anew may lack what was deleted meanwhile, and nobody says so: it wakes everything, and what was
//! seen before it counts no more.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use egressway_core::wire::names;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use kube_runtime::reflector::Lookup;
use kube_runtime::reflector::store::Writer;
use kube_runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::pod_seen::PodSeen;
use super::{Owned, Policy, Pool, Writers};
use crate::cluster::health::{Health, Watch};
use crate::cluster::watching::follow;
use crate::context::{Wakes, policy_of};

impl Writers {
    /// Starts every watch as a task of `tasks`.
    pub fn watch(
        self,
        client: &Client,
        fleet_namespace: &str,
        wakes: &Arc<Wakes>,
        health: &Arc<Health>,
        tasks: &mut JoinSet<()>,
    ) {
        let all = watcher::Config::default;
        let of_fleets = Watching {
            client,
            fleet_namespace,
            wakes,
            health,
        };
        let client = |watch| health.client(client, watch);

        let w = Arc::clone(wakes);
        of_fleets.spawn(
            tasks,
            Watch::Policies,
            Api::<Policy>::all(client(Watch::Policies)),
            all(),
            self.policies,
            move |event| {
                if let Some(policy) = object(event) {
                    w.policy_changed(policy);
                }
            },
        );
        let (w, mut pools) = (Arc::clone(wakes), Seen::default());
        of_fleets.spawn(
            tasks,
            Watch::Pools,
            Api::<Pool>::all(client(Watch::Pools)),
            all(),
            self.pools,
            move |event| {
                // The pool's own status changes with every policy's: that must not wake all policies again.
                let read = |pool: &Pool| (pool.meta().generation, pool.annotations().clone());
                match pools.look(event, read) {
                    Some((pool, true)) => w.pool_changed(&pool.name_any()),
                    Some((pool, false)) => w.pool_only(&pool.name_any()),
                    None => {}
                }
            },
        );
        let (w, fleets) = (Arc::clone(wakes), fleet_namespace.to_owned());
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client(Watch::Namespaces));
        of_fleets.spawn(
            tasks,
            Watch::Namespaces,
            namespaces,
            all(),
            self.namespaces,
            move |event| {
                // It is back, or gone: what could not be written can be, or need not be any more.
                match event {
                    Event::Apply(namespace) | Event::InitApply(namespace) => {
                        w.namespace_changed(&namespace.name_any());
                        if namespace.name_any() == fleets && namespace.metadata.deletion_timestamp.is_none() {
                            w.fleet_namespace_is_there();
                        }
                    }
                    Event::Delete(namespace) if namespace.name_any() == fleets => w.everything(),
                    Event::Delete(_) | Event::Init | Event::InitDone => {}
                }
            },
        );
        let (w, mut nodes) = (Arc::clone(wakes), Seen::default());
        of_fleets.spawn(
            tasks,
            Watch::Nodes,
            Api::<Node>::all(client(Watch::Nodes)),
            all(),
            self.nodes,
            move |event| {
                // Heartbeats change a Node all the time; only what is read here counts.
                let read = |node: &Node| {
                    let addresses = node.status.as_ref().and_then(|status| status.addresses.clone());
                    (node.labels().clone(), node.spec.clone(), addresses)
                };
                if let Some((_, true)) = nodes.look(event, read) {
                    w.nodes_changed();
                }
            },
        );
        let (w, mut pods) = (Arc::clone(wakes), Seen::default());
        let of_fleet = Api::<Pod>::namespaced(client(Watch::Pods), fleet_namespace);
        of_fleets.spawn(tasks, Watch::Pods, of_fleet, ours(), self.pods, move |event| {
            if let Some((pod, true)) = pods.look(event, PodSeen::of) {
                w.owned_changed(pod);
                w.pods.notify_one();
            }
        });

        of_fleets.owned(tasks, Watch::Deployments, self.deployments);
        of_fleets.owned(tasks, Watch::Services, self.services);
        of_fleets.owned(tasks, Watch::ConfigMaps, self.config_maps);
        of_fleets.owned(tasks, Watch::Secrets, self.secrets);
        of_fleets.owned(tasks, Watch::ServiceAccounts, self.service_accounts);
        of_fleets.owned(tasks, Watch::NetworkPolicies, self.network_policies);
        of_fleets.owned(tasks, Watch::DisruptionBudgets, self.disruption_budgets);

        // Every floor contains what these say.
        let cidrs = Api::<ServiceCIDR>::all(client(Watch::ServiceCidrs));
        of_fleets.spawn(
            tasks,
            Watch::ServiceCidrs,
            cidrs,
            all(),
            self.service_cidrs,
            everyone(wakes),
        );
        let slices = Api::<EndpointSlice>::namespaced(client(Watch::ApiEndpoints), "default");
        let of_api = all().labels("kubernetes.io/service-name=kubernetes");
        of_fleets.spawn(
            tasks,
            Watch::ApiEndpoints,
            slices,
            of_api,
            self.api_endpoints,
            everyone(wakes),
        );
        let api = Api::<Service>::namespaced(client(Watch::ApiService), "default");
        let of_api = all().fields("metadata.name=kubernetes");
        of_fleets.spawn(
            tasks,
            Watch::ApiService,
            api,
            of_api,
            self.api_services,
            everyone(wakes),
        );
        let dns = Api::<Service>::namespaced(client(Watch::DnsService), "kube-system");
        let of_dns = all().labels("k8s-app=kube-dns");
        of_fleets.spawn(
            tasks,
            Watch::DnsService,
            dns,
            of_dns,
            self.dns_services,
            everyone(wakes),
        );
    }
}

/// What every watch needs.
struct Watching<'a> {
    client: &'a Client,
    fleet_namespace: &'a str,
    wakes: &'a Arc<Wakes>,
    health: &'a Arc<Health>,
}

impl Watching<'_> {
    /// Watches, keeps the copy, wakes everything after a list, and hands each event on.
    fn spawn<K>(
        &self,
        tasks: &mut JoinSet<()>,
        watch: Watch,
        api: Api<K>,
        config: watcher::Config,
        mut writer: Writer<K>,
        mut on: impl FnMut(&Event<K>) + Send + 'static,
    ) where
        K: Resource
            + Lookup<DynamicType = <K as Resource>::DynamicType>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        <K as Resource>::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
    {
        let (wakes, health) = (Arc::clone(self.wakes), Arc::clone(self.health));
        tasks.spawn(async move {
            follow(api, config, watch, &health, |event| {
                let event = slim(event);
                writer.apply_watcher_event(&event);
                on(&event);
                if matches!(event, Event::InitDone) {
                    wakes.everything();
                    wakes.pods.notify_one();
                }
            })
            .await;
        });
    }

    /// Watches an owned kind in the fleet namespace and wakes the policy on the object's labels.
    fn owned<K>(&self, tasks: &mut JoinSet<()>, watch: Watch, writer: Writer<K>)
    where
        K: Owned
            + Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let (wakes, mut owners) = (Arc::clone(self.wakes), Owners::default());
        let client = self.health.client(self.client, watch);
        let api = Api::<K>::namespaced(client, self.fleet_namespace);
        self.spawn(tasks, watch, api, ours(), writer, move |event| {
            for (namespace, name) in owners.of(event) {
                wakes.policy(&namespace, &name);
            }
        });
    }
}

/// The policy on each object's labels, by the object's UID: labels that somebody edits off it wake nobody by themselves.
#[derive(Default)]
struct Owners(HashMap<Option<String>, (String, String)>);

impl Owners {
    /// The policies that an event concerns: that of the labels as they are, and as they were.
    fn of<K: Resource>(&mut self, event: &Event<K>) -> Vec<(String, String)> {
        let (object, stays) = match event {
            Event::Init => {
                self.0.clear();
                return Vec::new();
            }
            Event::InitDone => return Vec::new(),
            Event::Apply(object) | Event::InitApply(object) => (object, true),
            Event::Delete(object) => (object, false),
        };
        let uid = object.meta().uid.clone();
        let (now, before) = (policy_of(object), self.0.get(&uid).cloned());
        match (&now, stays) {
            (_, false) => drop(self.0.remove(&uid)),
            (Some(now), true) if before.is_none() => drop(self.0.insert(uid, now.clone())),
            (_, true) => {}
        }
        let other = before.filter(|before| Some(before) != now.as_ref());
        now.into_iter().chain(other).collect()
    }
}

/// What was read of each object of a kind last, by UID: what else changes in it wakes nobody.
struct Seen<V>(HashMap<Option<String>, V>);

impl<V> Default for Seen<V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<V: PartialEq> Seen<V> {
    /// The object of an event, and whether what is `read` of it is news; that it is gone is, and of a list that is made anew
    /// everything.
    fn look<'a, K: Resource>(
        &mut self,
        event: &'a Event<K>,
        read: impl Fn(&K) -> V,
    ) -> Option<(&'a K, bool)> {
        match event {
            Event::Init => {
                self.0.clear();
                None
            }
            Event::InitDone => None,
            Event::Delete(object) => {
                self.0.remove(&object.meta().uid);
                Some((object, true))
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let (uid, seen) = (object.meta().uid.clone(), read(object));
                let news = self.0.get(&uid) != Some(&seen);
                if news {
                    self.0.insert(uid, seen);
                }
                Some((object, news))
            }
        }
    }
}

/// Without who manages which field: nobody reads that, and it is most of an object.
fn slim<K: Resource>(mut event: Event<K>) -> Event<K> {
    if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
        object.meta_mut().managed_fields = None;
    }
    event
}

/// The object of an event, alive or gone. During a list that is made anew the copy is not swapped yet, so its end wakes
/// everything.
fn object<K>(event: &Event<K>) -> Option<&K> {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => Some(object),
        Event::Init | Event::InitDone => None,
    }
}

/// Objects that carry our label.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY))
}

/// Wakes everything, whatever the event.
fn everyone<K>(wakes: &Arc<Wakes>) -> impl FnMut(&Event<K>) + Send + 'static {
    let wakes = Arc::clone(wakes);
    move |_| wakes.everything()
}
