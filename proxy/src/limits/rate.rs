//! New requests a second: token buckets, one for all clients, one for each client's address, and one for each source of
//! requests in which no client was recognised.
//!
//! A bucket holds one second's worth, so a client that was silent may send that much at once. A bucket that has filled
//! up again says nothing that a new one would not, so it can be forgotten at any time; that keeps the table small.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::source::Source;

/// Most client addresses with a bucket of their own; about 1 MiB. More than that active within one second is no fleet
/// of clients but an attack.
const CLIENTS_MAX: usize = 16 * 1024;
/// Buckets for the addresses past that, by hash: they share, so nobody passes unlimited and nobody is locked out.
const SHARED: usize = 256;
/// A full table is not searched for buckets to forget more often than this: a search looks at every one.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Requests a second of one source in which no client is recognised. A client that asks first and presents its credential
/// when told to (407) needs one for each connection that it opens.
const STRANGERS: u64 = 100;

/// All buckets.
#[derive(Debug, Default)]
pub struct Rates {
    all: Mutex<Option<Bucket>>,
    clients: Mutex<Clients>,
    strangers: Mutex<Clients>,
}

#[derive(Debug)]
struct Clients {
    own: HashMap<IpAddr, Bucket>,
    shared: Vec<Option<Bucket>>,
    hasher: RandomState,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            own: HashMap::new(),
            shared: vec![None; SHARED],
            hasher: RandomState::new(),
            swept: None,
        }
    }
}

impl Rates {
    /// Whether one more request is within a rate over all clients.
    pub fn admits(&self, rate: u64) -> bool {
        let now = Instant::now();
        lock(&self.all)
            .get_or_insert_with(|| Bucket::full(rate, now))
            .take(rate, now)
    }

    /// Whether one more request of a client is within its rate.
    pub fn admits_client(&self, client: IpAddr, rate: u64) -> bool {
        lock(&self.clients).admits(client.to_canonical(), rate, Instant::now())
    }

    /// Whether one more request in which no client was recognised is within what its source may send of them.
    pub fn admits_stranger(&self, source: Source) -> bool {
        lock(&self.strangers).admits(source.address(), STRANGERS, Instant::now())
    }
}

impl Clients {
    fn admits(&mut self, client: IpAddr, rate: u64, now: Instant) -> bool {
        if let Some(bucket) = self.own.get_mut(&client) {
            return bucket.take(rate, now);
        }
        if self.own.len() >= CLIENTS_MAX {
            self.sweep(rate, now);
        }
        if self.own.len() < CLIENTS_MAX {
            let bucket = self.own.entry(client);
            return bucket.or_insert_with(|| Bucket::full(rate, now)).take(rate, now);
        }
        let hash = self.hasher.hash_one(client);
        let at = usize::try_from(hash % SHARED as u64).unwrap_or(0);
        self.shared.get_mut(at).is_some_and(|bucket| {
            bucket
                .get_or_insert_with(|| Bucket::full(rate, now))
                .take(rate, now)
        })
    }

    fn sweep(&mut self, rate: u64, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < SWEEP_PAUSE) {
            return;
        }
        self.swept = Some(now);
        self.own.retain(|_, bucket| !bucket.is_full(rate, now));
    }
}

impl Bucket {
    fn full(rate: u64, now: Instant) -> Self {
        Self {
            tokens: size(rate),
            at: now,
        }
    }

    fn filled(&self, rate: u64, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * size(rate)).min(size(rate))
    }

    fn is_full(&self, rate: u64, now: Instant) -> bool {
        self.filled(rate, now) >= size(rate)
    }

    fn take(&mut self, rate: u64, now: Instant) -> bool {
        let filled = self.filled(rate, now);
        let admitted = filled >= 1.0;
        *self = Self {
            tokens: if admitted { filled - 1.0 } else { filled },
            at: now,
        };
        admitted
    }
}

/// A second's worth.
#[expect(
    clippy::cast_precision_loss,
    reason = "rates are at most a million, see the core's bounds"
)]
fn size(rate: u64) -> f64 {
    rate as f64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    fn client(n: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(n).unwrap()).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_holds_a_seconds_worth() {
        let rates = Rates::default();
        let taken = |rate| (0..100).filter(|_| rates.admits(rate)).count();
        assert_eq!(taken(10), 10);
        advance(Duration::from_millis(50)).await;
        assert_eq!(taken(10), 0);
        advance(Duration::from_millis(50)).await;
        assert_eq!(taken(10), 1, "tokens come one by one");
        advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(10), 10, "and never more than a second's worth");
        advance(Duration::from_secs(1)).await;
        assert_eq!(taken(3), 3, "a lower rate counts at once");
        advance(Duration::from_millis(500)).await;
        assert_eq!(taken(3), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn over_any_time_no_client_passes_its_rate() {
        let rates = Rates::default();
        let mut passed = [0; 3];
        for step in 0..1000_usize {
            for (n, passed) in passed.iter_mut().enumerate() {
                *passed += usize::from(rates.admits_client(client(n), 5));
            }
            advance(Duration::from_millis(step as u64 % 17)).await;
        }
        // About eight seconds: the first second's worth, and five a second.
        assert!(
            passed.iter().all(|passed| (40..=46).contains(passed)),
            "{passed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_one_however_its_address_is_written() {
        let rates = Rates::default();
        assert!(rates.admits_client("192.0.2.1".parse().unwrap(), 1));
        assert!(!rates.admits_client("::ffff:192.0.2.1".parse().unwrap(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_have_a_budget_of_their_own_for_each_source() {
        let rates = Rates::default();
        let [one, other] = ["2001:db8::1", "2001:db8:1::1"].map(|text| Source::of(text.parse().unwrap()));
        let taken = |source| (0..1000).filter(|_| rates.admits_stranger(source)).count() as u64;
        assert_eq!((taken(one), taken(one), taken(other)), (STRANGERS, 0, STRANGERS));
        assert!(rates.admits(1) && rates.admits_client("2001:db8::1".parse().unwrap(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_lets_nobody_through_unlimited_and_locks_nobody_out() {
        let rates = Rates::default();
        for n in 0..CLIENTS_MAX {
            assert!(rates.admits_client(client(n), 2));
        }
        let late = CLIENTS_MAX + 7;
        let taken = (0..100).filter(|_| rates.admits_client(client(late), 2)).count();
        assert_eq!(taken, 2, "a latecomer shares a bucket");
        assert_eq!(lock(&rates.clients).own.len(), CLIENTS_MAX);
        advance(Duration::from_secs(1)).await;
        assert!(rates.admits_client(client(late), 2));
        assert_eq!(
            lock(&rates.clients).own.len(),
            1,
            "those that filled up are forgotten"
        );
    }
}
