//! What every reconcile shares: client, caches, memory, reports, settings; and who to wake when something changes.

use std::sync::Arc;

use egressway_core::wire::names;
use jiff::Timestamp;
use kube::{Client, Resource, ResourceExt as _};
use kube_runtime::reflector::{ObjectRef, Store};
use tokio::sync::Notify;

use crate::cluster::caches::{Caches, Policy, Pool, policy_ref, pool_ref};
use crate::cluster::client_pods::ClientPods;
use crate::cluster::issuer::Issuers;
use crate::cluster::memory::Memory;
use crate::egress_policy::retry::Failures;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::reports::Reports;
use crate::wake::Wake;

/// What is the same for every object, from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where fleets run.
    pub fleet_namespace: String,
    /// Where the operator runs; its pods may ask fleets for reports.
    pub operator_namespace: String,
    /// ServiceAccount of the operator, which tenants let read their Secrets.
    pub service_account: String,
    /// ClusterRole that tenants bind for that.
    pub secret_reader_role: String,
    /// Image of the proxy.
    pub proxy_image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub proxy_image_pull_policy: String,
    /// Names of Secrets in the fleet namespace that open the registry.
    pub image_pull_secrets: Vec<String>,
    /// Domain of the cluster's Services.
    pub cluster_domain: String,
    /// Ranges of the internal tier that cannot be discovered.
    pub internal_cidrs: Vec<String>,
    /// Ranges of the never tier that cannot be discovered.
    pub never_cidrs: Vec<String>,
    /// Ranges of the name servers of nodes, which fleets ask.
    pub name_servers: Vec<String>,
}

/// What every reconcile shares.
#[allow(missing_debug_implementations)]
pub struct Context {
    /// The Kubernetes API, to write.
    pub client: Client,
    /// The Kubernetes API, to read.
    pub caches: Caches,
    /// Who sends from which address.
    pub client_pods: Arc<ClientPods>,
    /// Who issues the tokens of ServiceAccounts.
    pub issuers: Arc<Issuers>,
    /// What was written last.
    pub memory: Memory,
    /// What the pods say.
    pub reports: Arc<Reports>,
    /// Who to wake.
    pub wakes: Arc<Wakes>,
    /// From the command line.
    pub settings: Settings,
    /// Counts and times.
    pub metrics: Metrics,
    /// Events for people.
    pub events: Events,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// When this operator began.
    pub since: Timestamp,
}

/// Who to wake on which change.
#[allow(missing_debug_implementations)]
pub struct Wakes {
    /// Policies to reconcile.
    pub policies: Arc<Wake<ObjectRef<Policy>>>,
    /// Pools to reconcile.
    pub pools: Arc<Wake<ObjectRef<Pool>>>,
    /// The set of pods has changed.
    pub pods: Notify,
    /// How long what fails stays asleep, unless it is woken.
    pub failures: Failures,
    all_policies: Store<Policy>,
    all_pools: Store<Pool>,
}

impl Wakes {
    /// Nobody is awake yet.
    #[must_use]
    pub fn new(caches: &Caches) -> Self {
        Self {
            policies: Arc::default(),
            pools: Arc::default(),
            pods: Notify::new(),
            failures: Failures::default(),
            all_policies: caches.policies.clone(),
            all_pools: caches.pools.clone(),
        }
    }

    /// One policy, by name.
    pub fn policy(&self, namespace: &str, name: &str) {
        self.policies.wake(policy_ref(namespace, name));
    }

    /// A policy changed: it, and the pool whose sum it is part of.
    pub fn policy_changed(&self, policy: &Policy) {
        self.policy(&policy.namespace().unwrap_or_default(), &policy.name_any());
        if let Some(pool) = pool_name(policy) {
            self.pool_only(pool);
        }
    }

    /// A pool's status or the like changed.
    pub fn pool_only(&self, name: &str) {
        self.pools.wake(pool_ref(name));
    }

    /// A pool changed: it, the policies on it, and those that have none yet (the default pool may have moved).
    pub fn pool_changed(&self, name: &str) {
        self.pool_only(name);
        for policy in self.all_policies.state() {
            if pool_name(&policy).is_none_or(|pool| pool == name) {
                self.policy(&policy.namespace().unwrap_or_default(), &policy.name_any());
            }
        }
    }

    /// A namespace changed: whether its policies may use their pools may have changed.
    pub fn namespace_changed(&self, namespace: &str) {
        for policy in self.all_policies.state() {
            if policy.namespace().as_deref() == Some(namespace) {
                self.policy(namespace, &policy.name_any());
            }
        }
    }

    /// An owned object or a pod changed: the policy on its labels.
    pub fn owned_changed(&self, object: &impl Resource) {
        if let Some((namespace, name)) = policy_of(object) {
            self.policy(&namespace, &name);
        }
    }

    /// Nodes changed: every pool counts them, and every floor contains them.
    pub fn nodes_changed(&self) {
        self.everything();
    }

    /// The fleet namespace is there, maybe anew: whatever failed in it is tried as if it had not.
    pub fn fleet_namespace_is_there(&self) {
        self.failures.forget();
        self.everything();
    }

    /// The API server is back: whatever failed without it is tried as if it had not.
    pub fn outage_is_over(&self) {
        self.failures.forget();
        self.everything();
    }

    /// Everything.
    pub fn everything(&self) {
        for policy in self.all_policies.state() {
            self.policy(&policy.namespace().unwrap_or_default(), &policy.name_any());
        }
        for pool in self.all_pools.state() {
            self.pool_only(&pool.name_any());
        }
    }
}

/// Namespace and name of the policy on an object's labels.
#[must_use]
pub fn policy_of(object: &impl Resource) -> Option<(String, String)> {
    let labels = object.meta().labels.as_ref()?;
    let label = |key: &str| labels.get(key).cloned();
    label(names::POLICY_NAMESPACE_LABEL).zip(label(names::POLICY_NAME_LABEL))
}

/// The pool that a policy names.
#[must_use]
pub fn pool_name(policy: &Policy) -> Option<&str> {
    let spec = &policy.0.as_ref().ok()?.spec;
    spec.pool_ref.as_ref().map(|pool| pool.name.as_str())
}
