//! Local copies of everything the operator reads, kept by watches; reconciles read them and ask nobody.
//!
//! Who to wake on a change is decided here too, because only here is it known what changed. A copy may be behind:
//! [`super::apply::Memory`] knows what the operator wrote last and makes a reader ask the API server in that case.

mod pod_seen;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use egressway_core::wire::names;
use egressway_crds::{EgressPolicy, EgressPool};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube_runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use self::pod_seen::PodSeen;
use crate::context::Wakes;

/// A policy as it is cached: one that does not deserialize is one error, not the end of the watch.
pub type Policy = DeserializeGuard<EgressPolicy>;
/// A pool as it is cached.
pub type Pool = DeserializeGuard<EgressPool>;

macro_rules! caches {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// Local copies, one per kind.
        #[derive(Clone)]
        #[allow(missing_debug_implementations)]
        pub struct Caches { $($(#[$doc])* pub $field: Store<$kind>,)* }

        /// The writing ends of [`Caches`].
        #[allow(missing_debug_implementations)]
        pub struct Writers { $($(#[$doc])* pub $field: Writer<$kind>,)* }

        /// Empty caches and what fills them.
        #[must_use]
        pub fn caches() -> (Caches, Writers) {
            $(let $field = store::<$kind>();)*
            (Caches { $($field: $field.0,)* }, Writers { $($field: $field.1,)* })
        }
    };
}

caches! {
    /// Every policy.
    policies: Policy,
    /// Every pool.
    pools: Pool,
    /// Labels of every namespace.
    namespaces: PartialObjectMeta<Namespace>,
    /// Every node.
    nodes: Node,
    /// Pods of the fleet namespace.
    pods: Pod,
    /// Owned Deployments.
    deployments: Deployment,
    /// Owned Services.
    services: Service,
    /// Owned ConfigMaps.
    config_maps: ConfigMap,
    /// Owned Secrets.
    secrets: Secret,
    /// Owned ServiceAccounts.
    service_accounts: ServiceAccount,
    /// Owned NetworkPolicies.
    network_policies: NetworkPolicy,
    /// Owned PodDisruptionBudgets.
    disruption_budgets: PodDisruptionBudget,
    /// The cluster's Service ranges.
    service_cidrs: ServiceCIDR,
    /// Endpoints of the API server.
    api_endpoints: EndpointSlice,
    /// The Service of the API server.
    api_services: Service,
    /// The Service of the cluster's DNS.
    dns_services: Service,
}

/// An owned kind: where its copies are.
pub trait Owned: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone {
    /// The copies of this kind.
    fn store(caches: &Caches) -> &Store<Self>;
}

macro_rules! owned {
    ($($kind:ty => $field:ident,)*) => {
        $(impl Owned for $kind {
            fn store(caches: &Caches) -> &Store<Self> { &caches.$field }
        })*
    };
}

owned! {
    Deployment => deployments,
    Service => services,
    ConfigMap => config_maps,
    Secret => secrets,
    ServiceAccount => service_accounts,
    NetworkPolicy => network_policies,
    PodDisruptionBudget => disruption_budgets,
}

impl Caches {
    /// Waits until every copy of what the operator owns or serves has been filled once.
    pub async fn ready(&self) {
        // The writing ends live as long as the process, so waiting cannot fail.
        let _ = futures::join!(
            self.policies.wait_until_ready(),
            self.pools.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.deployments.wait_until_ready(),
            self.services.wait_until_ready(),
        );
        let _ = futures::join!(
            self.config_maps.wait_until_ready(),
            self.secrets.wait_until_ready(),
            self.service_accounts.wait_until_ready(),
            self.network_policies.wait_until_ready(),
            self.disruption_budgets.wait_until_ready(),
        );
    }
}

impl Caches {
    /// Waits until discovery's copies have been filled once, which may be never.
    pub async fn discovered(&self) {
        let _ = futures::join!(
            self.service_cidrs.wait_until_ready(),
            self.api_endpoints.wait_until_ready(),
            self.api_services.wait_until_ready(),
            self.dns_services.wait_until_ready(),
        );
    }
}

impl Writers {
    /// Starts every watch as a task of `tasks`.
    pub fn watch(self, client: &Client, fleet_namespace: &str, wakes: &Arc<Wakes>, tasks: &mut JoinSet<()>) {
        let all = watcher::Config::default;
        let ours = || all().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));

        let w = Arc::clone(wakes);
        let mut pools = HashMap::new();
        tasks.spawn(reflect(
            Api::<Policy>::all(client.clone()),
            all(),
            self.policies,
            move |event| {
                each(event, |policy| w.policy_changed(policy));
            },
        ));
        let w = Arc::clone(wakes);
        tasks.spawn(reflect(
            Api::<Pool>::all(client.clone()),
            all(),
            self.pools,
            move |event| {
                if let Event::Delete(pool) = event {
                    pools.remove(&pool.name_any());
                    w.pool_changed(&pool.name_any());
                }
                each(event, |pool| {
                    // The pool's own status changes with every policy's: that must not wake all policies again.
                    let seen = (pool.meta().generation, pool.annotations().clone());
                    if pools.insert(pool.name_any(), seen.clone()) == Some(seen) {
                        w.pool_only(&pool.name_any());
                    } else {
                        w.pool_changed(&pool.name_any());
                    }
                });
                if matches!(event, Event::InitDone) {
                    w.everything();
                }
            },
        ));
        let w = Arc::clone(wakes);
        let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
        let fleets = fleet_namespace.to_owned();
        tasks.spawn(reflect(namespaces, all(), self.namespaces, move |event| {
            each(event, |namespace| w.namespace_changed(&namespace.name_any()));
            if let Event::Apply(namespace) | Event::Delete(namespace) = event
                && namespace.name_any() == fleets
            {
                // It is back, or gone: what could not be written can be, or need not be any more.
                w.everything();
            }
        }));
        let w = Arc::clone(wakes);
        let mut nodes = HashMap::new();
        tasks.spawn(reflect(
            Api::<Node>::all(client.clone()),
            all(),
            self.nodes,
            move |event| {
                if let Event::Delete(node) = event {
                    nodes.remove(&node.name_any());
                    w.nodes_changed();
                }
                each(event, |node| {
                    // Heartbeats change a Node all the time; only what is read here counts.
                    let addresses = node.status.as_ref().and_then(|status| status.addresses.clone());
                    let seen = (node.labels().clone(), node.spec.clone(), addresses);
                    if nodes.insert(node.name_any(), seen.clone()) != Some(seen) {
                        w.nodes_changed();
                    }
                });
            },
        ));
        let w = Arc::clone(wakes);
        let mut pods = HashMap::new();
        tasks.spawn(reflect(
            Api::<Pod>::namespaced(client.clone(), fleet_namespace),
            ours(),
            self.pods,
            move |event| {
                if let Event::Delete(pod) = event {
                    pods.remove(&pod.metadata.uid);
                    w.owned_changed(pod);
                    w.pods.notify_one();
                }
                each(event, |pod| {
                    let seen = PodSeen::of(pod);
                    if pods.get(&pod.metadata.uid) != Some(&seen) {
                        pods.insert(pod.metadata.uid.clone(), seen);
                        w.owned_changed(pod);
                        w.pods.notify_one();
                    }
                });
                if matches!(event, Event::InitDone) {
                    // A relist may have dropped pods without a word.
                    pods.clear();
                    w.everything();
                    w.pods.notify_one();
                }
            },
        ));

        owned(client, fleet_namespace, self.deployments, wakes, tasks);
        owned(client, fleet_namespace, self.services, wakes, tasks);
        owned(client, fleet_namespace, self.config_maps, wakes, tasks);
        owned(client, fleet_namespace, self.secrets, wakes, tasks);
        owned(client, fleet_namespace, self.service_accounts, wakes, tasks);
        owned(client, fleet_namespace, self.network_policies, wakes, tasks);
        owned(client, fleet_namespace, self.disruption_budgets, wakes, tasks);

        let floor = |w: &Arc<Wakes>| {
            let w = Arc::clone(w);
            move || w.everything()
        };
        let (a, b, c, d) = (floor(wakes), floor(wakes), floor(wakes), floor(wakes));
        tasks.spawn(reflect(
            Api::<ServiceCIDR>::all(client.clone()),
            all(),
            self.service_cidrs,
            move |_| a(),
        ));
        let slices = Api::<EndpointSlice>::namespaced(client.clone(), "default");
        let of_api = all().labels("kubernetes.io/service-name=kubernetes");
        tasks.spawn(reflect(slices, of_api, self.api_endpoints, move |_| b()));
        let api = Api::<Service>::namespaced(client.clone(), "default");
        tasks.spawn(reflect(
            api,
            all().fields("metadata.name=kubernetes"),
            self.api_services,
            move |_| c(),
        ));
        let dns = Api::<Service>::namespaced(client.clone(), "kube-system");
        tasks.spawn(reflect(
            dns,
            all().labels("k8s-app=kube-dns"),
            self.dns_services,
            move |_| d(),
        ));
    }
}

/// Watches an owned kind in the fleet namespace and wakes the policy on the object's labels.
fn owned<K>(
    client: &Client,
    fleet_namespace: &str,
    writer: Writer<K>,
    wakes: &Arc<Wakes>,
    tasks: &mut JoinSet<()>,
) where
    K: Owned
        + Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let wakes = Arc::clone(wakes);
    let config =
        watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
    let api = Api::<K>::namespaced(client.clone(), fleet_namespace);
    tasks.spawn(reflect(api, config, writer, move |event| {
        if let Event::Delete(object) = event {
            wakes.owned_changed(object);
        }
        each(event, |object| wakes.owned_changed(object));
        if matches!(event, Event::InitDone) {
            wakes.everything();
        }
    }));
}

/// The object of an event that shows one alive. During a relist the copy is not swapped yet, so those who relist end
/// with waking everything.
fn each<K>(event: &Event<K>, mut then: impl FnMut(&K)) {
    match event {
        Event::Apply(object) | Event::InitApply(object) => then(object),
        Event::Delete(_) | Event::Init | Event::InitDone => {}
    }
}

async fn reflect<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    mut on: impl FnMut(&Event<K>),
) where
    K: Resource
        + Lookup<DynamicType = <K as Resource>::DynamicType>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
    <K as Resource>::DynamicType: Default + Eq + Hash + Clone,
{
    let kind = <K as Resource>::kind(&Default::default()).into_owned();
    let events = watcher(api, config).default_backoff().modify(|object| {
        // Nobody reads them and they are most of an object.
        object.meta_mut().managed_fields = None;
    });
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                writer.apply_watcher_event(&event);
                on(&event);
            }
            Err(error) => tracing::warn!(%kind, error = &error as &dyn std::error::Error, "watch failed"),
        }
    }
}

/// The reference of a policy in the cache.
#[must_use]
pub fn policy_ref(namespace: &str, name: &str) -> ObjectRef<Policy> {
    ObjectRef::new(name).within(namespace)
}

/// The reference of a pool in the cache.
#[must_use]
pub fn pool_ref(name: &str) -> ObjectRef<Pool> {
    ObjectRef::new(name)
}
