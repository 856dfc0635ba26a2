//! Pure: what is in force where a spec is refused.
//!
//! A bad edit of the policy keeps what was accepted last, the rules as well as the pods; a pool that withdraws its
//! permission takes effect at once, as a fleet that refuses everything. So does the loss of what was accepted: without
//! its ConfigMap no new pod could start, and nobody knows any more what it may let through.

use egressway_core::wire::document;

use super::{Accepted, Facts, Reason, Shape, ValidPolicy, Validated, identity};

/// Generation of the document that stands in for a lost one; no policy has it.
const LOST: i64 = 0;

/// Refused, and what was accepted last stays in force.
pub(super) fn keep(facts: &Facts<'_>, reason: Reason, problem: String, shape: Option<Shape>) -> Validated {
    let generation = facts.policy.metadata.generation.unwrap_or(0);
    let Some(last) = last(facts) else {
        return refused(None, reason, problem);
    };
    if last.document.generation == LOST {
        let message = format!(
            "{problem}. What was accepted before is lost, its ConfigMap was deleted or edited: until the policy is accepted the fleet refuses every new request"
        );
        return refused(Some(closed(facts, last, shape)), reason, message);
    }
    let message = if last.document.generation == generation {
        format!("{problem}. What was accepted stays in force")
    } else {
        format!(
            "generation {generation} is refused: {problem}. Generation {} stays in force",
            last.document.generation
        )
    };
    let valid = ValidPolicy {
        id: identity(facts),
        suspended: last.document.content.suspended,
        document: last.document,
        fleet: last.fleet,
        withdrawn: false,
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
    let message = format!("{problem}. Until then the fleet refuses every new request");
    refused(Some(closed(facts, last, shape)), reason, message)
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
fn closed(facts: &Facts<'_>, last: Accepted, shape: Option<Shape>) -> ValidPolicy {
    let Accepted {
        document: last,
        fleet,
    } = last;
    let suspended = last.content.suspended;
    let content = document::Content {
        suspended: true,
        ..last.content
    };
    ValidPolicy {
        id: identity(facts),
        document: document::Policy::seal(&last.namespace, &last.name, last.generation, content),
        fleet,
        withdrawn: true,
        suspended,
        shape,
    }
}
