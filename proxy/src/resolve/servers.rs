//! The name servers that are asked, and what is known of each.
//!
//! Where their list comes from is another file's. What follows from silence is decided in [`super::health`], and only
//! noted, counted and logged here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::health::{self, Change, Health, Unheard};
use super::metrics::ServerMetrics;
use super::question::Flaw;
use super::resolv_conf::{Options, Rotate};

/// The servers in force.
#[derive(Debug)]
pub(super) struct Servers {
    /// In the order of their list; never none.
    pub(super) list: Vec<Arc<Server>>,
    pub(super) options: Options,
    /// Larger with each list: an answer belongs to the list that gave it.
    pub(super) generation: u64,
    turn: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    health: Mutex<Health>,
    metrics: ServerMetrics,
    recoveries: Recoveries,
    /// The look whether it is back that is under way.
    probe: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// How often a server came back: what failed before is worth another question.
#[derive(Clone, Debug, Default)]
pub(super) struct Recoveries(Arc<AtomicU64>);

impl Recoveries {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Servers {
    pub(super) fn new(list: Vec<Arc<Server>>, options: Options, generation: u64) -> Self {
        Self {
            list,
            options,
            generation,
            turn: AtomicUsize::new(0),
        }
    }

    /// In the order in which they are asked now.
    pub(super) fn in_order(&self) -> Vec<Arc<Server>> {
        let up: Vec<_> = self.list.iter().map(|server| server.is_up()).collect();
        let first = match self.options.rotate {
            Rotate::No => 0,
            Rotate::Yes => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        health::order(&up, first)
            .into_iter()
            .filter_map(|at| self.list.get(at).cloned())
            .collect()
    }

    /// Whether all of them have been left.
    pub(super) fn are_down(&self) -> bool {
        !self.list.iter().any(|server| server.is_up())
    }

    /// The server with this address.
    pub(super) fn find(&self, address: SocketAddr) -> Option<&Arc<Server>> {
        self.list.iter().find(|server| server.address == address)
    }
}

impl Server {
    pub(super) fn new(address: SocketAddr, metrics: ServerMetrics, recoveries: Recoveries) -> Self {
        metrics.up.set(1);
        Self {
            address,
            health: Mutex::default(),
            metrics,
            recoveries,
            probe: Mutex::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.health).is_up()
    }

    /// What came of a question that was asked at `asked`.
    pub(super) fn note(&self, outcome: Result<(), Flaw>, asked: Instant) {
        let now = Instant::now();
        self.metrics.count(outcome, now.duration_since(asked));
        let change = {
            let mut health = lock(&self.health);
            match outcome {
                Err(Flaw::Silent) => health.unanswered(Unheard::Silent, asked, now),
                Err(Flaw::Unreachable) => health.unanswered(Unheard::Absent, asked, now),
                Ok(()) | Err(_) => health.answered(now),
            }
        };
        match change {
            None => {}
            Some(Change::Left(unanswered)) => {
                self.metrics.up.set(0);
                warn!(server = %self.address, unanswered, "name server left: it does not answer, others are asked first");
            }
            Some(Change::Back(after)) => {
                self.metrics.up.set(1);
                self.recoveries.0.fetch_add(1, Ordering::Relaxed);
                info!(server = %self.address, after_seconds = after.as_secs(), "name server is back");
            }
        }
    }

    /// Whether it is time to look whether it is back.
    pub(super) fn takes_probe(&self) -> bool {
        let mut health = lock(&self.health);
        !health.is_up() && health.takes_probe(Instant::now())
    }

    /// Keeps the look that is under way; an older one is given up.
    pub(super) fn keep_probe(&self, probe: AbortOnDropHandle<()>) {
        *lock(&self.probe) = Some(probe);
    }
}

/// Nothing panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::resolve::metrics::DnsMetrics;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Said {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_says_when_a_server_is_left_and_one_when_it_is_back() {
        let said = Said::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(said.clone())
            .with_ansi(false)
            .finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let address = "192.0.2.53:53".parse().unwrap();
        let server = Server::new(address, DnsMetrics::default().of(address), Recoveries::default());
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        for _ in 0..5 {
            server.note(Err(Flaw::Silent), asked);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..5 {
            server.note(Err(Flaw::ServFail), Instant::now());
        }
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let [left, back] = lines.as_slice() else {
            panic!("{text}")
        };
        assert!(
            left.contains("WARN") && left.contains("name server left"),
            "{left}"
        );
        assert!(
            left.contains("server=192.0.2.53:53") && left.contains("unanswered=3"),
            "{left}"
        );
        assert!(
            back.contains("INFO") && back.contains("name server is back"),
            "{back}"
        );
        assert!(back.contains("after_seconds=60"), "{back}");
        assert_eq!(server.recoveries.count(), 1);
    }
}
