//! Whom a proxy that runs alone asks for the address it leaves from.
//!
//! Nothing is promised outside of a cluster, so nothing follows from an address but what the proxy makes of it: it is
//! this machine's own, whichever interface has it.

use std::time::Duration;

use super::pool::PoolSpec;
use crate::acl::compile::Problems;
use crate::duration;
use crate::wire::document::{Observation, Observer, OnMismatch};

/// From one round to the next, unless the pool says otherwise; as in a cluster.
const INTERVAL: Duration = Duration::from_secs(60);

/// The observation of a pool; nobody is asked where it has none.
///
/// # Errors
/// The interval is none.
pub fn observation(spec: &PoolSpec) -> Result<Observation, Problems> {
    let observation = spec.observation.clone().unwrap_or_default();
    let mut problems = Problems::default();
    let interval = match observation.interval.as_deref() {
        None | Some("") => INTERVAL,
        Some(text) => duration::parse(text).unwrap_or_else(|problem| {
            problems.push("spec.observation.interval", problem);
            INTERVAL
        }),
    };
    let majority = u32::try_from(observation.observers.len() / 2).unwrap_or(u32::MAX);
    let observers = observation.observers.into_iter().map(|observer| Observer {
        name: observer.name,
        url: observer.url,
        ca_bundle: observer.ca_bundle,
    });
    problems.into_result(Observation {
        observers: observers.collect(),
        quorum: observation.quorum.unwrap_or_else(|| majority.saturating_add(1)),
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        on_mismatch: OnMismatch::Off,
    })
}

#[cfg(test)]
mod tests {
    use super::super::pool;
    use super::*;

    #[test]
    fn a_majority_agrees_and_nothing_follows_but_what_was_seen() {
        let spec = |observers: u32, quorum, interval: Option<&str>| PoolSpec {
            observation: Some(pool::Observation {
                observers: (0..observers)
                    .map(|number| pool::Observer {
                        name: format!("o{number}"),
                        url: "https://a.example".to_owned(),
                        ca_bundle: None,
                    })
                    .collect(),
                quorum,
                interval: interval.map(ToOwned::to_owned),
                on_mismatch: Some("Quarantine".to_owned()),
            }),
            ..PoolSpec::default()
        };
        for (spec, observers, quorum, interval_ms) in [
            (PoolSpec::default(), 0, 1, 60_000),
            (spec(1, None, None), 1, 1, 60_000),
            (spec(2, None, Some("")), 2, 2, 60_000),
            (spec(3, None, Some("5s")), 3, 2, 5_000),
            (spec(3, Some(3), None), 3, 3, 60_000),
        ] {
            let found = observation(&spec).unwrap();
            assert_eq!(
                (
                    found.observers.len(),
                    found.quorum,
                    found.interval_ms,
                    found.on_mismatch
                ),
                (observers, quorum, interval_ms, OnMismatch::Off)
            );
        }
        assert!(observation(&spec(1, None, Some("5"))).is_err());
    }
}
