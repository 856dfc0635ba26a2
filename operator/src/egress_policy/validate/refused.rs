//! Pure: what is in force where a spec is refused.
//!
//! A bad edit of the policy keeps what was accepted last, the rules as well as the pods; a pool that withdraws its
//! permission takes effect at once, as a fleet that refuses everything. So does `spec.suspend`, whatever else the same
//! spec says, and the loss of what was accepted: without its ConfigMap no new pod could start, and nobody knows any more
//! what it may let through.

use egressway_core::wire::document::{self, Closed};

use super::{Accepted, Facts, Reason, Shape, ValidPolicy, Validated, identity};

/// Generation of the document that stands in for a lost one; no policy has it.
const LOST: i64 = 0;
/// Behind every message about a fleet that is closed.
const REFUSES: &str = "the fleet refuses every new request";

/// Refused, and what was accepted last stays in force.
pub(super) fn keep(facts: &Facts<'_>, reason: Reason, problem: String, shape: Option<Shape>) -> Validated {
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    let Some(last) = last(facts) else {
        return refused(None, reason, problem);
    };
    if last.document.generation == LOST {
        let message = format!(
            "{problem}. What was accepted before is lost, its ConfigMap had no room for it, or was deleted or edited: until the policy is accepted {REFUSES}"
        );
        let valid = closed(facts, last, shape, Closed::Unaccepted);
        return refused(Some(valid), reason, message);
    }
    let mut message = if last.document.generation == generation {
        format!("{problem}. What was accepted stays in force")
    } else {
        format!(
            "generation {generation} is refused: {problem}. Generation {} stays in force",
            last.document.generation
        )
    };
    if facts.policy.spec.suspend == Some(true) && !last.document.content.suspended {
        message.push_str(&format!(", and as spec.suspend is true {REFUSES}"));
        let valid = closed(facts, last, shape, Closed::Suspended);
        return refused(Some(valid), reason, message);
    }
    let valid = ValidPolicy {
        id: identity(facts),
        document: last.document,
        fleet: last.fleet,
        closed: None,
        shape,
    };
    refused(Some(valid), reason, message)
}

/// Refused by the pool: a fleet that exists refuses everything from now on, also where what it enforces is lost.
pub(super) fn withdraw(
    facts: &Facts<'_>,
    reason: Reason,
    problem: String,
    shape: Option<Shape>,
) -> Validated {
    let Some(last) = last(facts) else {
        return refused(None, reason, problem);
    };
    let message = format!("{problem}. Until then {REFUSES}");
    let valid = closed(facts, last, shape, Closed::Unaccepted);
    refused(Some(valid), reason, message)
}

fn refused(valid: Option<ValidPolicy>, reason: Reason, message: String) -> Validated {
    Validated {
        valid,
        accepted: false,
        reason,
        message,
    }
}

/// What was accepted last; where there is a fleet and nobody knows of what, a document without a rule.
fn last(facts: &Facts<'_>) -> Option<Accepted> {
    let lost = || {
        let id = identity(facts);
        let nothing = document::Content::default();
        Accepted {
            document: document::Policy::seal(&id.namespace, &id.name, LOST, nothing),
            fleet: None,
        }
    };
    facts.accepted.clone().or_else(|| facts.fleet.then(lost))
}

/// The same, refusing everything.
fn closed(facts: &Facts<'_>, last: Accepted, shape: Option<Shape>, why: Closed) -> ValidPolicy {
    let Accepted {
        document: last,
        fleet,
    } = last;
    let content = document::Content {
        closed: Some(why),
        ..last.content
    };
    ValidPolicy {
        id: identity(facts),
        document: document::Policy::seal(&last.namespace, &last.name, last.generation, content),
        fleet,
        closed: Some(why),
        shape,
    }
}

impl ValidPolicy {
    /// The same in as few bytes as can be, refusing everything: what was accepted is not in it any more, so it is taken
    /// for lost until a spec is accepted.
    #[must_use]
    pub fn without_rules(&self) -> Self {
        let why = self.closed.unwrap_or(Closed::Unaccepted);
        let last = &self.document;
        let content = document::Content {
            closed: Some(why),
            listener: last.content.listener.clone(),
            ..document::Content::default()
        };
        Self {
            document: document::Policy::seal(&last.namespace, &last.name, LOST, content),
            closed: Some(why),
            ..self.clone()
        }
    }
}

impl Validated {
    /// The same, now that the document of `valid` had no room and `shut` stands in for it.
    #[must_use]
    pub fn out_of_room(self, shut: ValidPolicy) -> Self {
        let mut message = self.message;
        if !message.contains(REFUSES) {
            message.push_str(&format!(
                ", and has no room any more beside what the pool and the cluster add to it: until it has {REFUSES}"
            ));
        }
        Self {
            valid: Some(shut),
            accepted: false,
            message,
            ..self
        }
    }
}
