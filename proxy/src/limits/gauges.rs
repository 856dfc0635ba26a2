//! What is held where, read when somebody asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::memory::{Memory, Use};
use super::strangers::Strangers;
use crate::access_log::AccessLog;

/// Reads the budget.
#[derive(Debug)]
pub struct Gauges {
    memory: Memory,
    strangers: Arc<Strangers>,
    log: AccessLog,
}

impl Gauges {
    /// Of these.
    #[must_use]
    pub fn new(memory: Memory, strangers: Arc<Strangers>, log: AccessLog) -> Self {
        Self {
            memory,
            strangers,
            log,
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (connections, bytes) = self.strangers.counted();
        let help = "Bytes held for others, by what for; those of strangers are among those of connections";
        let mut held = encoder.encode_descriptor("memory_held_bytes", help, None, MetricType::Gauge)?;
        let uses = Use::ALL.map(|what| (what.label(), self.memory.held(what)));
        for (label, bytes) in uses
            .into_iter()
            .chain([("strangers", bytes), ("log", self.log.held_bytes())])
        {
            gauge(bytes).encode(held.encode_family(&[("use", label)])?)?;
        }
        let help = "What may be held for others at most";
        let budget = encoder.encode_descriptor("memory_budget_bytes", help, None, MetricType::Gauge)?;
        gauge(self.memory.budget()).encode(budget)?;
        let help = "Open client connections in which no client was recognised yet";
        let strangers = encoder.encode_descriptor("strangers_active", help, None, MetricType::Gauge)?;
        gauge(connections).encode(strangers)
    }
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::access_log::Place;

    #[test]
    fn names_are_as_documented() {
        let log = AccessLog::to_writer(Box::new(std::io::sink()), Place::default()).unwrap();
        let memory = Memory::with_budget(1000);
        let _held = memory.take(Use::Signed, 7).unwrap();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Gauges::new(memory, Arc::new(Strangers::new(0)), log)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"memory_held_bytes{use="signed_bodies"} 7"#,
            r#"memory_held_bytes{use="log"} 0"#,
            "memory_budget_bytes 1000",
            "strangers_active 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
