//! Local copies of everything the operator reads; reconciles read them and ask nobody. They are kept by [`watches`].
//!
//! A copy may be behind: [`super::apply::Memory`] knows what the operator wrote last and makes a reader ask the API
//! server in that case.

mod pod_seen;
mod watches;

use egressway_crds::{EgressPolicy, EgressPool};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{Lookup, ObjectRef, Store, store};

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
