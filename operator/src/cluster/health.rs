//! Whether the watches work: what readiness, metrics and the log say about them.
//!
//! A watch that starts again brings nothing when nothing has changed, so the answers of the API server are looked at
//! themselves. How a watch is kept going is in [`super::watching`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;
use tower::service_fn;

use crate::context::Wakes;
use crate::metrics::Metrics;

/// After so long without a watch that the operator lives by it is not ready: with what it takes to notice a server that hangs (a watch and a connection) less than a minute.
const UNREADY_AFTER: Duration = Duration::from_secs(20);
/// Between two lines about one watch that goes on failing.
const SAY_AGAIN: Duration = Duration::from_secs(30);

macro_rules! watches {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Every watch, by what it keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Watch { $($(#[$doc])* $name,)* }

        impl Watch {
            /// Every watch.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As a label of metrics, and in the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

watches! {
    /// Every policy.
    Policies => "egresspolicies",
    /// Every pool.
    Pools => "egresspools",
    /// Every namespace.
    Namespaces => "namespaces",
    /// Every node.
    Nodes => "nodes",
    /// Pods of fleets.
    Pods => "fleet-pods",
    /// Pods of the cluster that can send.
    ClientPods => "client-pods",
    /// Deployments of fleets.
    Deployments => "deployments",
    /// Services of fleets.
    Services => "services",
    /// ConfigMaps of fleets.
    ConfigMaps => "configmaps",
    /// Secrets of fleets.
    Secrets => "secrets",
    /// ServiceAccounts of fleets.
    ServiceAccounts => "serviceaccounts",
    /// NetworkPolicies of fleets.
    NetworkPolicies => "networkpolicies",
    /// PodDisruptionBudgets of fleets.
    DisruptionBudgets => "poddisruptionbudgets",
    /// The cluster's Service ranges.
    ServiceCidrs => "servicecidrs",
    /// Endpoints of the API server.
    ApiEndpoints => "api-endpoints",
    /// The Service of the API server.
    ApiService => "api-service",
    /// The Service of the cluster's DNS.
    DnsService => "dns-service",
}

impl Watch {
    /// Whether the operator lives by it. What is discovered may not be there at all: old clusters lack a kind.
    const fn is_vital(self) -> bool {
        !matches!(
            self,
            Self::ServiceCidrs | Self::ApiEndpoints | Self::ApiService | Self::DnsService
        )
    }
}

/// Why a watch does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 401: the API server does not know who asks.
    Unauthorized,
    /// 403: it does not let the operator.
    Forbidden,
    /// 404: it does not serve the kind.
    NotServed,
    /// 410, 504: the version is gone or not there yet; a list heals it.
    Outdated,
    /// Another refusal.
    Refused,
    /// 429 and 5xx: it cannot for the moment.
    Unavailable,
    /// There is no answer.
    Unanswered,
}

impl Fault {
    /// Of an answer.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotServed,
            410 | 504 => Self::Outdated,
            429 | 500.. => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// As a label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotServed => "not-served",
            Self::Outdated => "outdated",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unanswered => "unanswered",
        }
    }

    /// For people, with what to do.
    const fn text(self) -> &'static str {
        match self {
            Self::Unauthorized => {
                "401, the API server does not know the operator's token: was its signing key replaced? Restart the operator if this lasts"
            }
            Self::Forbidden => "403, the operator may not: helm upgrade brings its rights back",
            Self::NotServed => {
                "404, the API server does not serve the kind: helm upgrade brings the CRDs back"
            }
            Self::Outdated => "410, it begins anew",
            Self::Refused => "the API server refuses",
            Self::Unavailable => "the API server cannot for the moment",
            Self::Unanswered => "no answer from the API server",
        }
    }
}

/// What is known of every watch.
#[allow(missing_debug_implementations)]
pub struct Health {
    failing: Mutex<BTreeMap<Watch, Failing>>,
    metrics: Metrics,
    wakes: Arc<Wakes>,
}

#[derive(Clone, Copy)]
struct Failing {
    fault: Fault,
    since: Instant,
    said: Instant,
}

impl Health {
    /// Every watch is yet to begin.
    #[must_use]
    pub fn new(metrics: Metrics, wakes: Arc<Wakes>) -> Self {
        Self {
            failing: Mutex::default(),
            metrics,
            wakes,
        }
    }

    /// A client whose answers tell how a watch is.
    #[must_use]
    pub fn client(self: &Arc<Self>, client: &Client, watch: Watch) -> Client {
        let (health, namespace) = (Arc::clone(self), client.default_namespace().to_owned());
        let client = client.clone();
        let service = service_fn(move |request: Request<Body>| {
            let (health, client) = (Arc::clone(&health), client.clone());
            async move {
                let query = request.uri().query().unwrap_or_default();
                let begins = query.split('&').any(|pair| pair == "watch=true");
                let answer = client.send(request).await;
                match &answer {
                    Ok(answer) if !answer.status().is_success() => {
                        health.fails(watch, Fault::of(answer.status().as_u16()));
                    }
                    // A list may be had without the watch behind it.
                    Ok(_) if begins => health.works(watch),
                    Ok(_) => {}
                    Err(_) => health.fails(watch, Fault::Unanswered),
                }
                answer
            }
        });
        Client::new(service, namespace)
    }

    /// A watch has begun. After an outage everything that failed meanwhile is tried at once.
    pub fn works(&self, watch: Watch) {
        self.metrics.watch_works(watch, true);
        let before = self.lock().remove(&watch);
        let Some(before) = before else { return };
        tracing::info!(
            watch = watch.as_str(),
            after = ?before.since.elapsed(),
            "watch works again"
        );
        self.wakes.outage_is_over();
    }

    /// A watch could not begin, or was ended.
    pub fn fails(&self, watch: Watch, fault: Fault) {
        self.metrics.watch_fails(watch, fault);
        if fault == Fault::Outdated {
            return;
        }
        self.metrics.watch_works(watch, false);
        let now = Instant::now();
        let mut all = self.lock();
        let state = all.entry(watch).or_insert(Failing {
            fault,
            since: now,
            said: now - SAY_AGAIN,
        });
        let news = state.fault != fault || now.duration_since(state.said) >= SAY_AGAIN;
        state.fault = fault;
        if news {
            state.said = now;
            tracing::warn!(
                watch = watch.as_str(),
                fault = fault.as_str(),
                why = fault.text(),
                since = ?now.duration_since(state.since),
                "watch fails"
            );
        }
    }

    /// Why the operator is not ready, if it is for want of watches: which, for how long, and what to do.
    #[must_use]
    pub fn trouble(&self, after: Duration) -> Option<String> {
        let all = self.lock();
        let failing = all
            .iter()
            .filter(|(watch, state)| watch.is_vital() && state.since.elapsed() >= after);
        let mut by_fault: BTreeMap<Fault, Vec<&str>> = BTreeMap::new();
        for (watch, state) in failing {
            by_fault.entry(state.fault).or_default().push(watch.as_str());
        }
        let lines = by_fault
            .into_iter()
            .map(|(fault, watches)| format!("no watch of {}: {}\n", watches.join(", "), fault.text()));
        let text: String = lines.collect();
        (!text.is_empty()).then_some(text)
    }

    /// The same, for readiness.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.trouble(UNREADY_AFTER)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Watch, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::cluster::caches::caches;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_shows_in_metrics_at_once_and_in_readiness_within_a_minute() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (caches, _writers) = caches();
        let health = Health::new(metrics, Arc::new(Wakes::new(&caches)));
        let told = |line: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            assert!(text.contains(line), "{line} in {text}");
        };
        health.works(Watch::Nodes);
        told("egressway_operator_watch_up{watch=\"nodes\"} 1");
        health.fails(Watch::Nodes, Fault::of(401));
        health.fails(Watch::Nodes, Fault::of(401));
        told("egressway_operator_watch_up{watch=\"nodes\"} 0");
        told("egressway_operator_watch_failures_total{watch=\"nodes\",fault=\"unauthorized\"} 2");
        health.fails(Watch::ServiceCidrs, Fault::of(404));
        assert_eq!(health.unready(), None, "an API server may be restarted");
        tokio::time::advance(UNREADY_AFTER).await;
        let trouble = health.unready().unwrap();
        assert!(trouble.contains("nodes: 401"), "{trouble}");
        assert!(
            !trouble.contains("servicecidrs"),
            "old clusters have none: {trouble}"
        );
        health.works(Watch::Nodes);
        assert_eq!(health.unready(), None);
        told("egressway_operator_watch_up{watch=\"nodes\"} 1");
        health.fails(Watch::Nodes, Fault::of(410));
        tokio::time::advance(UNREADY_AFTER).await;
        assert_eq!(health.unready(), None, "a list heals that");
    }

    #[test]
    fn every_label_is_spelled_once() {
        let mut labels: Vec<&str> = Watch::ALL.iter().map(|watch| watch.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Watch::ALL.len());
    }
}
