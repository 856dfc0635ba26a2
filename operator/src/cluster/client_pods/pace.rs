//! How soon and how often the policies of a namespace hear that its pods have changed.
//!
//! Soon, because a new client waits at the proxy for at most two seconds; seldom, because every change of a table is a
//! write per policy and a nudge per proxy pod, and a kubelet takes no more than one a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use tokio::time::{Instant, sleep_until};

use super::ClientPods;
use crate::context::Wakes;

/// So long the first change waits for others: the pods of a Deployment come in bursts.
const TOGETHER: Duration = Duration::from_millis(100);
/// Between two wakes of one namespace. A kubelet syncs a pod at most once a second.
const APART: Duration = Duration::from_secs(1);

/// When which namespace is due.
#[derive(Debug, Default)]
pub struct Pace {
    due: HashMap<String, Instant>,
    last: HashMap<String, Instant>,
}

impl Pace {
    /// A namespace has changed.
    pub fn ask(&mut self, namespace: String, now: Instant) {
        let earliest = self.last.get(&namespace).map(|last| *last + APART);
        let at = earliest.map_or(now + TOGETHER, |earliest| earliest.max(now + TOGETHER));
        self.due.entry(namespace).or_insert(at);
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// Takes those that are due.
    pub fn take(&mut self, now: Instant) -> Vec<String> {
        let due = self.due.extract_if(|_, at| *at <= now);
        let due: Vec<String> = due.map(|(namespace, _)| namespace).collect();
        self.last.retain(|_, last| now.duration_since(*last) < APART);
        self.last
            .extend(due.iter().map(|namespace| (namespace.clone(), now)));
        due
    }
}

/// Wakes the policies of namespaces whose pods have changed, for ever.
pub async fn run(pods: Arc<ClientPods>, wakes: Arc<Wakes>) {
    let mut pace = Pace::default();
    let changed = Arc::clone(&pods.changed).stream();
    pin_mut!(changed);
    loop {
        let next = pace.next();
        tokio::select! {
            Some(namespace) = changed.next() => pace.ask(namespace, Instant::now()),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                for namespace in pace.take(Instant::now()) {
                    wakes.namespace_changed(&namespace);
                }
            }
        }
    }
}
