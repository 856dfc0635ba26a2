//! Answers that are kept, for both families of a name together, and what may be done with them at a given time.
//!
//! Shards with a lock each, held for one look: the threads of the data path share what any of them learned. It asks
//! nobody; the time is a value.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ResolveError;

/// Shortest that an answer is kept, so that a TTL of 0 does not turn each request into a query.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest that an answer is kept: an address taken out of service is dialled no longer than this.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Longest that an answer is kept in which a family is missing because nobody answered for it.
const PARTIAL_TTL_MAX: Duration = Duration::from_secs(10);
/// Longest that a missing name is remembered: whoever just created it retries within seconds.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(10);
/// How long a failure is remembered (RFC 9520, 3.2: at least a second).
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// How long past its time an answer may be used when no server gives a newer one. RFC 8767, 5 suggests days; whoever
/// moved away from an address must not get somebody's requests for so long.
const STALE_MAX: Duration = Duration::from_secs(600);
/// From a failed look-up to the next one for an answer that is past its time.
const RECHECK: Duration = Duration::from_secs(2);
/// Uses of an answer after which it is looked up again before it runs out: more than a request and its repetition.
const POPULAR: u32 = 3;
/// How long before its end, as a part of its time; the least and the most of it.
const REFRESH_PART: u32 = 10;
const REFRESH_MIN: Duration = Duration::from_millis(500);
const REFRESH_MAX: Duration = Duration::from_secs(10);
/// Answers kept, a few hundred bytes each.
const ANSWERS_MAX: usize = 8192;
const SHARDS: usize = 16;
/// Of one shard.
const SHARD_MAX: usize = ANSWERS_MAX / SHARDS;

/// What a look-up came to, for the cache; times are seconds, as servers gave them.
#[derive(Clone, Debug)]
pub(super) enum Learned {
    /// Addresses of both families.
    Found { addresses: Vec<IpAddr>, ttl: u32 },
    /// Addresses of one family, while nobody answered for the other.
    Partial { addresses: Vec<IpAddr>, ttl: u32 },
    /// No such name, or none with addresses.
    Missing { ttl: Option<u32> },
    /// No answer.
    Failed(ResolveError),
}

/// What an answer depends on besides its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    /// Of the list of servers: other servers may know other answers.
    pub(super) generation: u64,
    /// How often a server came back: then a failure is no news any more.
    pub(super) recoveries: u64,
}

/// What is there for a name.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// An answer.
    Kept(Result<Arc<[IpAddr]>, ResolveError>),
    /// An answer that should be asked for again beside its use.
    Refresh(Arc<[IpAddr]>),
    /// One past its time, to be used where no newer one is to be had.
    Stale(Arc<[IpAddr]>),
    /// The same, and a newer one was just asked for in vain.
    StaleForNow(Arc<[IpAddr]>),
    /// Nothing.
    Missing,
}

#[derive(Clone, Debug)]
enum Kept {
    Found(Arc<[IpAddr]>),
    Missing,
    Failed(ResolveError),
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<str>,
    kept: Kept,
    since: Instant,
    until: Instant,
    epoch: Epoch,
    /// Uses since it came.
    uses: u32,
    used: Instant,
    refresh: Refresh,
    /// The last look-up for something newer failed: when the next is due, and the recoveries by then.
    failed: Option<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    NotYet,
    Asked,
}

/// By the hash of the name, which is taken once for a look: two names with one hash, of 2^64, take each other's place.
type Shard = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

/// The hasher of what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The answers.
#[derive(Debug)]
pub(super) struct Cache {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Cache {
    /// What is there for a name, noted as a use of it.
    pub(super) fn look(&self, name: &str, now: Instant, epoch: Epoch) -> Look {
        let hash = self.hasher.hash_one(name);
        match self.shard(hash).get_mut(&hash) {
            Some(entry) if *entry.name == *name => entry.look(now, epoch),
            Some(_) | None => Look::Missing,
        }
    }

    /// Keeps what was learned. A failure never takes the place of an answer that may still be used.
    pub(super) fn learn(&self, name: &str, learned: Learned, now: Instant, epoch: Epoch) -> Answer {
        let hash = self.hasher.hash_one(name);
        let mut shard = self.shard(hash);
        if let Learned::Failed(error) = &learned
            && let Some(entry) = shard.get_mut(&hash).filter(|entry| *entry.name == *name)
            && entry.outlives(error, now)
        {
            entry.failed = Some((now + RECHECK, epoch.recoveries));
            return Err(error.clone());
        }
        if shard.len() >= SHARD_MAX && !shard.contains_key(&hash) {
            make_room(&mut shard, now);
        }
        let entry = Entry::new(name, learned, now, epoch);
        let answer = entry.answer();
        shard.insert(hash, entry);
        answer
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Not the lowest bits: those choose the place within the shard.
        let at = usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0);
        // The index is below their number; nothing panics while it holds the lock.
        let [first, ..] = &self.shards;
        let shard = self.shards.get(at).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of a name, or why there are none.
pub(super) type Answer = Result<Arc<[IpAddr]>, ResolveError>;

impl Entry {
    fn new(name: &str, learned: Learned, now: Instant, epoch: Epoch) -> Self {
        let seconds = |ttl: u32| Duration::from_secs(ttl.into()).max(TTL_MIN);
        let (kept, ttl) = match learned {
            Learned::Found { addresses, ttl } => (Kept::Found(addresses.into()), seconds(ttl).min(TTL_MAX)),
            Learned::Partial { addresses, ttl } => {
                (Kept::Found(addresses.into()), seconds(ttl).min(PARTIAL_TTL_MAX))
            }
            // Without an SOA nothing says how long, and RFC 2308, 5 would not keep it at all.
            Learned::Missing { ttl } => (Kept::Missing, ttl.map_or(TTL_MIN, seconds).min(NEGATIVE_TTL_MAX)),
            Learned::Failed(error) => (Kept::Failed(error), FAILURE_TTL),
        };
        Self {
            name: name.into(),
            kept,
            since: now,
            until: now + ttl,
            epoch,
            uses: 0,
            used: now,
            refresh: Refresh::NotYet,
            failed: None,
        }
    }

    fn answer(&self) -> Answer {
        match &self.kept {
            Kept::Found(addresses) => Ok(Arc::clone(addresses)),
            Kept::Missing => Err(ResolveError::NotFound),
            Kept::Failed(error) => Err(error.clone()),
        }
    }

    fn look(&mut self, now: Instant, epoch: Epoch) -> Look {
        self.uses = self.uses.saturating_add(1);
        self.used = now;
        let in_time = now < self.until && self.epoch.generation == epoch.generation;
        match &self.kept {
            Kept::Found(addresses) if in_time => {
                if self.refresh == Refresh::NotYet && self.uses >= POPULAR && self.is_ending(now) {
                    self.refresh = Refresh::Asked;
                    return Look::Refresh(Arc::clone(addresses));
                }
                Look::Kept(Ok(Arc::clone(addresses)))
            }
            Kept::Found(addresses) if now < self.until + STALE_MAX => {
                let failed = |(until, recoveries)| now < until && recoveries == epoch.recoveries;
                if self.failed.is_some_and(failed) {
                    Look::StaleForNow(Arc::clone(addresses))
                } else {
                    Look::Stale(Arc::clone(addresses))
                }
            }
            Kept::Missing if in_time => Look::Kept(Err(ResolveError::NotFound)),
            Kept::Failed(error) if in_time && self.epoch.recoveries == epoch.recoveries => {
                Look::Kept(Err(error.clone()))
            }
            Kept::Found(_) | Kept::Missing | Kept::Failed(_) => Look::Missing,
        }
    }

    fn is_ending(&self, now: Instant) -> bool {
        let ttl = self.until.duration_since(self.since);
        let before = (ttl / REFRESH_PART).clamp(REFRESH_MIN, REFRESH_MAX);
        self.until.duration_since(now) <= before
    }

    /// Whether it stays when a look-up failed in this way: in its time whatever happened, and past it for as long as
    /// an outage may last.
    fn outlives(&self, error: &ResolveError, now: Instant) -> bool {
        match &self.kept {
            Kept::Found(_) => now < self.until || (error.is_outage() && now < self.until + STALE_MAX),
            Kept::Missing => now < self.until,
            Kept::Failed(_) => false,
        }
    }

    fn is_found(&self) -> bool {
        match &self.kept {
            Kept::Found(_) => true,
            Kept::Missing | Kept::Failed(_) => false,
        }
    }
}

/// Frees an eighth of a shard: what is of no use any more, then what says that there is nothing, then what was used
/// longest ago. Names that nobody has can so not push out those that are in use.
fn make_room(shard: &mut Shard, now: Instant) {
    shard.retain(|_, entry| {
        let end = if entry.is_found() {
            entry.until + STALE_MAX
        } else {
            entry.until
        };
        now < end
    });
    let surplus = shard.len().saturating_sub(SHARD_MAX - SHARD_MAX / 8);
    if surplus == 0 {
        return;
    }
    let mut order: Vec<_> = shard
        .iter()
        .map(|(hash, entry)| (entry.is_found(), entry.used, *hash))
        .collect();
    order.sort_unstable();
    for (_, _, hash) in order.into_iter().take(surplus) {
        shard.remove(&hash);
    }
}

#[cfg(test)]
mod tests;
