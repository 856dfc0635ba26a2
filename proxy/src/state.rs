//! What is in force in this process right now, shared by the data path, the report and the admin port.
//!
//! Written by three tasks only: the document loader replaces [`InForce`] whole, the egress observer moves the phase,
//! the drain says how far it has come. It decides nothing.
//!
//! What a pod *says* and what it *does* differ for a few seconds of every drain: it is announced first (not ready, no
//! longer an endpoint), and refuses only once that had time to reach every node. [`State::phase`] is what it says,
//! [`State::admits`] is what it does.
//!
//! What every request asks at every step (are these documents still the ones, does this pod still serve) costs one load:
//! no lock, and nothing is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use egressway_core::acl::{Policy, Wall};
use egressway_core::wire::document;
use egressway_core::wire::report::{Egress, Phase};
use tokio::sync::watch;

use crate::auth::{ClientTable, Keyring};
use crate::would_deny::WouldDenies;

/// Documents in force, replaced as one.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The policies; empty until the first good load, and then nothing is let through.
    pub policies: Vec<Arc<Policy>>,
    /// The SSRF floor and the caps of the pool.
    pub wall: Arc<Wall>,
    /// The pool's document.
    pub pool: Arc<document::Pool>,
    /// Digest of the pool's document; empty before the first load.
    pub pool_hash: String,
    /// The client pods, and who issues their tokens.
    pub clients: Arc<ClientTable>,
    /// What the policies' Secrets hold.
    pub secrets: Arc<Keyring>,
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

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Nothing drains.
    #[default]
    Idle,
    /// Not ready any more, but still serving: nodes go on routing new connections here until they have heard. Each answer
    /// ends its connection, so that the client's next one leads elsewhere.
    Announced,
    /// New connections are refused; those from before bring what they have under way.
    Refusing,
}

/// Everything that the phase follows from.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// What the egress observer found, as if nothing drained.
    egress: Phase,
    /// Reversible: an admin takes a cell out of use and back.
    cell: Drain,
    /// Final: the process is about to end.
    process: Drain,
}

/// The shared state of the process.
#[derive(Debug)]
pub struct State {
    in_force: watch::Sender<Arc<InForce>>,
    /// Where the documents in force are; compared, never followed.
    current: AtomicPtr<InForce>,
    stand: watch::Sender<Stand>,
    /// The stand as a number, see [`Stand::number`].
    number: AtomicU8,
    phase: watch::Sender<Phase>,
    load_error: watch::Sender<Option<String>>,
    egress: watch::Sender<Arc<Egress>>,
    active: AtomicU64,
    would_denies: WouldDenies,
}

impl State {
    /// Nothing loaded, nothing served.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let in_force = Arc::new(InForce::default());
        let stand = Stand {
            egress: Phase::Starting,
            cell: Drain::Idle,
            process: Drain::Idle,
        };
        Arc::new(Self {
            current: AtomicPtr::new(Arc::as_ptr(&in_force).cast_mut()),
            in_force: watch::Sender::new(in_force),
            number: AtomicU8::new(stand.number()),
            stand: watch::Sender::new(stand),
            phase: watch::Sender::new(Phase::Starting),
            load_error: watch::Sender::new(None),
            egress: watch::Sender::new(Arc::new(Egress::default())),
            active: AtomicU64::new(0),
            would_denies: WouldDenies::default(),
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

    /// Whether these are the documents in force at this moment. Whoever holds documents and asks this before each step
    /// that cannot be taken back decides anew only when it has to.
    #[must_use]
    pub fn is_current(&self, documents: &Arc<InForce>) -> bool {
        // What is held cannot be freed, so no other documents can stand at its address.
        std::ptr::eq(Arc::as_ptr(documents), self.current.load(Ordering::Acquire))
    }

    /// Puts documents in force.
    pub fn set_in_force(&self, in_force: InForce) {
        self.would_denies
            .keep(in_force.policies.iter().map(AsRef::as_ref));
        let mut documents = Arc::new(in_force);
        self.in_force.send_modify(|slot| {
            self.current
                .store(Arc::as_ptr(&documents).cast_mut(), Ordering::Release);
            std::mem::swap(slot, &mut documents);
        });
        // Those from before end here, if nobody holds them, and not under the lock.
    }

    /// What this pod says about itself: its readiness, its report, its metrics.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What this pod does with a new request: serves it, or refuses it for the reason of this phase.
    ///
    /// # Errors
    /// The phase that refuses.
    pub fn admits(&self) -> Result<(), Phase> {
        if self.lets_in() {
            self.lets_out()
        } else {
            Err(Phase::Draining)
        }
    }

    /// What this pod does with a request that it has let in, or has yet to let in from a connection that was made before
    /// it began to refuse: a drain lets both come to their end, a wrong egress address does not.
    ///
    /// # Errors
    /// The phase that refuses.
    pub fn lets_out(&self) -> Result<(), Phase> {
        match self.number.load(Ordering::Acquire) & EGRESS {
            SERVING => Ok(()),
            QUARANTINED => Err(Phase::Quarantined),
            _ => Err(Phase::Starting),
        }
    }

    /// Whether this pod serves connections that are made now: not once a drain refuses.
    #[must_use]
    pub fn lets_in(&self) -> bool {
        self.number.load(Ordering::Acquire) & REFUSING == 0
    }

    /// Whether clients had better go elsewhere with their next request: from the announcement of a drain on.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.number.load(Ordering::Acquire) & LEAVING != 0
    }

    /// Whether this pod wants new connections: it serves, and it has a policy to serve by.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.phase() == Phase::Serving && !self.in_force.borrow().policies.is_empty()
    }

    /// Wakes whenever the phase changes.
    #[must_use]
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves the phase. Draining is final and refuses at once.
    pub fn set_phase(&self, next: Phase) {
        match next {
            Phase::Draining => self.drain_process(Drain::Refusing),
            Phase::Starting | Phase::Serving | Phase::Quarantined => self.change(|stand| stand.egress = next),
        }
    }

    /// Moves the drain of the process, which only goes forward.
    pub fn drain_process(&self, drain: Drain) {
        self.change(|stand| stand.process = stand.process.max(drain));
    }

    /// Moves the drain of the cell, which an admin can take back.
    pub fn drain_cell(&self, drain: Drain) {
        self.change(|stand| stand.cell = drain);
    }

    /// The phase moves under the lock of what it follows from, so that two writers cannot leave a stale one behind.
    fn change(&self, change: impl FnOnce(&mut Stand)) {
        self.stand.send_modify(|stand| {
            change(stand);
            self.number.store(stand.number(), Ordering::Release);
            let next = stand.phase();
            self.phase.send_if_modified(|phase| {
                let moved = *phase != next;
                *phase = next;
                moved
            });
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

    /// Wakes whenever observers saw something.
    #[must_use]
    pub fn watch_egress(&self) -> watch::Receiver<Arc<Egress>> {
        self.egress.subscribe()
    }

    /// Notes what the observers saw.
    pub fn set_egress(&self, egress: Egress) {
        self.egress.send_replace(Arc::new(egress));
    }

    /// What mode Enforce would have refused since the process started.
    #[must_use]
    pub fn would_denies(&self) -> &WouldDenies {
        &self.would_denies
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

/// Bits of a stand's number: what the observer found, whether a drain was announced, whether it refuses.
const EGRESS: u8 = 0b11;
const SERVING: u8 = 1;
const QUARANTINED: u8 = 2;
const LEAVING: u8 = 0b100;
const REFUSING: u8 = 0b1000;

impl Stand {
    /// All that the data path asks about a stand.
    fn number(self) -> u8 {
        let egress = match self.egress {
            Phase::Serving => SERVING,
            Phase::Quarantined => QUARANTINED,
            // The observer never finds a drain.
            Phase::Starting | Phase::Draining => 0,
        };
        egress
            | match self.drain() {
                Drain::Idle => 0,
                Drain::Announced => LEAVING,
                Drain::Refusing => LEAVING | REFUSING,
            }
    }

    fn drain(self) -> Drain {
        self.cell.max(self.process)
    }

    fn phase(self) -> Phase {
        if self.drain() == Drain::Idle {
            self.egress
        } else {
            Phase::Draining
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_drain_is_not_ready_but_still_serves() {
        let state = State::new();
        state.set_phase(Phase::Serving);
        state.drain_process(Drain::Announced);
        assert_eq!((state.phase(), state.admits()), (Phase::Draining, Ok(())));
        state.drain_process(Drain::Refusing);
        assert_eq!(state.admits(), Err(Phase::Draining));
    }

    #[test]
    fn the_drain_of_a_cell_is_reversible_and_that_of_the_process_is_not() {
        let state = State::new();
        state.set_phase(Phase::Serving);
        state.drain_cell(Drain::Refusing);
        assert_eq!(
            (state.phase(), state.admits()),
            (Phase::Draining, Err(Phase::Draining))
        );
        state.drain_cell(Drain::Idle);
        assert_eq!((state.phase(), state.admits()), (Phase::Serving, Ok(())));
        state.set_phase(Phase::Draining);
        state.drain_process(Drain::Idle);
        state.drain_cell(Drain::Idle);
        state.set_phase(Phase::Serving);
        assert_eq!(
            (state.phase(), state.admits()),
            (Phase::Draining, Err(Phase::Draining))
        );
    }

    #[test]
    fn what_the_observers_find_during_a_drain_counts_after_it() {
        let state = State::new();
        state.set_phase(Phase::Serving);
        state.drain_cell(Drain::Announced);
        state.set_phase(Phase::Quarantined);
        assert_eq!(
            (state.phase(), state.admits()),
            (Phase::Draining, Err(Phase::Quarantined))
        );
        state.drain_cell(Drain::Idle);
        assert_eq!(state.phase(), Phase::Quarantined);
    }

    #[test]
    fn what_was_let_in_is_let_out_through_a_drain_and_never_in_quarantine() {
        let state = State::new();
        assert_eq!(
            (state.lets_out(), state.is_leaving()),
            (Err(Phase::Starting), false)
        );
        state.set_phase(Phase::Serving);
        assert_eq!((state.lets_out(), state.is_leaving()), (Ok(()), false));
        for drain in [Drain::Announced, Drain::Refusing] {
            state.drain_cell(drain);
            assert_eq!(
                (state.lets_out(), state.is_leaving()),
                (Ok(()), true),
                "{drain:?}"
            );
        }
        state.set_phase(Phase::Quarantined);
        assert_eq!(state.lets_out(), Err(Phase::Quarantined));
        state.drain_cell(Drain::Idle);
        assert_eq!(
            (state.admits(), state.lets_out(), state.is_leaving()),
            (Err(Phase::Quarantined), Err(Phase::Quarantined), false)
        );
    }

    #[test]
    fn documents_are_current_until_others_are_in_force() {
        let state = State::new();
        let before = state.in_force();
        assert!(state.is_current(&before));
        state.set_in_force(InForce::default());
        assert!(!state.is_current(&before), "alike, and yet others");
        assert!(state.is_current(&state.in_force()));
    }

    #[test]
    fn without_a_policy_nothing_is_ready() {
        let state = State::new();
        state.set_phase(Phase::Serving);
        assert!(!state.ready());
    }
}
