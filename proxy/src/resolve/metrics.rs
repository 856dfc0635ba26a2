//! What is counted about name servers and look-ups.
//!
//! The label of a server is its address as configured: there are a few of them, and those of an older list are
//! forgotten.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::question::Flaw;
use crate::metrics::Seconds;

/// Labels of `dns_server_up` and `dns_server_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: String,
}

/// Labels of `dns_server_queries`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    server: String,
    outcome: &'static str,
}

/// Labels of `dns_refreshes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    outcome: &'static str,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct DnsMetrics {
    up: Family<ServerLabels, Gauge>,
    seconds: Family<ServerLabels, Histogram, Seconds>,
    queries: Family<QueryLabels, Counter>,
    refreshes: Family<RefreshLabels, Counter>,
    /// Answers past their time that were used because no server gave a newer one.
    pub(super) stale: Counter,
}

impl Default for DnsMetrics {
    fn default() -> Self {
        Self {
            up: Family::default(),
            seconds: Family::new_with_constructor(Seconds),
            queries: Family::default(),
            refreshes: Family::default(),
            stale: Counter::default(),
        }
    }
}

impl DnsMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "dns_server_up",
            "1 for a name server that is asked in its turn, 0 for one that does not answer and is asked last",
            self.up.clone(),
        );
        registry.register(
            "dns_server_seconds",
            "Time of answers by name server",
            self.seconds.clone(),
        );
        registry.register(
            "dns_server_queries",
            "Questions to name servers by outcome",
            self.queries.clone(),
        );
        registry.register(
            "dns_refreshes",
            "Look-ups of names in use before their answer ran out, by outcome",
            self.refreshes.clone(),
        );
        registry.register(
            "dns_stale_served",
            "Answers past their time that were used because no name server gave a newer one",
            self.stale.clone(),
        );
    }

    /// Those of one server.
    pub(super) fn of(&self, server: SocketAddr) -> ServerMetrics {
        let server = server.to_string();
        let labels = ServerLabels {
            server: server.clone(),
        };
        ServerMetrics {
            up: self.up.get_or_create_owned(&labels),
            seconds: self.seconds.get_or_create_owned(&labels),
            queries: self.queries.clone(),
            server,
        }
    }

    /// Forgets a server that is in no list any more.
    pub(super) fn forget(&self, server: SocketAddr) {
        let server = server.to_string();
        for outcome in ServerMetrics::OUTCOMES {
            let server = server.clone();
            self.queries.remove(&QueryLabels { server, outcome });
        }
        let labels = ServerLabels { server };
        self.up.remove(&labels);
        self.seconds.remove(&labels);
    }

    /// A refresh came to its end.
    pub(super) fn refreshed(&self, outcome: &'static str) {
        self.refreshes.get_or_create(&RefreshLabels { outcome }).inc();
    }
}

/// Those of one server.
#[derive(Clone, Debug)]
pub(super) struct ServerMetrics {
    pub(super) up: Gauge,
    seconds: Histogram,
    queries: Family<QueryLabels, Counter>,
    server: String,
}

impl ServerMetrics {
    const ANSWERED: &str = "answered";
    const OUTCOMES: [&str; 8] = [
        Self::ANSWERED,
        Flaw::Silent.as_str(),
        Flaw::Unreachable.as_str(),
        Flaw::ServFail.as_str(),
        Flaw::Refused.as_str(),
        Flaw::NotImplemented.as_str(),
        Flaw::FormatError.as_str(),
        Flaw::Garbage.as_str(),
    ];

    /// A question and what came of it; the time counts where something came.
    pub(super) fn count(&self, outcome: Result<(), Flaw>, took: Duration) {
        if !matches!(outcome, Err(flaw) if flaw.is_silence()) {
            self.seconds.observe(took.as_secs_f64());
        }
        let outcome = outcome.map_or_else(Flaw::as_str, |()| Self::ANSWERED);
        let server = self.server.clone();
        self.queries.get_or_create(&QueryLabels { server, outcome }).inc();
    }
}
