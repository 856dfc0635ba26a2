//! Pure: what mode Enforce would refuse, summed over the pods, and renewed so seldom that a busy policy is not written
//! all the time.

use std::collections::BTreeMap;

use egressway_core::wire::document::Mode;
use egressway_core::wire::report::{self, WOULD_DENY_MAX};
use egressway_crds::{EgressPolicyStatus, WouldDeny};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Facts, PodView, in_force};

/// Between two renewals: counts move with every request.
pub const RENEWAL: SignedDuration = SignedDuration::from_mins(5);
/// Longest host and port (253 and 6 characters) with room to spare; a report is not trusted to be shorter.
const TARGET_CHARS_MAX: usize = 300;
/// Longest code of a reason.
const REASON_CHARS_MAX: usize = 64;

/// The list and when it was renewed: the previous one unless it is time and something moved.
pub(super) fn would_deny(facts: &Facts<'_>, previous: &EgressPolicyStatus) -> (Vec<WouldDeny>, Option<Time>) {
    if in_force(facts).is_none_or(|valid| valid.document.content.mode != Mode::Report) {
        return (Vec::new(), None);
    }
    let kept = || (previous.would_deny.clone(), previous.would_deny_updated.clone());
    if next_renewal(previous).is_some_and(|next| facts.now < next) {
        return kept();
    }
    let found = sum(facts.pods.iter().filter_map(|pod| of_pod(facts, pod)));
    if found == previous.would_deny {
        return kept();
    }
    (found, Some(Time(facts.now)))
}

/// When the list may be renewed next.
#[must_use]
pub fn next_renewal(status: &EgressPolicyStatus) -> Option<Timestamp> {
    let updated = status.would_deny_updated.as_ref()?;
    Some(updated.0 + RENEWAL)
}

fn of_pod<'a>(facts: &Facts<'_>, pod: &'a PodView) -> Option<&'a [report::WouldDeny]> {
    Some(pod.in_force(facts.policy)?.would_deny.as_slice())
}

fn sum<'a>(lists: impl Iterator<Item = &'a [report::WouldDeny]>) -> Vec<WouldDeny> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for entry in lists.flat_map(|list| list.iter().take(WOULD_DENY_MAX)) {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let key = (
            cut(&entry.target, TARGET_CHARS_MAX),
            cut(&entry.reason, REASON_CHARS_MAX),
        );
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(entry.count);
    }
    let mut list: Vec<WouldDeny> = counts
        .into_iter()
        .map(|((target, reason), count)| WouldDeny {
            target,
            reason,
            count: i64::try_from(count).unwrap_or(i64::MAX),
        })
        .collect();
    list.sort_by_key(|entry| std::cmp::Reverse(entry.count));
    list.truncate(WOULD_DENY_MAX);
    list
}
