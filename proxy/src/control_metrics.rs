//! Metrics of the control side: what is in force, what was seen outside, what failed to load.
//!
//! What [`State`] knows is read from it at each scrape, so that a metric cannot disagree with the report. Traffic is
//! counted by the data path.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use egressway_core::wire::report::{Phase, SEEN_MAX};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::state::State;

/// Every phase with its label.
const PHASES: [(Phase, &str); 4] = [
    (Phase::Starting, "starting"),
    (Phase::Serving, "serving"),
    (Phase::Quarantined, "quarantined"),
    (Phase::Draining, "draining"),
];

/// Counters that the control side moves.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    reload_failures: Counter,
    last_reload_success: Gauge<f64, AtomicU64>,
    /// Bounded: a pool has at most eight observers, and those of an older pool are forgotten.
    observer_errors: Family<[(&'static str, String); 1], Counter>,
}

impl ControlMetrics {
    /// Registers everything, under the prefix that the registry has.
    pub fn register(registry: &mut Registry, state: Arc<State>) -> Arc<Self> {
        let metrics = Self::default();
        registry.register(
            "acl_reload_failures",
            "Attempts to load the documents that left older ones in force",
            metrics.reload_failures.clone(),
        );
        registry.register(
            "acl_last_reload_success_timestamp_seconds",
            "When documents were last put in force",
            metrics.last_reload_success.clone(),
        );
        registry.register(
            "observer_errors",
            "Rounds in which an observer gave no usable answer over any family",
            metrics.observer_errors.clone(),
        );
        registry.register(
            "build",
            "The build",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(InForceCollector(state)));
        Arc::new(metrics)
    }

    /// Documents were put in force.
    pub fn reloaded(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        self.last_reload_success.set(now);
    }

    /// Documents were refused, or could not be read.
    pub fn reload_failed(&self) {
        self.reload_failures.inc();
    }

    /// An observer gave no usable answer over any family.
    pub fn observer_failed(&self, observer: &str) {
        self.observer_errors
            .get_or_create(&[("observer", observer.to_owned())])
            .inc();
    }

    /// The pool names other observers now.
    pub fn forget_observers(&self) {
        self.observer_errors.clear();
    }
}

/// Reads the state when asked.
#[derive(Debug)]
struct InForceCollector(Arc<State>);

impl Collector for InForceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (in_force, egress, now) = (self.0.in_force(), self.0.egress(), self.0.phase());
        let policies = in_force.policies.iter().map(|policy| {
            (
                [("namespace", policy.namespace()), ("policy", policy.name())],
                policy.generation(),
            )
        });
        family(
            &mut encoder,
            "acl_generation",
            "Generation of each policy in force",
            policies,
        )?;
        let phases = PHASES
            .iter()
            .map(|(phase, label)| ([("phase", *label)], i64::from(*phase == now)));
        family(
            &mut encoder,
            "phase",
            "What the pod says about itself: 1 for the phase it is in",
            phases,
        )?;
        let confirmed = egress.seen.iter().filter(|seen| seen.confirmed).take(SEEN_MAX);
        let ips: Vec<_> = confirmed.map(|seen| ([("ip", seen.ip.to_string())], 1)).collect();
        let help = "Addresses that a quorum of observers saw this pod leave from";
        family(&mut encoder, "egress_ip_info", help, ips)?;
        let stale = ConstGauge::new(i64::from(self.0.load_error().is_some()));
        let broken = i64::try_from(in_force.secrets.problems().len()).unwrap_or(i64::MAX);
        let broken = ConstGauge::new(broken);
        let help = "Secrets that policies refer to and that cannot be used";
        broken.encode(encoder.encode_descriptor("secrets_broken", help, None, MetricType::Gauge)?)?;
        let help = "1 while the newest documents are refused";
        stale.encode(encoder.encode_descriptor("acl_stale", help, None, MetricType::Gauge)?)
    }
}

fn family<S: prometheus_client::encoding::EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (S, i64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
