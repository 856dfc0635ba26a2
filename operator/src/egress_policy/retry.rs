//! Pure: how long to wait after a failure, from its class and how many there were in a row.
//!
//! Per object, because kube has no such thing: one broken object must not slow the others down.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody wrote at the same time: look again at once.
    Conflict,
    /// The API server is away, slow or busy.
    Unavailable,
    /// The API server refuses: RBAC, quota, admission. Somebody has to act; asking often does not help.
    Refused,
}

impl Class {
    /// As a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }

    const fn first(self) -> Duration {
        match self {
            Self::Conflict => Duration::from_millis(50),
            Self::Unavailable => Duration::from_millis(250),
            Self::Refused => Duration::from_secs(2),
        }
    }

    const fn most(self) -> Duration {
        match self {
            Self::Conflict => Duration::from_secs(5),
            // Work goes on within 5 s of the end of an outage; a run that fails costs one call.
            Self::Unavailable => Duration::from_secs(4),
            Self::Refused => Duration::from_secs(300),
        }
    }
}

/// The delay before the next try: doubles up to a cap, with a fifth of jitter so that objects that failed together do
/// not come back together. `jitter` is any number; its low bits are used.
#[must_use]
pub fn delay(class: Class, failures: u32, jitter: u32) -> Duration {
    let doubled = class
        .first()
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let base = doubled.min(class.most());
    base.saturating_add(base.mul_f64(f64::from(jitter % 1000) / 5000.0))
}

/// Failures in a row, per object.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<String, Row>>);

#[derive(Debug)]
struct Row {
    count: u32,
    /// When it is tried again, unless something wakes it before.
    until: Instant,
}

impl Failures {
    /// One more; returns how many in a row, and the delay before the next try. Of tries that something woke ahead of
    /// their delay none counts, nor puts the next one off: a namespace that goes wakes its policies many times in a second.
    pub fn more(&self, object: &str, class: Class, jitter: u32) -> (u32, Duration) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let row = failures
            .entry(object.to_owned())
            .or_insert(Row { count: 0, until: now });
        if now < row.until {
            row.until = row.until.min(now + delay(class, row.count, jitter));
        } else {
            row.count = row.count.saturating_add(1);
            row.until = now + delay(class, row.count, jitter);
        }
        (row.count, row.until - now)
    }

    /// Whether a try at this time is ahead of its delay.
    #[must_use]
    pub fn waits(&self, object: &str) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(object).is_some_and(|row| Instant::now() < row.until)
    }

    /// What they all failed at may be over.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// It worked.
    pub fn reset(&self, object: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_double_up_to_their_cap() {
        let millis = |class, failures| delay(class, failures, 0).as_millis();
        assert_eq!(
            [1, 2, 3, 20].map(|n| millis(Class::Conflict, n)),
            [50, 100, 200, 5000]
        );
        assert_eq!(
            [1, 2, 9, 40].map(|n| millis(Class::Unavailable, n)),
            [250, 500, 4_000, 4_000]
        );
        assert_eq!(
            [1, 9, u32::MAX].map(|n| millis(Class::Refused, n)),
            [2000, 300_000, 300_000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_once_for_each_delay_and_success_forgets() {
        let failures = Failures::default();
        let more = |object, class| failures.more(object, class, 0);
        let millis = Duration::from_millis;
        assert_eq!(more("a", Class::Refused), (1, millis(2000)));
        tokio::time::advance(millis(500)).await;
        assert_eq!(more("a", Class::Refused), (1, millis(1500)), "something woke it");
        assert_eq!(more("b", Class::Refused), (1, millis(2000)));
        assert_eq!(
            more("a", Class::Conflict),
            (1, millis(50)),
            "other trouble, to be looked at sooner"
        );
        assert_eq!(more("a", Class::Refused), (1, millis(50)));
        tokio::time::advance(millis(50)).await;
        assert!(!failures.waits("a") && failures.waits("b") && !failures.waits("c"));
        assert_eq!(more("a", Class::Refused), (2, millis(4000)));
        failures.reset("a");
        assert!(!failures.waits("a") && failures.waits("b"));
        assert_eq!(more("a", Class::Refused), (1, millis(2000)));
        failures.forget();
        assert!(!failures.waits("a") && !failures.waits("b"));
    }

    proptest! {
        #[test]
        fn jitter_adds_at_most_a_fifth(failures in any::<u32>(), jitter in any::<u32>()) {
            let base = delay(Class::Unavailable, failures, 0);
            let with = delay(Class::Unavailable, failures, jitter);
            prop_assert!(with >= base && with <= base.mul_f64(1.2));
        }
    }
}
