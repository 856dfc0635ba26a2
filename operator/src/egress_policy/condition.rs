//! Typed conditions and reasons: the only place where "True" is spelled.
//!
//! A condition is a function of a verdict and of the previous list; its transition time moves only when its status
//! does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message; what is longer is cut, so that one policy with a thousand problems stays readable.
const MESSAGE_CHARS_MAX: usize = 1500;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The spec means something and the pool permits it.
    Accepted,
    /// Every Secret that the policy refers to is in use.
    ResolvedRefs,
    /// Every pod enforces the ACL in force.
    Programmed,
    /// The addresses that customers allow are the ones that are seen.
    EgressIpsVerified,
    /// Clients can use it.
    Ready,
    /// Something is under way.
    Progressing,
    /// It serves with less than was asked for.
    Degraded,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::EgressIpsVerified,
        Self::Ready,
        Self::Progressing,
        Self::Degraded,
    ];

    /// As in `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::EgressIpsVerified => "EgressIPsVerified",
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
        }
    }
}

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    /// As in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why: one spelling for conditions, Events and docs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The spec is in force.
    Accepted => "Accepted",
    /// The spec is in force, and something in it has no effect.
    AcceptedWithWarnings => "AcceptedWithWarnings",
    /// The pool does not exist.
    PoolNotFound => "PoolNotFound",
    /// No poolRef, and no pool is the default one.
    NoDefaultPool => "NoDefaultPool",
    /// No poolRef, and several pools that say to be the default one permit the namespace.
    MultipleDefaultPools => "MultipleDefaultPools",
    /// The pool does not allow the namespace.
    NamespaceNotAllowed => "NamespaceNotAllowed",
    /// The pool itself is not accepted.
    PoolNotAccepted => "PoolNotAccepted",
    /// A pool's spec that means nothing.
    InvalidPool => "InvalidPool",
    /// A rule that means nothing.
    InvalidRule => "InvalidRule",
    /// A client that means nothing.
    InvalidClient => "InvalidClient",
    /// A mode, timeout, limit or listener that means nothing.
    InvalidSettings => "InvalidSettings",
    /// Two rules allow the same and disagree about what the proxy does.
    ConflictingRules => "ConflictingRules",
    /// The pool does not allow the mode.
    ModeNotAllowed => "ModeNotAllowed",
    /// The pool demands credentials, and a client has none.
    ClientAuthRequired => "ClientAuthRequired",
    /// More rules than the pool allows.
    TooManyRules => "TooManyRules",
    /// More pods in a cell than the pool allows.
    ReplicasAboveCap => "ReplicasAboveCap",
    /// A fleet that cannot be built.
    InvalidFleet => "InvalidFleet",
    /// The ACL does not fit into a ConfigMap.
    ConfigTooLarge => "ConfigTooLarge",
    /// An object with a name that the fleet needs belongs to somebody else.
    NameConflict => "NameConflict",
    /// Every Secret is in use.
    Resolved => "Resolved",
    /// A Secret does not exist.
    SecretNotFound => "SecretNotFound",
    /// The tenant has not let the operator read a Secret.
    SecretForbidden => "SecretForbidden",
    /// A Secret is not labelled for proxies.
    SecretNotLabelled => "SecretNotLabelled",
    /// A Secret lacks a key.
    SecretKeyMissing => "SecretKeyMissing",
    /// What stands in a Secret cannot be used.
    SecretInvalid => "SecretInvalid",
    /// A Secret could not be read for the moment.
    SecretUnreadable => "SecretUnreadable",
    /// Something is denied for want of a Secret.
    UnresolvedRefs => "UnresolvedRefs",
    /// Every pod enforces the ACL.
    InSync => "InSync",
    /// Pods are about to enforce the ACL.
    Propagating => "Propagating",
    /// Pods enforce an older ACL for longer than that takes.
    PodsLagging => "PodsLagging",
    /// There is no pod.
    NoPods => "NoPods",
    /// Every promised address was seen, and no other.
    AllVerified => "AllVerified",
    /// Nothing is promised; what was seen is listed.
    Unconfirmed => "Unconfirmed",
    /// A quorum saw an address that nobody promised.
    UnexpectedIp => "UnexpectedIP",
    /// A promised address was not seen lately.
    ExpectedIpNotSeen => "ExpectedIPNotSeen",
    /// Nothing was seen yet.
    NotYetObserved => "NotYetObserved",
    /// No observer answers.
    ObserversUnreachable => "ObserversUnreachable",
    /// The pool names no observers.
    NoObservers => "NoObservers",
    /// Clients can use it.
    Serving => "Serving",
    /// Clients can use it; nobody checks its addresses.
    ServingUnobserved => "ServingUnobserved",
    /// The spec is refused.
    NotAccepted => "NotAccepted",
    /// Not every pod enforces the ACL.
    NotProgrammed => "NotProgrammed",
    /// Pods are made or start, as they do at every creation.
    Starting => "Starting",
    /// No pod serves, and none is about to.
    NoReadyPods => "NoReadyPods",
    /// No node takes the pods.
    Unschedulable => "Unschedulable",
    /// Every pod leaves from an address that nobody promised.
    Quarantined => "Quarantined",
    /// Every new request is refused because somebody said so.
    Suspended => "Suspended",
    /// A rollout runs.
    RollingOut => "RollingOut",
    /// The policy is being deleted; its pods drain.
    DrainingFleet => "Draining",
    /// Nothing is under way.
    Complete => "Complete",
    /// A write failed and is tried again.
    ApplyFailed => "ApplyFailed",
    /// A node has the labels of several cells.
    CellsOverlap => "CellsOverlap",
    /// A whole cell serves nobody.
    CellDown => "CellDown",
    /// Traffic leaves from an address that nobody promised.
    EgressIpDrift => "EgressIPDrift",
    /// More pods are clients than a ConfigMap has room for.
    ClientPodsLeftOut => "ClientPodsLeftOut",
    /// Pods run on nodes that are none of their cells' any more.
    PodsMisplaced => "PodsMisplaced",
    /// Pods that served do not answer any more.
    PodsUnreachable => "PodsUnreachable",
    /// Somebody else sets fields of the fleet's objects.
    FieldsContested => "FieldsContested",
    /// Fewer pods are ready than wanted.
    ReducedCapacity => "ReducedCapacity",
    /// Nothing is amiss.
    AsExpected => "AsExpected",
}

/// What is to be said about one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// About what.
    pub kind: Kind,
    /// Whether it holds.
    pub truth: Truth,
    /// Why, for programs.
    pub reason: Reason,
    /// Why and what to do next, for people.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(kind: Kind, truth: impl Into<Truth>, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            truth: truth.into(),
            reason,
            message: message.into(),
        }
    }

    /// The condition that follows the previous ones.
    #[must_use]
    pub fn condition(self, previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let since = previous
            .iter()
            .find(|old| old.type_ == self.kind.as_str() && old.status == self.truth.as_str())
            .map_or(Time(now), |old| old.last_transition_time.clone());
        Condition {
            type_: self.kind.as_str().to_owned(),
            status: self.truth.as_str().to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: shorten(&self.message),
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars()
        .take(MESSAGE_CHARS_MAX)
        .chain(std::iter::once('…'))
        .collect()
}

/// The condition of a kind in a list.
#[must_use]
pub fn find(conditions: &[Condition], kind: Kind) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// Whether the condition of a kind has this status.
#[must_use]
pub fn is(conditions: &[Condition], kind: Kind, truth: Truth) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == truth.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn every_reason_is_spelled_once_and_in_camel_case() {
        let texts: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(texts.len(), Reason::ALL.len());
        for text in texts {
            assert!(
                text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(char::is_alphanumeric)
            );
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let verdict = |truth, reason| Verdict::new(Kind::Ready, truth, reason, "m");
        let first = verdict(Truth::False, Reason::NoPods).condition(&[], Some(1), at(1));
        let same = verdict(Truth::False, Reason::NoReadyPods).condition(
            std::slice::from_ref(&first),
            Some(2),
            at(2),
        );
        assert_eq!(
            (
                same.last_transition_time.0,
                &*same.reason,
                same.observed_generation
            ),
            (at(1), "NoReadyPods", Some(2))
        );
        let moved = verdict(Truth::True, Reason::Serving).condition(&[same], Some(2), at(3));
        assert_eq!(moved.last_transition_time.0, at(3));
    }

    #[test]
    fn a_message_has_a_bound() {
        let long = "ä".repeat(5000);
        let condition =
            Verdict::new(Kind::Accepted, false, Reason::InvalidRule, long).condition(&[], None, at(0));
        assert_eq!(condition.message.chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
