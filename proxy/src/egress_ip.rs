//! The truth about the address this pod leaves from: asked of observers outside, believed only from a quorum.
//!
//! It keeps time and asks; the ledger in the core judges. It promises nothing (the pool does) and writes nothing but
//! the phase and what was seen. Observers that die change nothing: a pod that served goes on serving.

mod plan;
mod probe;
mod round;
mod tls;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use egressway_core::egress::Ledger;
use egressway_core::wire::report::{Egress, ObserverHealth, Phase};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

pub use self::plan::{Family, OBSERVERS_MAX, Plan};
pub use self::probe::Error;
use self::round::Outcome;
pub use self::round::Pace;
use crate::control_metrics::ControlMetrics;
use crate::resolve::Resolver;
use crate::state::{InForce, State};
use crate::upstream_tls::roots::{Current, Roots};

/// How much earlier than the interval a round may start, so that the pods of a fleet do not ask as one. Never later:
/// the interval is a promise.
const JITTER_PERCENT: u64 = 10;

/// Asks the observers for as long as the pod lives.
#[derive(Debug)]
pub struct EgressIp {
    cell: String,
    pace: Pace,
    resolver: Resolver,
    state: Arc<State>,
    metrics: Arc<ControlMetrics>,
    ledger: Ledger,
    /// Over every ledger of this process.
    rounds: u64,
    health: Vec<ObserverHealth>,
    phase: Phase,
    roots: Arc<Roots>,
}

/// Longest time without a look at the clock while a promise is about to begin or end.
const CLOCK_AGAIN: Duration = Duration::from_secs(60);

impl EgressIp {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(cell: String, resolver: Resolver, state: Arc<State>, metrics: Arc<ControlMetrics>) -> Self {
        Self {
            cell,
            pace: Pace::default(),
            resolver,
            state,
            metrics,
            ledger: Ledger::default(),
            rounds: 0,
            health: Vec::new(),
            phase: Phase::Starting,
            roots: Roots::built_in(),
        }
    }

    /// With other roots for observers that the pool names none for.
    #[must_use]
    pub fn with_roots(mut self, roots: Arc<Roots>) -> Self {
        self.roots = roots;
        self
    }

    /// With other times than the default ones, for tests.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Runs until `stop`. Starts over with whatever pool is in force whenever that changes.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut documents = self.state.watch_in_force();
        let mut observation = None;
        loop {
            let in_force = Arc::clone(&documents.borrow_and_update());
            let roots = self.roots.current();
            let Some(plan) = self.plan(&in_force, &roots) else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = moved(&mut documents, &in_force) => continue,
                }
            };
            if observation.as_ref() != Some(&in_force.pool.observation.observers) {
                // What the old observers said counts for nothing among the new ones.
                observation = Some(in_force.pool.observation.observers.clone());
                self.ledger = Ledger::default();
                self.health.clear();
                self.metrics.forget_observers();
            }
            self.judge(&plan);
            if self
                .follow(&plan, &in_force, &roots, &mut documents, &stop)
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Round after round under one plan; `None` at the stop, `Some` when the pool's document or the roots changed.
    async fn follow(
        &mut self,
        plan: &Plan,
        in_force: &Arc<InForce>,
        roots: &Current,
        documents: &mut watch::Receiver<Arc<InForce>>,
        stop: &CancellationToken,
    ) -> Option<()> {
        let mut floor = Arc::clone(&in_force.wall.floor);
        loop {
            let started = Instant::now();
            if plan.terms.observed {
                let asked = tokio::select! {
                    () = stop.cancelled() => return None,
                    // Half a round of the old plan is worth nothing.
                    () = moved(documents, in_force) => return Some(()),
                    outcome = round::round(plan, &floor, &self.resolver, self.pace) => outcome,
                };
                self.record(asked);
                self.judge(plan);
            }
            let due = plan.terms.observed.then(|| started + self.pause(plan));
            loop {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = moved(documents, in_force) => return Some(()),
                    () = at(due) => break,
                    // A promise begins or ends, and what was seen last means something else from now on.
                    () = at(turn(plan)) => self.judge(plan),
                }
            }
            if self.roots.current().version != roots.version {
                return Some(());
            }
            floor = Arc::clone(&documents.borrow().wall.floor);
        }
    }

    /// No pool's document yet: the pod cannot know what is promised, and stays as it is.
    fn plan(&self, in_force: &InForce, roots: &Current) -> Option<Plan> {
        if in_force.pool_hash.is_empty() {
            return None;
        }
        Plan::with_roots(&in_force.pool, &self.cell, &roots.store)
            .inspect_err(|problems| {
                // The loader refuses such a document; it cannot be in force.
                error!(
                    error = problems as &dyn std::error::Error,
                    "the pool in force means nothing"
                );
            })
            .ok()
    }

    fn record(&mut self, outcome: Outcome) {
        for health in &outcome.health {
            if let Some(error) = &health.error {
                debug!(
                    observer = health.name,
                    family = health.family,
                    error,
                    "no usable answer"
                );
            }
        }
        // Most observers have one family only, and no address of the other is no failure of theirs.
        for families in outcome.health.chunk_by(|a, b| a.name == b.name) {
            if let [first, ..] = families
                && families.iter().all(|family| family.error.is_some())
            {
                self.metrics.observer_failed(&first.name);
            }
        }
        self.rounds = self.rounds.saturating_add(1);
        self.health = outcome.health;
        self.ledger.record(outcome.sightings, unix_now());
    }

    /// Tells everybody what the ledger makes of it.
    fn judge(&mut self, plan: &Plan) {
        let next = self.ledger.phase(self.phase, &plan.terms, unix_now());
        let seen = self.ledger.seen(plan.terms.quorum);
        if next != self.phase {
            let confirmed: Vec<_> = seen
                .iter()
                .filter(|seen| seen.confirmed)
                .map(|seen| seen.ip)
                .collect();
            info!(before = ?self.phase, now = ?next, ?confirmed, promised = ?plan.terms.promised, "egress phase moved");
            self.phase = next;
        }
        // First what was seen, then what follows from it: a reader woken by the phase finds the reason.
        self.state.set_egress(Egress {
            rounds: self.rounds,
            seen,
            observers: self.health.clone(),
        });
        self.state.set_phase(next);
    }

    /// From the start of the last round to the start of the next.
    fn pause(&self, plan: &Plan) -> Duration {
        if self.phase == Phase::Starting {
            return self.pace.retry.min(plan.interval);
        }
        let millis = u64::try_from(plan.interval.as_millis()).unwrap_or(u64::MAX);
        let span = millis.saturating_mul(JITTER_PERCENT) / 100;
        // Without randomness the pods ask as one, which is only rude.
        let random = getrandom::u64().unwrap_or(0);
        plan.interval
            .saturating_sub(Duration::from_millis(random % span.saturating_add(1)))
    }
}

/// Returns once another pool's document is in force; the other documents do not concern a round.
async fn moved(documents: &mut watch::Receiver<Arc<InForce>>, in_force: &InForce) {
    // An error means that the state is gone, and with it everybody who could ask.
    if documents
        .wait_for(|now| now.pool_hash != in_force.pool_hash)
        .await
        .is_err()
    {
        pending::<()>().await;
    }
}

/// When to look at the promises again: at the next change, by the wall clock, which may be set meanwhile.
fn turn(plan: &Plan) -> Option<Instant> {
    let now = unix_now();
    let left = plan.terms.next_change(now)?.saturating_sub(now);
    let left = Duration::from_secs(left).min(CLOCK_AGAIN);
    Some(Instant::now() + left)
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
