//! What every proxy pod enforces and sees, asked again and again; and the nudge that makes kubelets refresh ConfigMaps.
//!
//! Pods hold no credential of the API, so they are asked. Answers are authenticated by the fleet's key, bounded, and
//! believed only as far as they go: they move states, they promise nothing.

pub mod ask;
pub mod poll;
mod selection;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use egressway_core::wire::report::{Phase, Report};
use jiff::Timestamp;
use tokio::sync::Notify;

use self::selection::Selection;
use crate::desired::Hashes;

/// So many unanswered questions in a row, and a pod counts as unreachable: one may be lost in any network.
const FAILURES_MAX: u32 = 3;

/// What a pod answered.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Its last report, while it answers.
    pub report: Option<Report>,
    /// It left several questions in a row unanswered.
    pub unreachable: bool,
    /// It has been asked at all since this operator runs.
    pub asked: bool,
}

/// Reports by pod, and what the pods of each policy should have in force.
#[derive(Debug, Default)]
pub struct Reports {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<String, PodState>,
    wanted: HashMap<String, Wanted>,
    selections: HashMap<String, Selection>,
}

#[derive(Debug, Default)]
struct PodState {
    report: Option<Report>,
    failures: u32,
    /// Changes of the policy's selectors that its table of client pods has followed.
    followed: u64,
}

impl PodState {
    fn table(&self) -> Option<&str> {
        self.report.as_ref().map(|report| report.clients_hash.as_str())
    }
}

/// What the pods of a policy should have in force.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Digests of the documents.
    pub hashes: Hashes,
    /// Since when.
    pub since: Timestamp,
    /// Since when, on the clock that polls go by.
    pub at: tokio::time::Instant,
    /// Since when they should have these client pods, on the same clock.
    pub clients_at: tokio::time::Instant,
    /// Since when these should be selected as they are now, on the same clock.
    pub selected_at: tokio::time::Instant,
}

impl Reports {
    /// What a pod answered last.
    #[must_use]
    pub fn of(&self, pod_uid: &str) -> Answered {
        let inner = self.lock();
        let Some(state) = inner.pods.get(pod_uid) else {
            return Answered::default();
        };
        Answered {
            report: state.report.clone(),
            unreachable: state.failures >= FAILURES_MAX,
            asked: true,
        }
    }

    /// Looks at a pod's last report without copying it.
    fn with<R>(&self, pod_uid: &str, look: impl FnOnce(Option<&Report>) -> R) -> R {
        let inner = self.lock();
        look(inner.pods.get(pod_uid).and_then(|state| state.report.as_ref()))
    }

    /// The pods of a policy should have these documents from now on; they are nudged and asked at once if that is news.
    pub fn want(&self, policy_uid: &str, hashes: &Hashes) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let before = inner.wanted.get(policy_uid);
        if before.is_some_and(|wanted| wanted.hashes == *hashes) {
            return;
        }
        let now = tokio::time::Instant::now();
        let selection = inner.selections.entry(policy_uid.to_owned()).or_default();
        let reselected = selection.write(&hashes.selectors, &hashes.clients);
        // Client pods that come and go do not make an ACL that is late look new.
        let config = before.filter(|wanted| wanted.hashes.config() == hashes.config());
        let clients = before.filter(|wanted| wanted.hashes.clients == hashes.clients);
        let wanted = Wanted {
            hashes: hashes.clone(),
            since: config
                .filter(|_| !reselected)
                .map_or_else(Timestamp::now, |wanted| wanted.since),
            at: config.map_or(now, |wanted| wanted.at),
            clients_at: clients.map_or(now, |wanted| wanted.clients_at),
            selected_at: before
                .filter(|_| !reselected)
                .map_or(now, |wanted| wanted.selected_at),
        };
        inner.wanted.insert(policy_uid.to_owned(), wanted);
        drop(guard);
        self.changed.notify_one();
    }

    /// What an operator before this one has left to the pods of a policy, told before the first [`Self::want`]: a table
    /// of client pods, and what it was made from.
    pub fn left(&self, policy_uid: &str, selectors: String, table: String) {
        let mut inner = self.lock();
        let selection = inner.selections.entry(policy_uid.to_owned());
        selection.or_insert_with(|| Selection::left(selectors, table));
    }

    /// What the pods of a policy should have, and since when.
    #[must_use]
    pub fn wanted(&self, policy_uid: &str) -> Option<Wanted> {
        self.lock().wanted.get(policy_uid).cloned()
    }

    /// Since when the pods of a policy should have what they should have.
    #[must_use]
    pub fn wanted_since(&self, policy_uid: &str) -> Option<Timestamp> {
        self.wanted(policy_uid).map(|wanted| wanted.since)
    }

    /// The policy is gone.
    pub fn forget(&self, policy_uid: &str) {
        let mut inner = self.lock();
        inner.wanted.remove(policy_uid);
        inner.selections.remove(policy_uid);
    }

    /// Whether a pod's table of client pods follows the selectors of its policy.
    #[must_use]
    pub fn follows(&self, pod_uid: &str, policy_uid: &str) -> bool {
        let inner = self.lock();
        let Some(selection) = inner.selections.get(policy_uid) else {
            return true;
        };
        let state = inner.pods.get(pod_uid);
        let followed = state.map_or(0, |state| state.followed);
        selection.is_followed(followed, state.and_then(PodState::table))
    }

    /// Notes that it does, if it does; true when it did not before.
    fn followed(&self, pod_uid: &str, policy_uid: &str) -> bool {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let selection = inner.selections.get(policy_uid);
        let (Some(selection), Some(state)) = (selection, inner.pods.get_mut(pod_uid)) else {
            return false;
        };
        match state.table().and_then(|table| selection.followed(table)) {
            Some(changes) if changes > state.followed => {
                state.followed = changes;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Notes an answer; true when it says something that status shows.
    pub fn answered(&self, pod_uid: &str, report: Report) -> bool {
        let mut inner = self.lock();
        let state = inner.pods.entry(pod_uid.to_owned()).or_default();
        let was_unreachable = state.failures >= FAILURES_MAX;
        state.failures = 0;
        let news = was_unreachable || state.report.as_ref().map(visible) != Some(visible(&report));
        state.report = Some(report);
        news
    }

    /// Notes a question without an answer; true when it was the first one ever, or the pod turns unreachable by it.
    pub fn unanswered(&self, pod_uid: &str) -> bool {
        let mut inner = self.lock();
        let first = !inner.pods.contains_key(pod_uid);
        let state = inner.pods.entry(pod_uid.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        first || state.failures == FAILURES_MAX
    }

    /// Forgets pods that are gone.
    fn retain(&self, alive: impl Fn(&str) -> bool) {
        self.lock().pods.retain(|uid, _| alive(uid));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report without what ticks and stands nowhere in status, so that a settled fleet wakes nobody.
fn visible(report: &Report) -> Report {
    let mut report = report.clone();
    // Only whether a pod that drains has finished.
    report.active = u64::from(report.phase == Phase::Draining && report.active > 0);
    report.clients_hash.clear();
    for policy in &mut report.policies {
        // Counts move with every request; status renews them by itself.
        policy.would_deny.truncate(1);
        for entry in &mut policy.would_deny {
            (entry.target, entry.reason, entry.count) = Default::default();
        }
    }
    report.egress.rounds = report.egress.rounds.min(3);
    report.egress.observers.clear();
    for seen in &mut report.egress.seen {
        seen.last_seen = if seen.confirmed || seen.observers.is_empty() {
            0
        } else {
            seen.last_seen / 60
        };
    }
    report
}

#[cfg(test)]
pub(crate) mod tests {
    use egressway_core::wire::report::{Egress, PolicyInForce, Seen, VERSION};

    use super::*;

    pub(crate) fn report(hash: &str, seen: &[(&str, &[&str], bool)]) -> Report {
        Report {
            version: VERSION,
            build: "test".to_owned(),
            pod: "pod".to_owned(),
            uid: "uid".to_owned(),
            cell: "a".to_owned(),
            phase: Phase::Serving,
            policies: vec![PolicyInForce {
                namespace: "payments".to_owned(),
                name: "webhooks".to_owned(),
                generation: 7,
                hash: hash.to_owned(),
                would_deny: Vec::new(),
            }],
            floor_hash: "floor".to_owned(),
            pool_hash: "pool".to_owned(),
            clients_hash: String::new(),
            secrets_hash: String::new(),
            load_error: None,
            egress: Egress {
                rounds: 5,
                seen: seen
                    .iter()
                    .map(|(ip, observers, confirmed)| Seen {
                        ip: ip.parse().unwrap(),
                        observers: observers.iter().map(|o| (*o).to_owned()).collect(),
                        confirmed: *confirmed,
                        last_seen: 1_790_000_000,
                    })
                    .collect(),
                observers: vec![],
            },
            active: 3,
        }
    }

    #[test]
    fn what_ticks_is_no_news() {
        let reports = Reports::default();
        let first = report("h", &[("192.31.196.10", &["one", "two"], true)]);
        assert!(reports.answered("uid", first.clone()));
        let mut later = first.clone();
        later.active = 9;
        later.egress.rounds = 6;
        later.egress.seen[0].last_seen += 60;
        assert!(!reports.answered("uid", later.clone()));
        assert!(reports.answered("uid", report("other", &[])));
        let mut draining = |active| {
            (later.phase, later.active) = (Phase::Draining, active);
            reports.answered("uid", later.clone())
        };
        let news = [draining(9), draining(8), draining(0), draining(0)];
        assert_eq!(news, [true, false, true, false], "that a drain is over is news");
    }

    #[test]
    fn client_pods_that_come_and_go_make_no_late_acl_look_new() {
        let reports = Reports::default();
        let hashes = |policy: &str, clients: &str| Hashes {
            policy: policy.to_owned(),
            clients: clients.to_owned(),
            ..Hashes::default()
        };
        let want = |policy, clients| {
            reports.want("uid", &hashes(policy, clients));
            reports.wanted("uid").unwrap()
        };
        let first = want("p", "c");
        let churn = want("p", "d");
        assert_eq!((churn.since, churn.at), (first.since, first.at));
        assert!(churn.clients_at > first.clients_at, "and yet pods are nudged");
        let edit = want("q", "d");
        assert!(edit.at > churn.at && edit.clients_at == churn.clients_at);
        let mut report = report("h", &[]);
        reports.answered("pod", report.clone());
        report.clients_hash = "d".to_owned();
        assert!(!reports.answered("pod", report), "no status shows it");
    }

    #[test]
    fn changed_selectors_are_waited_for_and_pods_that_come_and_go_are_not() {
        let reports = Reports::default();
        let want = |selectors: &str, clients: &str| {
            let hashes = Hashes {
                selectors: selectors.to_owned(),
                clients: clients.to_owned(),
                ..Hashes::default()
            };
            reports.want("policy", &hashes);
            reports.wanted("policy").unwrap()
        };
        let answer = |clients: &str| {
            let report = Report {
                clients_hash: clients.to_owned(),
                ..report("h", &[])
            };
            reports.answered("pod", report);
            reports.followed("pod", "policy")
        };
        let follows = || reports.follows("pod", "policy");
        let left = |selectors: &str| reports.left("policy", selectors.to_owned(), "0".to_owned());
        left("a");
        let first = want("a", "1");
        left("b");
        assert!(answer("0") && follows(), "as it was found");
        let churn = want("a", "2");
        assert!(follows() && churn.since == first.since && churn.selected_at == first.selected_at);
        let edit = want("b", "3");
        assert!(!answer("2") && !follows(), "a table of the selectors before");
        assert!(edit.since > churn.since && edit.selected_at > churn.selected_at && edit.at == churn.at);
        assert!(answer("3") && follows(), "news for status");
        want("b", "4");
        assert!(!answer("3") && follows());
        assert!(!reports.follows("new pod", "policy") && reports.follows("pod", "no policy"));
    }

    #[test]
    fn one_lost_question_is_no_death() {
        let reports = Reports::default();
        reports.answered("uid", report("h", &[]));
        assert!(!reports.unanswered("uid") && !reports.unanswered("uid"));
        assert!(!reports.of("uid").unreachable);
        assert!(reports.unanswered("uid"), "the third is news");
        assert!(reports.of("uid").unreachable && !reports.unanswered("uid"));
        assert!(reports.answered("uid", report("h", &[])), "and so is its return");
    }
}
