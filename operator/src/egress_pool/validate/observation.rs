//! How the pods of a pool find out which address they leave from.

use std::collections::BTreeSet;
use std::time::Duration;

use egressway_core::acl::compile::Problems;
use egressway_core::duration;
use egressway_core::wire::document::{self, OnMismatch};
use egressway_crds::EgressPoolSpec;

/// Interval of observation when the field is empty.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reads it; a majority of observers is a quorum unless the pool says otherwise.
pub(super) fn observation(spec: &EgressPoolSpec, problems: &mut Problems) -> document::Observation {
    let Some(observation) = &spec.observation else {
        let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        return document::Observation {
            interval_ms,
            ..document::Observation::default()
        };
    };
    let interval = match observation.interval.as_str() {
        "" => Ok(INTERVAL),
        text => duration::parse(text),
    };
    let interval = interval.unwrap_or_else(|problem| {
        problems.push("spec.observation.interval", problem);
        INTERVAL
    });
    let observers = observation.observers.len();
    let majority = observers / 2 + 1;
    let quorum = observation
        .quorum
        .map_or(Some(majority), |quorum| usize::try_from(quorum).ok());
    let quorum = quorum
        .filter(|quorum| (1..=observers.max(1)).contains(quorum))
        .unwrap_or_else(|| {
            problems.push(
                "spec.observation.quorum",
                format!("is not from 1 to {observers}, the number of observers"),
            );
            majority
        });
    let mut names = BTreeSet::new();
    for observer in &observation.observers {
        let field = format!("spec.observation.observers[{}]", observer.name);
        if !names.insert(observer.name.as_str()) {
            problems.push(&field, "stands twice: give each observer its own name");
        }
        if !observer.url.starts_with("http://") && !observer.url.starts_with("https://") {
            problems.push(format!("{field}.url"), "is no http:// or https:// URL");
        }
    }
    let declared = spec.cells.iter().any(|cell| cell.addresses.is_some());
    let on_mismatch = match (observation.on_mismatch.as_deref(), declared) {
        (Some("Quarantine"), _) | (None, true) => OnMismatch::Quarantine,
        (Some("Warn"), _) | (None, false) => OnMismatch::Warn,
        (Some("Off"), _) => OnMismatch::Off,
        (Some(other), _) => {
            problems.push(
                "spec.observation.onMismatch",
                format!("{other:?} is not known: write Quarantine, Warn or Off"),
            );
            OnMismatch::Warn
        }
    };
    document::Observation {
        observers: observation
            .observers
            .iter()
            .map(|observer| document::Observer {
                name: observer.name.clone(),
                url: observer.url.clone(),
                ca_bundle: observer.ca_bundle.clone(),
            })
            .collect(),
        quorum: u32::try_from(quorum).unwrap_or(1),
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        on_mismatch,
    }
}
