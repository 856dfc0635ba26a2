//! Events for people, on transitions only: what `kubectl describe` shows under a policy or a pool.
//!
//! An Event that cannot be written is logged and forgotten; conditions carry the truth.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::egress_policy::condition::{Kind, Reason, Truth, find};

/// Longest note: the API server takes 1024 bytes.
const NOTE_CHARS_MAX: usize = 1000;

/// Conditions whose moves are told, each with whether True is the good news.
const TOLD: [(Kind, bool); 6] = [
    (Kind::Accepted, true),
    (Kind::ResolvedRefs, true),
    (Kind::EgressIpsVerified, true),
    (Kind::Ready, true),
    (Kind::Degraded, false),
    (Kind::Programmed, true),
];

/// Most objects and reasons of which the last words are remembered.
const REMEMBERED_MAX: usize = 4096;

/// UID of an object, and a reason.
type Told = (String, String);

/// Tells.
#[derive(Clone)]
#[allow(missing_debug_implementations)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    /// By object and reason the words that were used last, and who counts how often.
    told: Arc<Mutex<HashMap<Told, (String, Recorder)>>>,
}

impl Events {
    /// Events from this operator.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter {
            controller: "egressway-operator".to_owned(),
            instance,
        };
        Self {
            client,
            reporter,
            told: Arc::default(),
        }
    }

    /// Tells what moved between two lists of conditions.
    pub async fn moved<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        before: &[Condition],
        after: &[Condition],
    ) {
        self.tell(object, transitions(before, after)).await;
    }

    /// Tells these.
    pub async fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, events: Vec<Event>) {
        let reference = object.object_ref(&());
        for event in events {
            let recorder = self.recorder(reference.uid.as_deref().unwrap_or_default(), &event);
            if let Err(error) = recorder.publish(&event, &reference).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    reason = event.reason,
                    "failed to write an Event"
                );
            }
        }
    }

    /// Who tells it: the one that told the very same last, which counts it, else a new one. A recorder takes an Event of
    /// the same reason for the same Event, and the API server lets nobody change its words.
    fn recorder(&self, uid: &str, event: &Event) -> Recorder {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid.to_owned(), event.reason.clone());
        let note = event.note.clone().unwrap_or_default();
        if let Some((last, recorder)) = told.get(&key)
            && *last == note
        {
            return recorder.clone();
        }
        if told.len() >= REMEMBERED_MAX {
            told.clear();
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        told.insert(key, (note, recorder.clone()));
        recorder
    }
}

/// An Event that is no trouble.
#[must_use]
pub fn normal(reason: &str, note: &str) -> Event {
    Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE_CHARS_MAX).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// Names of the Events that are no trouble; a Warning has the reason of its condition.
#[must_use]
pub fn good_news() -> BTreeSet<String> {
    let conditions = TOLD
        .iter()
        .filter(|(kind, _)| *kind != Kind::Programmed)
        .map(|(kind, good_when)| good_name(*kind, *good_when));
    let cells = ["Active", "Draining", "Disabled"].map(cell_event);
    let draining = Reason::DrainingFleet.as_str().to_owned();
    conditions.chain(cells).chain([draining]).collect()
}

/// Name of the Event of a cell that is in this state now.
#[must_use]
pub fn cell_event(state: &str) -> String {
    format!("Cell{state}")
}

fn good_name(kind: Kind, good_when: bool) -> String {
    format!("{}{}", if good_when { "" } else { "No" }, kind.as_str())
}

/// The Events of a move. Routine is not told: a condition that is new and good, or an ACL on its way.
fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let mut events = Vec::new();
    let drains =
        |list| find(list, Kind::Progressing).filter(|now| now.reason == Reason::DrainingFleet.as_str());
    if let (None, Some(now)) = (drains(before), drains(after)) {
        events.push(normal(&now.reason, &now.message));
    }
    for (kind, good_when) in TOLD {
        let Some(now) = find(after, kind) else { continue };
        let old = find(before, kind);
        let changed = old.is_none_or(|old| {
            old.status != now.status || (old.reason != now.reason && now.status == "False")
        });
        let good = now.status == Truth::from(good_when).as_str();
        let bad = now.status == Truth::from(!good_when).as_str();
        let routine = matches!(
            now.reason.as_str(),
            "Propagating" | "NoPods" | "NotProgrammed" | "NotAccepted" | "ReducedCapacity" | "Starting"
        ) || (kind == Kind::Programmed && good)
            || (old.is_none() && good && matches!(kind, Kind::Degraded | Kind::ResolvedRefs));
        if !changed || routine || !(good || bad) {
            continue;
        }
        events.push(Event {
            type_: if good {
                EventType::Normal
            } else {
                EventType::Warning
            },
            reason: if good {
                good_name(kind, good_when)
            } else {
                now.reason.clone()
            },
            note: Some(now.message.chars().take(NOTE_CHARS_MAX).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::egress_policy::condition::Verdict;

    fn list(kind: Kind, truth: bool, reason: Reason) -> Vec<Condition> {
        vec![Verdict::new(kind, truth, reason, "message").condition(&[], None, Timestamp::UNIX_EPOCH)]
    }

    #[test]
    fn transitions_are_told_once() {
        let verified = list(Kind::EgressIpsVerified, true, Reason::AllVerified);
        let drift = list(Kind::EgressIpsVerified, false, Reason::UnexpectedIp);
        let told = transitions(&verified, &drift);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].reason.as_str(), told[0].type_),
            ("UnexpectedIP", EventType::Warning)
        );
        assert!(transitions(&drift, &drift).is_empty());
        assert_eq!(transitions(&drift, &verified)[0].reason, "EgressIPsVerified");
    }

    #[test]
    fn secrets_are_told_when_they_go_and_when_they_are_back() {
        let resolved = list(Kind::ResolvedRefs, true, Reason::Resolved);
        let gone = list(Kind::ResolvedRefs, false, Reason::SecretNotFound);
        assert!(transitions(&[], &resolved).is_empty(), "new and good is routine");
        assert_eq!(transitions(&resolved, &gone)[0].reason, "SecretNotFound");
        assert_eq!(transitions(&gone, &resolved)[0].reason, "ResolvedRefs");
    }

    #[test]
    fn an_acl_on_its_way_is_no_event() {
        let synced = list(Kind::Programmed, true, Reason::InSync);
        assert!(transitions(&synced, &list(Kind::Programmed, false, Reason::Propagating)).is_empty());
        assert_eq!(
            transitions(&synced, &list(Kind::Programmed, false, Reason::PodsLagging)).len(),
            1
        );
    }

    #[test]
    fn a_fleet_that_starts_is_no_trouble_and_one_that_stops_is() {
        let none = list(Kind::Ready, false, Reason::Starting);
        let serving = list(Kind::Ready, true, Reason::Serving);
        let dark = list(Kind::Ready, false, Reason::NoReadyPods);
        assert!(transitions(&[], &none).is_empty());
        assert_eq!(transitions(&none, &serving)[0].reason, "Ready");
        assert_eq!(
            transitions(&none, &dark)[0].reason,
            "NoReadyPods",
            "it never came up"
        );
        assert_eq!(transitions(&serving, &dark)[0].type_, EventType::Warning);
    }

    #[test]
    fn a_drain_is_told_when_it_begins() {
        let drains = list(Kind::Progressing, true, Reason::DrainingFleet);
        let complete = list(Kind::Progressing, false, Reason::Complete);
        let told = transitions(&complete, &drains);
        assert_eq!(
            (&*told[0].reason, told[0].type_, told.len()),
            ("Draining", EventType::Normal, 1)
        );
        assert!(transitions(&drains, &drains).is_empty() && transitions(&drains, &complete).is_empty());
    }

    #[test]
    fn good_news_is_told_under_the_name_of_its_condition() {
        let refused = list(Kind::Accepted, false, Reason::InvalidRule);
        let accepted = list(Kind::Accepted, true, Reason::Accepted);
        assert_eq!(transitions(&refused, &accepted)[0].reason, "Accepted");
        let down = list(Kind::Degraded, true, Reason::CellDown);
        let well = list(Kind::Degraded, false, Reason::AsExpected);
        assert_eq!(transitions(&down, &well)[0].reason, "NoDegraded");
        assert_eq!(transitions(&well, &down)[0].reason, "CellDown");
    }
}
