//! Which addresses a pod really leaves from, as far as a quorum of observers agrees: pure bookkeeping over rounds.
//!
//! It does not ask anybody (the proxy does) and promises nothing (the pool does). A NAT may carry several addresses
//! and spread connections over them, so the answer is a set, gathered over a window of rounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::document::OnMismatch;
use crate::wire::report::{Phase, SEEN_MAX, Seen};

/// Rounds that a sighting counts. Three: one round may lose an answer, and with a NAT of several addresses one round
/// rarely meets them all; more would keep a drifted address in view long after it was put right.
pub const WINDOW_ROUNDS: usize = 3;
/// Rounds after which an address that nobody sees any more is forgotten entirely.
pub const REMEMBERED_ROUNDS: u64 = 60;

/// One answer of one observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Name of the observer.
    pub observer: String,
    /// The address it answered, in canonical form.
    pub ip: IpAddr,
}

/// What is promised for the cell and how to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Distinct observers that must have seen an address.
    pub quorum: usize,
    /// Whether the pool declares addresses at all; without, every address that a quorum saw is fine (discovery).
    pub declared: bool,
    /// The addresses promised, at whatever time.
    pub promised: Vec<Promise>,
    /// What follows from an address outside of them.
    pub on_mismatch: OnMismatch,
    /// Whether there is anybody to ask.
    pub observed: bool,
}

/// A range that is promised for a time; bounds are in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The range.
    pub net: IpNet,
    /// Not before.
    pub not_before: Option<u64>,
    /// Not from then on.
    pub not_after: Option<u64>,
}

impl Promise {
    /// Whether traffic may leave from it at `now`.
    #[must_use]
    pub fn in_force(&self, now: u64) -> bool {
        self.not_before.is_none_or(|time| time <= now) && self.not_after.is_none_or(|time| now < time)
    }
}

impl From<IpNet> for Promise {
    /// For ever.
    fn from(net: IpNet) -> Self {
        Self {
            net,
            not_before: None,
            not_after: None,
        }
    }
}

impl Terms {
    /// Whether traffic may leave from `ip` at `now`.
    #[must_use]
    pub fn promises(&self, ip: IpAddr, now: u64) -> bool {
        let mut promised = self.promised.iter();
        !self.declared || promised.any(|promise| promise.in_force(now) && promise.net.contains(&ip))
    }

    /// The next moment at which a promise begins or ends.
    #[must_use]
    pub fn next_change(&self, now: u64) -> Option<u64> {
        let bounds = self
            .promised
            .iter()
            .flat_map(|promise| [promise.not_before, promise.not_after]);
        bounds.flatten().filter(|time| *time > now).min()
    }
}

/// The last rounds, and what they mean.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rounds: u64,
    window: VecDeque<Vec<Sighting>>,
    last_seen: BTreeMap<IpAddr, (u64, u64)>,
}

impl Ledger {
    /// Adds the sightings of one finished round; `now` is in seconds since the Unix epoch.
    pub fn record(&mut self, sightings: Vec<Sighting>, now: u64) {
        self.rounds = self.rounds.saturating_add(1);
        for sighting in &sightings {
            self.last_seen.insert(sighting.ip, (self.rounds, now));
        }
        let oldest = self.rounds.saturating_sub(REMEMBERED_ROUNDS);
        self.last_seen.retain(|_, (round, _)| *round >= oldest);
        while self.last_seen.len() > SEEN_MAX {
            let first = self
                .last_seen
                .iter()
                .min_by_key(|(_, seen)| **seen)
                .map(|(ip, _)| *ip);
            first.and_then(|ip| self.last_seen.remove(&ip));
        }
        self.window.push_back(sightings);
        while self.window.len() > WINDOW_ROUNDS {
            self.window.pop_front();
        }
    }

    /// Rounds recorded so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Every address in memory with who saw it within the window, sorted by address.
    #[must_use]
    pub fn seen(&self, quorum: usize) -> Vec<Seen> {
        let mut observers: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
        for sighting in self.window.iter().flatten() {
            observers
                .entry(sighting.ip)
                .or_default()
                .insert(&sighting.observer);
        }
        self.last_seen
            .iter()
            .map(|(ip, (_, last_seen))| {
                let names = observers.get(ip);
                Seen {
                    ip: *ip,
                    observers: names
                        .into_iter()
                        .flatten()
                        .map(|name| (*name).to_owned())
                        .collect(),
                    confirmed: quorum > 0 && names.is_some_and(|names| names.len() >= quorum),
                    last_seen: *last_seen,
                }
            })
            .collect()
    }

    /// What a pod does with new requests at `now`, given what it did before.
    ///
    /// Silence changes nothing: observers that die take no serving pod down and let no quarantined pod out.
    #[must_use]
    pub fn phase(&self, before: Phase, terms: &Terms, now: u64) -> Phase {
        if before == Phase::Draining || terms.on_mismatch != OnMismatch::Quarantine || !terms.observed {
            return if before == Phase::Draining {
                Phase::Draining
            } else {
                Phase::Serving
            };
        }
        let seen = self.seen(terms.quorum);
        let mut confirmed = seen.iter().filter(|seen| seen.confirmed).peekable();
        if confirmed.peek().is_none() {
            return before;
        }
        if confirmed.all(|seen| terms.promises(seen.ip, now)) {
            Phase::Serving
        } else {
            Phase::Quarantined
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn round(answers: &[(&str, &str)]) -> Vec<Sighting> {
        answers
            .iter()
            .map(|(observer, address)| Sighting {
                observer: (*observer).to_owned(),
                ip: ip(address),
            })
            .collect()
    }

    fn terms() -> Terms {
        Terms {
            quorum: 2,
            declared: true,
            promised: vec!["192.31.196.10/32".parse::<IpNet>().unwrap().into()],
            on_mismatch: OnMismatch::Quarantine,
            observed: true,
        }
    }

    const NOW: u64 = 1_800_000_000;
    const GOOD: &str = "192.31.196.10";
    const BAD: &str = "192.31.196.110";

    #[track_caller]
    fn check(rounds: &[&[(&str, &str)]], expected: &[Phase]) {
        let (mut ledger, mut phase, terms) = (Ledger::default(), Phase::Starting, terms());
        let phases: Vec<Phase> = rounds
            .iter()
            .map(|answers| {
                ledger.record(round(answers), 0);
                phase = ledger.phase(phase, &terms, NOW);
                phase
            })
            .collect();
        assert_eq!(phases, expected);
    }

    #[test]
    fn serving_starts_with_a_quorum_for_a_promised_address() {
        check(
            &[&[], &[("one", GOOD)], &[("two", GOOD)]],
            &[Phase::Starting, Phase::Starting, Phase::Serving],
        );
    }

    #[test]
    fn one_observer_twice_is_no_quorum() {
        check(&[&[("one", GOOD), ("one", GOOD)]], &[Phase::Starting]);
    }

    #[test]
    fn a_changed_address_quarantines_in_the_next_round_and_heals_when_the_window_has_passed() {
        let (good, bad): (&[_], &[_]) = (&[("one", GOOD), ("two", GOOD)], &[("one", BAD), ("two", BAD)]);
        check(
            &[good, bad, good, good, good],
            &[
                Phase::Serving,
                Phase::Quarantined,
                Phase::Quarantined,
                Phase::Quarantined,
                Phase::Serving,
            ],
        );
    }

    #[test]
    fn one_liar_changes_no_phase_but_is_seen() {
        let mut ledger = Ledger::default();
        ledger.record(round(&[("one", GOOD), ("two", GOOD), ("three", BAD)]), 7);
        assert_eq!(ledger.phase(Phase::Starting, &terms(), NOW), Phase::Serving);
        let liar = ledger
            .seen(2)
            .into_iter()
            .find(|seen| seen.ip == ip(BAD))
            .unwrap();
        assert_eq!(
            (liar.confirmed, liar.observers, liar.last_seen),
            (false, vec!["three".to_owned()], 7)
        );
    }

    #[test]
    fn dead_observers_take_nobody_down_and_let_nobody_out() {
        check(
            &[&[("one", GOOD), ("two", GOOD)], &[], &[], &[], &[]],
            &[Phase::Serving; 5],
        );
        check(
            &[&[("one", BAD), ("two", BAD)], &[], &[], &[], &[]],
            &[Phase::Quarantined; 5],
        );
    }

    #[test]
    fn several_addresses_of_one_nat_add_up_over_the_window() {
        let mut ledger = Ledger::default();
        ledger.record(
            round(&[
                ("one", "192.31.196.10"),
                ("two", "192.31.196.11"),
                ("three", "192.31.196.12"),
            ]),
            1,
        );
        assert!(ledger.seen(2).iter().all(|seen| !seen.confirmed));
        ledger.record(
            round(&[
                ("one", "192.31.196.11"),
                ("two", "192.31.196.12"),
                ("three", "192.31.196.10"),
            ]),
            2,
        );
        assert_eq!(ledger.seen(2).iter().filter(|seen| seen.confirmed).count(), 3);
    }

    #[test]
    fn an_address_leaves_the_window_but_stays_remembered_for_a_while() {
        let mut ledger = Ledger::default();
        ledger.record(round(&[("one", GOOD), ("two", GOOD)]), 5);
        for _ in 0..WINDOW_ROUNDS {
            ledger.record(vec![], 9);
        }
        let seen = ledger.seen(2);
        assert_eq!(
            (seen[0].confirmed, seen[0].observers.len(), seen[0].last_seen),
            (false, 0, 5)
        );
        for _ in 0..REMEMBERED_ROUNDS {
            ledger.record(vec![], 9);
        }
        assert!(ledger.seen(2).is_empty());
    }

    #[test]
    fn an_observer_that_answers_at_random_cannot_grow_the_memory() {
        let mut ledger = Ledger::default();
        for n in 0..1000_u32 {
            ledger.record(
                vec![Sighting {
                    observer: "liar".to_owned(),
                    ip: IpAddr::from(n.to_be_bytes()),
                }],
                u64::from(n),
            );
        }
        assert!(ledger.seen(1).len() <= SEEN_MAX);
    }

    #[test]
    fn without_observers_or_with_warn_a_pod_serves_at_once() {
        let ledger = Ledger::default();
        assert_eq!(
            ledger.phase(
                Phase::Starting,
                &Terms {
                    observed: false,
                    ..terms()
                },
                NOW
            ),
            Phase::Serving
        );
        assert_eq!(
            ledger.phase(
                Phase::Starting,
                &Terms {
                    on_mismatch: OnMismatch::Warn,
                    ..terms()
                },
                NOW
            ),
            Phase::Serving
        );
    }

    #[test]
    fn discovery_takes_any_address_that_a_quorum_saw() {
        let mut ledger = Ledger::default();
        ledger.record(round(&[("one", BAD), ("two", BAD)]), 0);
        let discovery = Terms {
            declared: false,
            promised: vec![],
            ..terms()
        };
        assert_eq!(ledger.phase(Phase::Starting, &discovery, NOW), Phase::Serving);
    }

    /// Nobody has to be there at that moment but the pod itself.
    #[test]
    fn a_promise_begins_and_ends_by_the_clock() {
        let mut terms = terms();
        terms.promised.push(Promise {
            net: "192.31.196.110/32".parse().unwrap(),
            not_before: Some(NOW),
            not_after: Some(NOW + 100),
        });
        let mut ledger = Ledger::default();
        ledger.record(round(&[("one", BAD), ("two", BAD)]), NOW);
        let phase = |now| ledger.phase(Phase::Serving, &terms, now);
        assert_eq!(
            [NOW - 1, NOW, NOW + 99, NOW + 100].map(phase),
            [
                Phase::Quarantined,
                Phase::Serving,
                Phase::Serving,
                Phase::Quarantined
            ]
        );
        let next = [0, NOW, NOW + 99, NOW + 100].map(|now| terms.next_change(now));
        assert_eq!(next, [Some(NOW), Some(NOW + 100), Some(NOW + 100), None]);
    }
}
