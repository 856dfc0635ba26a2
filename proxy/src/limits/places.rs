//! How many of something there are at one time, in all and for each of something: a destination, a client, a source.
//!
//! A place is taken for as long as its guard lives. The limit is given with each question, since a policy can change
//! it; what stands already is counted all the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A count.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// One more, unless there are as many as `max`.
    #[must_use]
    pub fn take(&self, max: usize) -> Option<Place> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place(Arc::clone(&self.0)))
    }

    /// Whether those that are taken are no more than `max`.
    #[must_use]
    pub fn fits(&self, max: usize) -> bool {
        self.0.load(Ordering::Relaxed) <= max
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A count for each key that is in use; no entry outlives its last use, so there are never more than uses.
#[derive(Clone, Debug)]
pub struct Each<K: Eq + Hash + Copy>(Arc<Mutex<HashMap<K, usize>>>);

/// One use.
#[derive(Debug)]
pub struct One<K: Eq + Hash + Copy> {
    all: Each<K>,
    key: K,
}

/// Uses of each destination.
pub type Destinations = Each<SocketAddr>;
/// A use of a destination.
pub type Destination = One<SocketAddr>;

impl<K: Eq + Hash + Copy> Each<K> {
    /// Whether one more would fit.
    #[must_use]
    pub fn has_room(&self, key: K, max: usize) -> bool {
        self.lock().get(&key).is_none_or(|taken| *taken < max)
    }

    /// One more, unless there are as many as `max`.
    #[must_use]
    pub fn take(&self, key: K, max: usize) -> Option<One<K>> {
        let mut counts = self.lock();
        match counts.entry(key) {
            Entry::Occupied(taken) if *taken.get() >= max => return None,
            Entry::Occupied(mut taken) => *taken.get_mut() += 1,
            Entry::Vacant(_) if max == 0 => return None,
            Entry::Vacant(free) => {
                free.insert(1);
            }
        }
        drop(counts);
        Some(One {
            all: self.clone(),
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Copy> Default for Each<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Copy> Drop for One<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.all.lock().entry(self.key) {
            *taken.get_mut() = taken.get().saturating_sub(1);
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_moves_counts_what_stands() {
        let places = Places::default();
        let held: Vec<_> = (0..3).map(|_| places.take(3).unwrap()).collect();
        assert!(places.take(3).is_none() && places.take(1).is_none());
        assert!(places.fits(3) && !places.fits(2));
        let more = places.take(4);
        assert!(more.is_some());
        drop(held);
        assert!(places.take(2).is_some() && places.take(1).is_none());
    }

    #[test]
    fn destinations_are_counted_apart_and_forgotten() {
        let destinations = Destinations::default();
        let (a, b) = ("192.0.2.1:443".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
        let held = [
            destinations.take(a, 2),
            destinations.take(a, 2),
            destinations.take(b, 2),
        ];
        assert!(held.iter().all(Option::is_some));
        assert!(destinations.take(a, 2).is_none() && !destinations.has_room(a, 2));
        assert!(destinations.has_room(b, 2) && destinations.take(b, 0).is_none());
        drop(held);
        assert!(destinations.lock().is_empty());
    }
}
