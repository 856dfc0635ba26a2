//! What is in force in this process right now, shared by the data path, the report and the admin port.
//!
//! Written by two tasks only: the document loader replaces [`InForce`] whole, the egress observer moves the phase.
//! It decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egressway_core::acl::{Floor, Policy};
use egressway_core::wire::document;
use egressway_core::wire::report::{Egress, Phase};
use tokio::sync::watch;

/// Documents in force, replaced as one.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The policies; empty until the first good load, and then nothing is let through.
    pub policies: Vec<Arc<Policy>>,
    /// The SSRF floor.
    pub floor: Arc<Floor>,
    /// The pool's document.
    pub pool: Arc<document::Pool>,
    /// Digest of the pool's document; empty before the first load.
    pub pool_hash: String,
}

impl InForce {
    /// The policy that a request falls under: in a dedicated fleet the only one.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        match self.policies.as_slice() {
            [only] => Some(only),
            [] | [_, ..] => None,
        }
    }
}

/// The shared state of the process.
#[derive(Debug)]
pub struct State {
    in_force: watch::Sender<Arc<InForce>>,
    phase: watch::Sender<Phase>,
    load_error: watch::Sender<Option<String>>,
    egress: watch::Sender<Arc<Egress>>,
    active: AtomicU64,
}

impl State {
    /// Nothing loaded, nothing served.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            in_force: watch::Sender::new(Arc::new(InForce::default())),
            phase: watch::Sender::new(Phase::Starting),
            load_error: watch::Sender::new(None),
            egress: watch::Sender::new(Arc::new(Egress::default())),
            active: AtomicU64::new(0),
        })
    }

    /// The documents in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Wakes whenever documents change; open tunnels ask again whether they may go on.
    #[must_use]
    pub fn watch_in_force(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }

    /// Puts documents in force.
    pub fn set_in_force(&self, in_force: InForce) {
        self.in_force.send_replace(Arc::new(in_force));
    }

    /// What this pod does with new requests.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Wakes whenever the phase changes.
    #[must_use]
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves the phase. Draining is final: the process is about to end.
    pub fn set_phase(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let moved = *phase != Phase::Draining && *phase != next;
            if moved {
                *phase = next;
            }
            moved
        });
    }

    /// Why the newest documents were refused, while the last good ones stay in force.
    #[must_use]
    pub fn load_error(&self) -> Option<String> {
        self.load_error.borrow().clone()
    }

    /// Notes why the newest documents were refused, or that they were not.
    pub fn set_load_error(&self, error: Option<String>) {
        self.load_error.send_replace(error);
    }

    /// What the observers saw.
    #[must_use]
    pub fn egress(&self) -> Arc<Egress> {
        Arc::clone(&self.egress.borrow())
    }

    /// Notes what the observers saw.
    pub fn set_egress(&self, egress: Egress) {
        self.egress.send_replace(Arc::new(egress));
    }

    /// Open tunnels and forwarded requests.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts one tunnel or forwarded request for as long as the guard lives.
    #[must_use]
    pub fn track(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }
}

/// One open tunnel or forwarded request.
#[derive(Debug)]
pub struct Active(Arc<State>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
