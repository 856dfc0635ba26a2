//! What the operator counts: controller-runtime's names, so that existing dashboards work, and its own.
//!
//! Labels come from enums and from kinds only: never a name, an address or an error's text.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::cluster::health::{Fault, Watch};
use crate::desired::secrets::Expiry;
use crate::desired::secrets::needs::Part;
use crate::egress_policy::retry::Class;

/// Seconds, from one cached run to a slow API server.
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    controller: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    watch: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchFailureLabels {
    watch: &'static str,
    fault: &'static str,
}

#[derive(Clone, Debug)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// The metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<ControllerLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    time: Family<ControllerLabels, Histogram, Seconds>,
    active: Family<ControllerLabels, Gauge>,
    applied: Family<KindLabels, Counter>,
    propagation: Histogram,
    clients_propagation: Histogram,
    pod_ranges_known: Gauge,
    watch_up: Family<WatchLabels, Gauge>,
    watch_failures: Family<WatchFailureLabels, Counter>,
    expiry: Family<PartLabels, Gauge>,
    listeners_kept: Gauge,
    /// Policies whose listener has its last good certificate.
    kept: Arc<Mutex<HashSet<String>>>,
    /// First ends by policy, so that a metric without its name can be the first of all.
    expiries: Arc<Mutex<HashMap<String, BTreeMap<Part, i64>>>>,
}

/// Measures one run.
#[derive(Debug)]
pub struct Timer {
    start: Instant,
    time: Histogram,
    active: Gauge,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.time.observe(self.start.elapsed().as_secs_f64());
        self.active.dec();
    }
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            time: Family::new_with_constructor(Seconds),
            active: Family::default(),
            applied: Family::default(),
            propagation: Histogram::new(SECONDS),
            clients_propagation: Histogram::new(SECONDS),
            pod_ranges_known: Gauge::default(),
            watch_up: Family::default(),
            watch_failures: Family::default(),
            expiry: Family::default(),
            listeners_kept: Gauge::default(),
            kept: Arc::default(),
            expiries: Arc::default(),
        };
        let runtime = registry.sub_registry_with_prefix("controller_runtime");
        runtime.register("reconcile", "Runs per controller", metrics.reconciles.clone());
        runtime.register(
            "reconcile_errors",
            "Failed runs per controller",
            metrics.errors.clone(),
        );
        runtime.register("reconcile_time_seconds", "Time of runs", metrics.time.clone());
        runtime.register("active_workers", "Runs under way", metrics.active.clone());
        let own = registry.sub_registry_with_prefix("egressway_operator");
        own.register("applied", "Objects written, by kind", metrics.applied.clone());
        own.register(
            "acl_propagation_seconds",
            "From a written ConfigMap to every pod of the fleet enforcing it",
            metrics.propagation.clone(),
        );
        own.register(
            "clients_propagation_seconds",
            "From a written table of client pods to every pod of the fleet enforcing it",
            metrics.clients_propagation.clone(),
        );
        own.register(
            "pod_ranges_known",
            "1 when ranges of pods are part of the SSRF floor",
            metrics.pod_ranges_known.clone(),
        );
        own.register(
            "watch_up",
            "1 while a watch works, 0 while it fails",
            metrics.watch_up.clone(),
        );
        own.register(
            "watch_failures",
            "Watches and lists that failed, by watch and fault",
            metrics.watch_failures.clone(),
        );
        own.register(
            "certificate_expiry_seconds",
            "Unix time at which the first certificate in use expires, by part of the policy",
            metrics.expiry.clone(),
        );
        own.register(
            "listener_certificates_kept",
            "Policies whose listener has its last good certificate, because what its Secret holds now is broken",
            metrics.listeners_kept.clone(),
        );
        metrics
    }

    /// The first ends of the certificates of a policy; none once it is gone.
    pub fn certificates(&self, policy_uid: &str, expiries: &[Expiry]) {
        self.certificate_kept(policy_uid, expiries.iter().any(|expiry| expiry.kept));
        let mut of_policy = BTreeMap::new();
        for expiry in expiries {
            let end = expiry.not_after.as_second();
            let first = of_policy.entry(expiry.place.part).or_insert(end);
            *first = end.min(*first);
        }
        let mut all = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if of_policy.is_empty() {
            all.remove(policy_uid)
        } else {
            all.insert(policy_uid.to_owned(), of_policy.clone())
        };
        if before.unwrap_or_default() == of_policy {
            return;
        }
        for part in Part::WITH_CERTIFICATES {
            let labels = PartLabels { part: part.as_str() };
            match all.values().filter_map(|ends| ends.get(&part)).min() {
                Some(first) => {
                    self.expiry.get_or_create(&labels).set(*first);
                }
                None => {
                    self.expiry.remove(&labels);
                }
            }
        }
    }

    fn certificate_kept(&self, policy_uid: &str, is_kept: bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if is_kept {
            kept.insert(policy_uid.to_owned());
        } else {
            kept.remove(policy_uid);
        }
        let count = i64::try_from(kept.len()).unwrap_or(i64::MAX);
        self.listeners_kept.set(count);
    }

    /// A run begins.
    #[must_use]
    pub fn reconcile(&self, controller: &'static str) -> Timer {
        let labels = ControllerLabels { controller };
        self.reconciles.get_or_create(&labels).inc();
        let active = self.active.get_or_create(&labels).clone();
        active.inc();
        Timer {
            start: Instant::now(),
            time: self.time.get_or_create(&labels).clone(),
            active,
        }
    }

    /// A run failed.
    pub fn failed(&self, controller: &'static str, class: Class) {
        self.errors
            .get_or_create(&ErrorLabels {
                controller,
                class: class.as_str(),
            })
            .inc();
    }

    /// An object was written.
    pub fn applied(&self, kind: &str) {
        self.applied
            .get_or_create(&KindLabels {
                kind: kind.to_owned(),
            })
            .inc();
    }

    /// A fleet has what it should have.
    pub fn propagated(&self, took: Duration) {
        self.propagation.observe(took.as_secs_f64());
    }

    /// A fleet knows the client pods that it should know.
    pub fn clients_propagated(&self, took: Duration) {
        self.clients_propagation.observe(took.as_secs_f64());
    }

    /// Whether a watch works.
    pub fn watch_works(&self, watch: Watch, works: bool) {
        let labels = WatchLabels {
            watch: watch.as_str(),
        };
        self.watch_up.get_or_create(&labels).set(i64::from(works));
    }

    /// A watch failed.
    pub fn watch_fails(&self, watch: Watch, fault: Fault) {
        let labels = WatchFailureLabels {
            watch: watch.as_str(),
            fault: fault.as_str(),
        };
        self.watch_failures.get_or_create(&labels).inc();
    }

    /// Whether ranges of pods are known.
    pub fn pod_ranges(&self, known: bool) {
        self.pod_ranges_known.set(i64::from(known));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::desired::secrets::needs::Place;

    fn ends(part: Part, seconds: &[i64]) -> Vec<Expiry> {
        let place = Place {
            part,
            field: String::new(),
            keys: String::new(),
        };
        let expiry = |second: &i64| Expiry {
            not_before: Timestamp::UNIX_EPOCH,
            secret: String::new(),
            place: place.clone(),
            not_after: Timestamp::from_second(*second).unwrap(),
            kept: false,
        };
        seconds.iter().map(expiry).collect()
    }

    #[test]
    fn listeners_with_their_last_good_certificate_are_counted() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let ends = |is_kept: bool| {
            let mut ends = ends(Part::Listener, &[100]);
            ends.iter_mut().for_each(|end| end.kept = is_kept);
            ends
        };
        for (policy, expiries, expected) in [
            ("a", ends(true), 1),
            ("b", ends(true), 2),
            ("a", ends(true), 2),
            ("a", ends(false), 1),
            ("b", Vec::new(), 0),
        ] {
            metrics.certificates(policy, &expiries);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let line = format!("egressway_operator_listener_certificates_kept {expected}\n");
            assert!(text.contains(&line), "{policy}: {text}");
        }
    }

    #[test]
    fn the_first_certificate_to_expire_is_told_until_its_policy_is_gone() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let told = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let lines = text
                .lines()
                .filter(|line| line.contains("certificate_expiry_seconds{"));
            lines.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert!(told().is_empty());
        metrics.certificates("a", &ends(Part::Listener, &[300, 200]));
        metrics.certificates("b", &ends(Part::Listener, &[100]));
        let line = |end: i64| {
            vec![format!(
                r#"egressway_operator_certificate_expiry_seconds{{part="listener"}} {end}"#
            )]
        };
        assert_eq!(told(), line(100));
        metrics.certificates("b", &[]);
        assert_eq!(told(), line(200));
        metrics.certificates("a", &[]);
        assert!(told().is_empty());
    }
}
