//! Events for people, on transitions only: what `kubectl describe` shows under a policy or a pool.
//!
//! An Event that cannot be written is logged and forgotten; conditions carry the truth.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::egress_policy::condition::{Kind, Truth, find};

/// Conditions whose moves are told, each with whether True is the good news.
const TOLD: [(Kind, bool); 6] = [
    (Kind::Accepted, true),
    (Kind::ResolvedRefs, true),
    (Kind::EgressIpsVerified, true),
    (Kind::Ready, true),
    (Kind::Degraded, false),
    (Kind::Programmed, true),
];

/// Tells.
#[derive(Clone)]
#[allow(missing_debug_implementations)]
pub struct Events(Recorder);

impl Events {
    /// Events from this operator.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(
            client,
            Reporter {
                controller: "egressway-operator".to_owned(),
                instance,
            },
        ))
    }

    /// Tells what moved between two lists of conditions.
    pub async fn moved<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        before: &[Condition],
        after: &[Condition],
    ) {
        for event in transitions(before, after) {
            if let Err(error) = self.0.publish(&event, &object.object_ref(&())).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    reason = event.reason,
                    "failed to write an Event"
                );
            }
        }
    }
}

/// The Events of a move. Routine is not told: a condition that is new and good, or an ACL on its way.
fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let mut events = Vec::new();
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
            "Propagating" | "NoPods" | "NotProgrammed" | "NotAccepted" | "ReducedCapacity"
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
                format!("{}{}", if good_when { "" } else { "No" }, kind.as_str())
            } else {
                now.reason.clone()
            },
            note: Some(now.message.chars().take(1000).collect()),
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
    use crate::egress_policy::condition::{Reason, Verdict};

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
}
