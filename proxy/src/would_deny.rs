//! What mode Enforce would have refused: the destinations that were asked for most often, per policy.
//!
//! Space-saving (Metwally et al., 2005): a fixed number of counters; a newcomer takes over the smallest and its count.
//! So a count may be too high by as much as the smallest, never too low, and whoever is asked for often is listed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use egressway_core::acl::{Policy, Target};
use egressway_core::wire::report::{WOULD_DENY_MAX, WouldDeny};

/// Counters of one policy; the report lists [`WOULD_DENY_MAX`] of them. Ten times as many keep the order right among
/// destinations that come up rarely.
const COUNTERS: usize = 10 * WOULD_DENY_MAX;

/// The counters of all policies.
#[derive(Debug, Default)]
pub struct WouldDenies(Mutex<HashMap<(String, String), Counters>>);

type Counters = HashMap<(Target, &'static str), u64>;

impl WouldDenies {
    /// Counts a request that would have been refused.
    pub fn note(&self, policy: &Policy, target: &Target, reason: &'static str) {
        let mut policies = self.lock();
        let id = (policy.namespace().to_owned(), policy.name().to_owned());
        let counters = policies.entry(id).or_default();
        let key = (target.clone(), reason);
        if let Some(count) = counters.get_mut(&key) {
            *count += 1;
            return;
        }
        let taken_over = if counters.len() < COUNTERS {
            0
        } else {
            let smallest = counters
                .iter()
                .min_by_key(|(_, count)| **count)
                .map(|(key, count)| (key.clone(), *count));
            smallest.map_or(0, |(key, count)| {
                counters.remove(&key);
                count
            })
        };
        counters.insert(key, taken_over + 1);
    }

    /// The destinations of a policy, most often first.
    #[must_use]
    pub fn of(&self, policy: &Policy) -> Vec<WouldDeny> {
        let policies = self.lock();
        let id = (policy.namespace().to_owned(), policy.name().to_owned());
        let counters = policies.get(&id).into_iter().flatten();
        let mut all: Vec<_> = counters
            .map(|((target, reason), count)| WouldDeny {
                target: target.to_string(),
                reason: (*reason).to_owned(),
                count: *count,
            })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.target.cmp(&b.target)));
        all.truncate(WOULD_DENY_MAX);
        all
    }

    /// Forgets policies that are gone.
    pub fn keep<'a>(&self, policies: impl Iterator<Item = &'a Policy> + Clone) {
        self.lock().retain(|(namespace, name), _| {
            policies
                .clone()
                .any(|policy| policy.namespace() == namespace && policy.name() == name)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Counters>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn policy(name: &str) -> Arc<Policy> {
        crate::samples::policy("ns", name)
    }

    #[test]
    fn who_is_asked_for_often_is_listed_whatever_else_is_asked_for() {
        let (denies, policy) = (WouldDenies::default(), policy("a"));
        let often = Target::parse("often.example:443").unwrap();
        for n in 0..10_000 {
            let once = Target::parse(&format!("n{n}.example:443")).unwrap();
            denies.note(&policy, &once, "no_rule_matches");
            if n % 100 == 0 {
                denies.note(&policy, &often, "denied_by_rule");
            }
        }
        let listed = denies.of(&policy);
        assert_eq!(listed.len(), WOULD_DENY_MAX);
        let first = listed
            .iter()
            .find(|deny| deny.target == "often.example:443")
            .unwrap();
        assert!(first.count >= 100 && first.reason == "denied_by_rule");
        assert_eq!(denies.lock().values().next().unwrap().len(), COUNTERS);
    }

    #[test]
    fn policies_are_counted_apart_and_forgotten() {
        let (denies, a, b) = (WouldDenies::default(), policy("a"), policy("b"));
        let target = Target::parse("x.example:443").unwrap();
        denies.note(&a, &target, "no_rule_matches");
        denies.note(&a, &target, "no_rule_matches");
        denies.note(&b, &target, "no_rule_matches");
        assert_eq!((denies.of(&a)[0].count, denies.of(&b)[0].count), (2, 1));
        denies.keep([&*b].into_iter());
        assert!(denies.of(&a).is_empty() && denies.of(&b).len() == 1);
    }
}
