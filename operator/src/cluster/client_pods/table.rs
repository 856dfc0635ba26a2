//! Pure: who holds which address.
//!
//! An address is reused as soon as a node takes it back, often by a pod of another tenant, while the API server may
//! still show the one that had it before. So holding is a matter of the whole cluster, never of one namespace: of all
//! pods that show an address only the one that got it last holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

/// Names of namespaces.
pub type Namespaces = BTreeSet<String>;

/// Labels of a pod, shared by all pods of the table that have the same: the replicas of one template do.
pub type Labels = Arc<BTreeMap<String, String>>;

/// A pod that can send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, one per family.
    pub ips: Vec<IpAddr>,
    /// Its addresses are the node's.
    pub host_network: bool,
    /// When it got its addresses, as far as its kubelet tells: the start of the pod, or of its last sandbox.
    pub since: Option<Timestamp>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl Sender {
    /// Of two pods with one address the one that got it last has it; the rest only makes the order total.
    fn age(&self) -> (Option<Timestamp>, Option<Timestamp>, &str, &str) {
        (self.since, self.created, &self.namespace, &self.name)
    }
}

/// A pod with the addresses that it holds, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The pod.
    pub pod: Arc<Sender>,
    /// Sorted.
    pub ips: Vec<IpAddr>,
}

/// Every pod that can send.
#[derive(Debug, Default)]
pub struct Table {
    pods: HashMap<String, BTreeMap<String, Arc<Sender>>>,
    claims: HashMap<IpAddr, Vec<Arc<Sender>>>,
    labels: HashSet<Labels>,
}

impl Table {
    /// Puts a pod in, or in place of what it was. Returns the namespaces whose holders may have changed.
    pub fn put(&mut self, mut pod: Sender) -> Namespaces {
        let known = self.pods.get(&pod.namespace).and_then(|pods| pods.get(&pod.name));
        if known.is_some_and(|known| **known == pod) {
            return Namespaces::new();
        }
        let mut changed = self.remove(&pod.namespace, &pod.name);
        if let Some(same) = self.labels.get(&pod.labels) {
            pod.labels = Arc::clone(same);
        } else {
            self.labels.insert(Arc::clone(&pod.labels));
        }
        let pod = Arc::new(pod);
        for ip in &pod.ips {
            let claims = self.claims.entry(*ip).or_default();
            changed.extend(claims.iter().map(|other| other.namespace.clone()));
            claims.push(Arc::clone(&pod));
        }
        changed.insert(pod.namespace.clone());
        let pods = self.pods.entry(pod.namespace.clone()).or_default();
        pods.insert(pod.name.clone(), pod);
        changed
    }

    /// Takes a pod out. Returns the namespaces whose holders may have changed.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Namespaces {
        let mut changed = Namespaces::new();
        let Some(pods) = self.pods.get_mut(namespace) else {
            return changed;
        };
        let Some(pod) = pods.remove(name) else {
            return changed;
        };
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        changed.insert(namespace.to_owned());
        for ip in &pod.ips {
            let Some(claims) = self.claims.get_mut(ip) else {
                continue;
            };
            claims.retain(|other| !Arc::ptr_eq(other, &pod));
            changed.extend(claims.iter().map(|other| other.namespace.clone()));
            if claims.is_empty() {
                self.claims.remove(ip);
            }
        }
        // This pod and the set.
        if Arc::strong_count(&pod.labels) == 2 {
            self.labels.remove(&pod.labels);
        }
        changed
    }

    /// The pods of a namespace that hold addresses of their own, sorted by name. A pod on the host's network holds the
    /// node's address for nobody: it says nothing about which pod sends.
    #[must_use]
    pub fn holders(&self, namespace: &str) -> Vec<Holder> {
        let pods = self.pods.get(namespace).into_iter().flat_map(BTreeMap::values);
        pods.filter(|pod| !pod.host_network)
            .filter_map(|pod| {
                let mut ips: Vec<IpAddr> = pod
                    .ips
                    .iter()
                    .copied()
                    .filter(|ip| self.holds(pod, *ip))
                    .collect();
                ips.sort_unstable();
                ips.dedup();
                (!ips.is_empty()).then(|| Holder {
                    pod: Arc::clone(pod),
                    ips,
                })
            })
            .collect()
    }

    fn holds(&self, pod: &Arc<Sender>, ip: IpAddr) -> bool {
        let claims = self.claims.get(&ip).into_iter().flatten();
        let last = claims.max_by(|a, b| a.age().cmp(&b.age()));
        last.is_some_and(|last| Arc::ptr_eq(last, pod))
    }

    /// The namespaces whose pods are others than in `before`, and those that share an address with them.
    #[must_use]
    pub fn differs(&self, before: &Self) -> Namespaces {
        let all = self.pods.keys().chain(before.pods.keys());
        let moved: Namespaces = all
            .filter(|namespace| self.pods.get(*namespace) != before.pods.get(*namespace))
            .cloned()
            .collect();
        let shared = [self, before].into_iter().flat_map(|table| table.claims.values());
        let shared = shared
            .filter(|claims| claims.len() > 1 && claims.iter().any(|pod| moved.contains(&pod.namespace)));
        let beside: Namespaces = shared.flatten().map(|pod| pod.namespace.clone()).collect();
        moved.into_iter().chain(beside).collect()
    }

    /// Pods in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}
