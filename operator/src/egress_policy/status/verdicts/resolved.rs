//! Whether every Secret that the policy refers to is in use.

use jiff::SignedDuration;

use super::name;
use crate::desired::secrets::Expiry;
use crate::desired::secrets::problem::Problem;
use crate::egress_policy::condition::{Kind, Reason, Truth, Verdict};
use crate::egress_policy::status::Facts;

/// So long before its end a certificate is worth a word.
const EXPIRY_NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) fn resolved(facts: &Facts<'_>) -> Verdict {
    let verdict =
        |truth: Truth, reason, message: String| Verdict::new(Kind::ResolvedRefs, truth, reason, message);
    let Some(secrets) = facts.secrets else {
        let message = "there is no fleet, see Accepted".to_owned();
        return verdict(Truth::Unknown, Reason::NotAccepted, message);
    };
    let worst = secrets.problems.iter().find(|problem| !problem.fault.passes());
    let messages = secrets.problems.iter().map(|problem| problem.message.as_str());
    if let Some(worst) = worst {
        return verdict(Truth::False, worst.reason, name(messages));
    }
    if secrets.unreadable() {
        return verdict(Truth::Unknown, Reason::SecretUnreadable, name(messages));
    }
    let ends: Vec<String> = secrets
        .expiries
        .iter()
        .filter_map(|expiry| end(expiry, facts))
        .collect();
    let invalid = |expiry: &Expiry| expiry.not_before > facts.now || expiry.not_after <= facts.now;
    if secrets.expiries.iter().any(invalid) {
        // Not "in use": nobody who checks it accepts it.
        return verdict(
            Truth::True,
            Reason::Resolved,
            name(ends.iter().map(String::as_str)),
        );
    }
    let mut message = match secrets.referred {
        0 => "the policy refers to no Secret".to_owned(),
        1 => "the Secret that the policy refers to is in use".to_owned(),
        many => format!("all {many} Secrets that the policy refers to are in use"),
    };
    if !ends.is_empty() {
        message.push_str(&format!("; {}", name(ends.iter().map(String::as_str))));
    }
    verdict(Truth::True, Reason::Resolved, message)
}

/// A certificate that is not valid yet, ends soon, or has ended. Without how long there is still: that ticks.
fn end(expiry: &Expiry, facts: &Facts<'_>) -> Option<String> {
    let Expiry { secret, place, .. } = expiry;
    if expiry.not_before > facts.now {
        return Some(format!(
            "a certificate of Secret {secret} ({}) is not valid before {}, and whoever checks it refuses it: wait until then, or put one in that is valid",
            place.field, expiry.not_before
        ));
    }
    let left = expiry.not_after.duration_since(facts.now);
    let verb = match left {
        left if left > EXPIRY_NEAR => return None,
        left if left > SignedDuration::ZERO => "expires",
        _ => "has expired",
    };
    Some(format!(
        "a certificate of Secret {secret} ({}) {verb} at {}: renew it",
        place.field, expiry.not_after
    ))
}

/// Secrets whose material is not in force.
pub(super) fn unresolved<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a Problem> {
    let problems = facts.secrets.into_iter().flat_map(|secrets| &secrets.problems);
    problems.filter(|problem| !problem.fault.passes())
}
