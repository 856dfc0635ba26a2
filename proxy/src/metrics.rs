//! What the data path counts. Labels come from enums only: never a host, an address or an error's text.
//!
//! The control side has its own metrics; both register under the prefix `egressway_proxy_`.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds. From a cached answer or a neighbour (under a millisecond) to the limits of 5 s (DNS) and 10 s (connect).
const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// Labels of `requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `allow`, `deny` or `error`.
    pub decision: &'static str,
    /// The reason's code, or how an allowed request ended.
    pub reason: &'static str,
}

/// Labels of `upstream_errors_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// The reason's code.
    pub error: &'static str,
}

/// Labels of `dns_duration_seconds` and `tls_handshakes_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `found`, `full`, `resumed`, or the reason's code.
    pub outcome: &'static str,
}

/// Labels of `bytes_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// A histogram over [`SECONDS`].
#[derive(Clone, Debug)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// The data path's metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Requests by decision and reason; counted when the request ends or is refused.
    pub requests: Family<RequestLabels, Counter>,
    /// Time to an established connection.
    pub connect_duration: Histogram,
    /// Time of look-ups.
    pub dns_duration: Family<OutcomeLabels, Histogram, Seconds>,
    /// The same of those that found an address: most of them.
    pub dns_found: Histogram,
    /// Failures on the way to or at the destination.
    pub upstream_errors: Family<ErrorLabels, Counter>,
    /// TLS handshakes with destinations: `full`, `resumed` or the failure's code.
    pub tls_handshakes: Family<OutcomeLabels, Counter>,
    /// Bytes from clients to destinations.
    pub bytes_sent: Counter,
    /// Bytes from destinations to clients.
    pub bytes_received: Counter,
    /// Lines that the access log lost because its reader was too slow or gone, or its file could not be written.
    pub log_lines_dropped: Counter,
    /// Connections that the kernel could not hand over (out of file descriptors, mostly).
    pub accept_errors: Counter,
    /// Connections and transfers that were ended for the sake of others.
    pub shed: Counter,
    tunnels_active: Gauge,
    connections_active: Gauge,
}

/// Counts one open thing for as long as it lives.
#[derive(Debug)]
pub struct InFlight(Gauge<i64, AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers the data path's metrics.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let bytes: Family<DirectionLabels, Counter> = Family::default();
        let dns_duration: Family<OutcomeLabels, Histogram, Seconds> = Family::new_with_constructor(Seconds);
        let metrics = Self {
            requests: Family::default(),
            connect_duration: Histogram::new(SECONDS),
            dns_found: dns_duration.get_or_create_owned(&OutcomeLabels { outcome: "found" }),
            dns_duration,
            upstream_errors: Family::default(),
            tls_handshakes: Family::default(),
            bytes_sent: bytes.get_or_create_owned(&DirectionLabels { direction: "sent" }),
            bytes_received: bytes.get_or_create_owned(&DirectionLabels {
                direction: "received",
            }),
            log_lines_dropped: Counter::default(),
            accept_errors: Counter::default(),
            shed: Counter::default(),
            tunnels_active: Gauge::default(),
            connections_active: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("egressway_proxy");
        registry.register(
            "requests",
            "Requests by decision and reason, counted when they end",
            metrics.requests.clone(),
        );
        registry.register(
            "connect_duration_seconds",
            "Time to an established connection to the destination",
            metrics.connect_duration.clone(),
        );
        registry.register(
            "dns_duration_seconds",
            "Time of name look-ups by outcome",
            metrics.dns_duration.clone(),
        );
        registry.register(
            "upstream_errors",
            "Failures on the way to or at the destination",
            metrics.upstream_errors.clone(),
        );
        registry.register(
            "tls_handshakes",
            "TLS handshakes of the proxy with destinations by outcome",
            metrics.tls_handshakes.clone(),
        );
        registry.register("bytes", "Bytes relayed, seen from the client", bytes);
        registry.register(
            "log_lines_dropped",
            "Access log lines lost because the log's reader was too slow or gone, or its file could not be written",
            metrics.log_lines_dropped.clone(),
        );
        registry.register(
            "accept_errors",
            "Connections that the kernel could not hand over",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "shed",
            "Connections and transfers that were ended because others needed their place or memory",
            metrics.shed.clone(),
        );
        registry.register("tunnels_active", "Open tunnels", metrics.tunnels_active.clone());
        registry.register(
            "connections_active",
            "Open client connections",
            metrics.connections_active.clone(),
        );
        Arc::new(metrics)
    }

    /// Counts an open tunnel.
    #[must_use]
    pub fn tunnel(&self) -> InFlight {
        self.tunnels_active.inc();
        InFlight(self.tunnels_active.clone())
    }

    /// Counts an open client connection.
    #[must_use]
    pub fn connection(&self) -> InFlight {
        self.connections_active.inc();
        InFlight(self.connections_active.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let labels = RequestLabels {
            decision: "deny",
            reason: "no_rule_matches",
        };
        metrics.requests.get_or_create(&labels).inc();
        metrics.bytes_sent.inc_by(7);
        let tunnel = metrics.tunnel();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"egressway_proxy_requests_total{decision="deny",reason="no_rule_matches"} 1"#,
            r#"egressway_proxy_bytes_total{direction="sent"} 7"#,
            "egressway_proxy_tunnels_active 1",
            "egressway_proxy_log_lines_dropped_total 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(tunnel);
        assert_eq!(metrics.tunnels_active.get(), 0);
    }
}
