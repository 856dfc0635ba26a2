//! Who may open how many descriptors: half of them and more are those of clients, the rest is dealt out here.
//!
//! A client's connection and its own one to a destination are counted by [`super::Limits::connections`]. Everything else
//! that opens a descriptor takes it from a share of what is kept back, so that none of it can keep a client from being
//! accepted: look-ups, connections that wait for another request, and attempts beside the first of a request. What is not
//! dealt out is for health checks, the report, probes, pipes and files.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Kept back where the process may open many.
const RESERVED: usize = 1280;
/// Look-ups at one time where the process may open many; each holds a socket, two where both families are asked at once,
/// the second of which its request would have for the destination.
const LOOKUPS: usize = 512;
/// Idle connections to origins, the same.
const IDLE: usize = 384;
/// Attempts beside the first of each request, the same. Happy eyeballs wait for the second only 250 ms, so this is 1,024
/// new destinations a second of which all are slow.
const ATTEMPTS: usize = 256;

/// The shares.
#[derive(Clone, Debug)]
pub struct Descriptors {
    /// Client connections that fit beside them; each may have one to a destination.
    pub connections_max: usize,
    /// Look-ups at one time.
    pub lookups: usize,
    /// Connections to origins that wait for another request.
    pub idle: usize,
    attempts: Arc<Semaphore>,
}

/// The descriptor of one attempt; given back when it is dropped.
#[derive(Debug)]
pub struct Attempt {
    _permit: OwnedSemaphorePermit,
}

impl Descriptors {
    /// The shares of a process that may open so many; `None` is any number.
    #[must_use]
    pub fn of(most: Option<u64>) -> Self {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let reserved = RESERVED.min(most / 4);
        // No share is none at all: a process that may open a dozen still looks names up.
        let share = |of: usize| (of * reserved / RESERVED).max(1);
        Self {
            connections_max: (most - reserved) / 2,
            lookups: share(LOOKUPS),
            idle: share(IDLE),
            attempts: Arc::new(Semaphore::new(share(ATTEMPTS))),
        }
    }

    /// One for an attempt beside the first of a request, which needs none: that one is its connection's own. Nobody waits
    /// for it: whoever gets none goes on with the attempts that it has, and gives one of them up to try another address.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        let permit = Arc::clone(&self.attempts).try_acquire_owned().ok()?;
        Some(Attempt { _permit: permit })
    }

    /// Attempts beside the first that could begin now.
    #[must_use]
    pub fn attempts_left(&self) -> usize {
        self.attempts.available_permits()
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::of(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_there_is_all_shares_together_fit() {
        for (most, connections, attempts) in [
            (1_048_576, 523_648, 256),
            (20_480, 9_600, 256),
            (4096, 1536, 204),
            (1024, 384, 51),
            (256, 96, 12),
            (16, 6, 1),
        ] {
            let shares = Descriptors::of(Some(most));
            assert_eq!(
                (shares.connections_max, shares.attempts_left()),
                (connections, attempts),
                "{most}"
            );
            let all = 2 * connections + shares.lookups + shares.idle + attempts;
            assert!(all <= usize::try_from(most).unwrap(), "{most}: {all}");
        }
    }

    #[test]
    fn an_attempt_past_the_share_gets_none_until_one_ends() {
        let shares = Descriptors::of(Some(256));
        let held: Vec<_> = std::iter::from_fn(|| shares.attempt()).collect();
        assert_eq!((held.len(), shares.attempts_left()), (12, 0));
        drop(held);
        assert_eq!(shares.attempts_left(), 12);
    }
}
