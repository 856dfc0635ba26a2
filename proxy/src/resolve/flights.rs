//! Look-ups under way: equal questions are one, whichever thread asks, and each ends in the cache.
//!
//! A look-up goes on when whoever asked has gone: it has cost the wait already, and the next one asks soon. Who waits how
//! long for it, and what is used instead, is not decided here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::cache::{Answer, Cache, Epoch, Learned, Look};
use super::look_up::LookUp;
use super::metrics::DnsMetrics;
use super::question::{Family, Question};
use super::source::{LOOK_AGAIN, Source};
use super::turns::{Ticket, Turns};
use super::{Failure, LOOKUP_TIMEOUT, ResolveError};

/// Longest look-up of a name that has an answer to be used meanwhile: soon enough again after servers came back.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether other servers are listed now, while some are waited for.
const LIST_LOOK: Duration = Duration::from_millis(250);

/// Everything that look-ups share.
#[derive(Debug)]
pub(super) struct Dns {
    pub(super) source: Source,
    pub(super) cache: Cache,
    pub(super) metrics: DnsMetrics,
    sockets: Arc<Semaphore>,
    turns: Turns,
    flights: Mutex<HashMap<Arc<str>, Flight>>,
}

/// A look-up under way.
#[derive(Debug)]
struct Flight {
    outcome: Arc<watch::Sender<Option<Answer>>>,
    started: Instant,
    /// Absent for the moment until it has begun.
    task: Option<AbortOnDropHandle<()>>,
}

/// What can be waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    outcome: watch::Receiver<Option<Answer>>,
    pub(super) started: Instant,
}

/// Why a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits who has nothing else.
    Demand,
    /// There is an answer, past its time.
    Renewal,
    /// There is an answer in its time, and nobody waits.
    Refresh,
}

impl Waiting {
    /// The outcome; none if the look-up was given up, because those who waited for its turn had gone.
    pub(super) async fn outcome(&mut self) -> Option<Answer> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone())
    }
}

impl Dns {
    /// With so many sockets at one time; a look-up takes two.
    pub(super) fn new(source: Source, metrics: DnsMetrics, sockets_max: usize) -> Self {
        Self {
            source,
            metrics,
            cache: Cache::default(),
            sockets: Arc::new(Semaphore::new(sockets_max)),
            turns: Turns::new((sockets_max / 2).max(1)),
            flights: Mutex::default(),
        }
    }

    /// The same with another number of sockets.
    pub(super) fn within(&mut self, sockets_max: usize) {
        self.sockets = Arc::new(Semaphore::new(sockets_max));
        self.turns = Turns::new((sockets_max / 2).max(1));
    }

    /// What answers are good for now.
    pub(super) fn epoch(&self, now: Instant) -> Epoch {
        Epoch {
            generation: self.source.generation(now),
            recoveries: self.source.recoveries.count(),
        }
    }

    /// Joins the look-up of a name, or starts it.
    pub(super) fn look_up(
        self: &Arc<Self>,
        name: &str,
        client: Option<IpAddr>,
        purpose: Purpose,
    ) -> Result<Waiting, ResolveError> {
        let now = Instant::now();
        // Before the lock: it may look at the file.
        let epoch = self.epoch(now);
        let mut flights = self.flights();
        if let Some(flight) = flights.get(name) {
            return Ok(Waiting {
                outcome: flight.outcome.subscribe(),
                started: flight.started,
            });
        }
        // It may have ended between the look into the cache and this one.
        if purpose == Purpose::Demand
            && let Look::Kept(answer) = self.cache.look(name, now, epoch)
        {
            let (_, outcome) = watch::channel(Some(answer));
            return Ok(Waiting {
                outcome,
                started: now,
            });
        }
        if Question::new(0, name, Family::V4).is_none() {
            return Err(ResolveError::Failed(Failure::Unaskable));
        }
        let name: Arc<str> = name.into();
        let outcome = Arc::new(watch::Sender::new(None));
        let waiting = Waiting {
            outcome: outcome.subscribe(),
            started: now,
        };
        let landing = Landing {
            dns: Arc::clone(self),
            name: Arc::clone(&name),
            outcome: Arc::clone(&outcome),
        };
        let flight = Flight {
            outcome: Arc::clone(&outcome),
            started: now,
            task: None,
        };
        flights.insert(Arc::clone(&name), flight);
        // A runtime that is ending drops the task at once, and its end takes the lock.
        drop(flights);
        let task = AbortOnDropHandle::new(tokio::spawn(landing.fly(client, purpose, now)));
        let mut flights = self.flights();
        if let Some(flight) = flights.get_mut(&name)
            && Arc::ptr_eq(&flight.outcome, &outcome)
        {
            flight.task = Some(task);
        } else {
            // It has ended already; nothing is left to be given up.
            drop(flights);
            drop(task);
        }
        Ok(waiting)
    }

    async fn learn(&self, name: &str, deadline: Instant) -> (Learned, Epoch) {
        loop {
            let now = Instant::now();
            let servers = self.source.servers(now);
            let look_up = LookUp {
                servers: &servers,
                sockets: &self.sockets,
                name,
                deadline,
            };
            let other_list = async {
                while self.source.generation(Instant::now()) == servers.generation {
                    sleep(LIST_LOOK).await;
                }
            };
            let learned = tokio::select! {
                biased;
                learned = look_up.run() => learned,
                () = other_list => continue,
            };
            let is_good = match &learned {
                Learned::Found { .. } | Learned::Partial { .. } => true,
                Learned::Missing { .. } | Learned::Failed(_) => false,
            };
            if !is_good && self.list_changes(servers.generation, deadline).await {
                continue;
            }
            let epoch = Epoch {
                generation: servers.generation,
                recoveries: self.source.recoveries.count(),
            };
            return (learned, epoch);
        }
    }

    /// Whether another list than this one counts by now, or will in a moment: what the old servers lack, and whom nobody
    /// reaches any more, are its news.
    async fn list_changes(&self, generation: u64, deadline: Instant) -> bool {
        loop {
            let now = Instant::now();
            let is_changing = self.source.is_changing(now);
            if self.source.generation(now) != generation {
                return true;
            }
            if !is_changing || now >= deadline {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flight>> {
        // Nothing panics while it holds the lock.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a look-up, however it comes: the next one with this name starts anew.
struct Landing {
    dns: Arc<Dns>,
    name: Arc<str>,
    outcome: Arc<watch::Sender<Option<Answer>>>,
}

impl Landing {
    async fn fly(self, client: Option<IpAddr>, purpose: Purpose, started: Instant) {
        let limit = match purpose {
            Purpose::Demand => LOOKUP_TIMEOUT,
            Purpose::Renewal | Purpose::Refresh => REFRESH_TIMEOUT,
        };
        let deadline = started + limit;
        let turn = match self.dns.turns.take(&self.name, client) {
            Ticket::Now(turn) => Some(turn),
            Ticket::Later(called) => tokio::select! {
                called = timeout_at(deadline, called) => called.ok().and_then(Result::ok),
                () = self.deserted(purpose) => return,
            },
            Ticket::Never => {
                let busy = ResolveError::Failed(Failure::Busy);
                return self.land(Learned::Failed(busy), self.dns.epoch(started), purpose);
            }
        };
        let (learned, epoch) = match &turn {
            Some(_) => self.dns.learn(&self.name, deadline).await,
            None => (Learned::Failed(ResolveError::Timeout), self.dns.epoch(started)),
        };
        self.land(learned, epoch, purpose);
    }

    /// Nobody waits any more for something that has not begun.
    async fn deserted(&self, purpose: Purpose) {
        match purpose {
            Purpose::Demand | Purpose::Renewal => self.outcome.closed().await,
            Purpose::Refresh => std::future::pending().await,
        }
    }

    fn land(&self, learned: Learned, epoch: Epoch, purpose: Purpose) {
        if purpose == Purpose::Refresh {
            self.dns.metrics.refreshed(match &learned {
                Learned::Found { .. } | Learned::Partial { .. } => "found",
                Learned::Missing { .. } => "missing",
                Learned::Failed(_) => "failed",
            });
        }
        let answer = self.dns.cache.learn(&self.name, learned, Instant::now(), epoch);
        self.outcome.send_replace(Some(answer));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.dns.flights();
        let is_ours = |flight: &Flight| Arc::ptr_eq(&flight.outcome, &self.outcome);
        if flights.get(&self.name).is_some_and(is_ours) {
            let ended = flights.remove(&self.name);
            drop(flights);
            drop(ended);
        }
    }
}
