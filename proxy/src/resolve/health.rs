//! Whether a name server is asked in its turn or after all others. Pure: the time is a value.
//!
//! Only silence counts: a server that answers, even with an error, costs no time. One that has been left is asked in
//! vain now and then, beside those that answer, until it does.

use std::time::Duration;

use tokio::time::Instant;

/// Questions in a row without any answer after which a server is left; one lost packet is none of its faults.
const UNANSWERED_MAX: u32 = 3;
/// And for at least this long, so that a burst of questions while a cable is moved does not make it look dead.
const SILENCE: Duration = Duration::from_secs(2);
/// From being left to the first look whether it is back; doubled after each look in vain.
const PROBE_MIN: Duration = Duration::from_secs(1);
/// Longest time between looks: how late a server that is back is noticed.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// Who was back for less than this goes on with the pauses it had: a server that comes and goes is left for longer.
const STEADY: Duration = Duration::from_secs(60);

/// What is known of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    unanswered: u32,
    /// When the first of those was asked, or the last answer came if that was later.
    silent_since: Option<Instant>,
    answered: Option<Instant>,
    left: Option<Left>,
    back_since: Option<Instant>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    since: Instant,
    probe_at: Instant,
}

/// A change that people want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is asked after all others from now on; so many questions were not answered.
    Left(u32),
    /// It answers again, after this long.
    Back(Duration),
}

/// How a server was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// Nothing came.
    Silent,
    /// Its machine or the network said that it is not there.
    Absent,
}

impl Health {
    /// Whether it is asked in its turn.
    pub(super) fn is_up(&self) -> bool {
        self.left.is_none()
    }

    /// It said something that was for us.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Change> {
        (self.unanswered, self.silent_since, self.answered) = (0, None, Some(now));
        let left = self.left.take()?;
        self.back_since = Some(now);
        Some(Change::Back(now.duration_since(left.since)))
    }

    /// A question that was asked at `asked` has had its time.
    pub(super) fn unanswered(&mut self, how: Unheard, asked: Instant, now: Instant) -> Option<Change> {
        self.unanswered = self.unanswered.saturating_add(1);
        // What it said to others meanwhile shows that it is there: only the question was too hard.
        let asked = self.answered.map_or(asked, |answered| asked.max(answered));
        let since = *self.silent_since.get_or_insert(asked);
        let long = match how {
            Unheard::Silent => now.duration_since(since) >= SILENCE,
            Unheard::Absent => true,
        };
        if self.left.is_some() || self.unanswered < UNANSWERED_MAX || !long {
            return None;
        }
        let was_steady = self
            .back_since
            .is_none_or(|back| now.duration_since(back) >= STEADY);
        if was_steady {
            self.pause = PROBE_MIN;
        }
        self.left = Some(Left {
            since: now,
            probe_at: now + self.pause,
        });
        Some(Change::Left(self.unanswered))
    }

    /// Whether it is time to look whether it is back; a yes is good for one look.
    pub(super) fn takes_probe(&mut self, now: Instant) -> bool {
        let Some(left) = &mut self.left else { return false };
        if now < left.probe_at {
            return false;
        }
        self.pause = (self.pause * 2).clamp(PROBE_MIN, PROBE_MAX);
        left.probe_at = now + self.pause;
        true
    }
}

/// The order in which servers are asked: as listed from `first` on, those that have been left behind the others.
pub(super) fn order(up: &[bool], first: usize) -> Vec<usize> {
    let rotated = || (0..up.len()).map(|n| (n + first) % up.len().max(1));
    let is_up = |n: &usize| up.get(*n).copied().unwrap_or(false);
    rotated()
        .filter(is_up)
        .chain(rotated().filter(|n| !is_up(n)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thing that happens, after so many seconds from the start.
    enum Event {
        Silent(f64),
        Absent,
        Answer,
        Probe(bool),
    }
    use Event::{Absent, Answer, Probe, Silent};

    #[track_caller]
    fn check(events: &[(f64, Event, Option<&str>)]) {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut health = Health::default();
        for (n, (seconds, event, expected)) in events.iter().enumerate() {
            let now = at(*seconds);
            let change = match event {
                Silent(asked) => health.unanswered(Unheard::Silent, at(*asked), now),
                Absent => health.unanswered(Unheard::Absent, now, now),
                Answer => health.answered(now),
                Probe(yes) => {
                    assert_eq!(health.takes_probe(now), *yes, "event {n}");
                    None
                }
            };
            let change = change.map(|change| match change {
                Change::Left(count) => format!("left after {count}"),
                Change::Back(after) => format!("back after {}", after.as_secs()),
            });
            assert_eq!(change.as_deref(), *expected, "event {n}");
        }
    }

    #[test]
    fn silence_is_a_number_of_questions_and_a_time() {
        check(&[
            (1.0, Silent(0.0), None),
            (1.1, Silent(0.1), None),
            (1.2, Silent(0.2), None),
            (1.9, Silent(0.9), None),
            (2.0, Silent(1.0), Some("left after 5")),
            (2.1, Silent(1.1), None),
        ]);
        check(&[
            (5.0, Silent(0.0), None),
            (50.0, Silent(45.0), None),
            (60.0, Silent(59.0), Some("left after 3")),
        ]);
    }

    #[test]
    fn an_answer_ends_silence() {
        check(&[
            (3.0, Silent(0.0), None),
            (3.1, Silent(0.1), None),
            (3.2, Answer, None),
            (9.0, Silent(8.0), None),
            (9.1, Silent(8.1), None),
            (9.2, Silent(8.2), None),
            (10.0, Silent(9.0), Some("left after 4")),
            (17.0, Answer, Some("back after 7")),
            (17.1, Answer, None),
        ]);
    }

    #[test]
    fn who_answers_others_is_not_silent() {
        check(&[
            (4.9, Answer, None),
            (5.0, Silent(0.0), None),
            (5.1, Silent(0.1), None),
            (5.2, Silent(0.2), None),
            (6.8, Silent(1.8), None),
            (6.9, Silent(1.9), Some("left after 5")),
        ]);
    }

    #[test]
    fn nobody_there_needs_no_time() {
        check(&[
            (0.0, Absent, None),
            (0.0, Absent, None),
            (0.0, Absent, Some("left after 3")),
        ]);
    }

    #[test]
    fn looks_become_rarer_and_stay_rare_for_who_comes_and_goes() {
        let left = || {
            [
                (0.0, Absent, None),
                (0.0, Absent, None),
                (0.0, Absent, Some("left after 3")),
            ]
        };
        let mut events: Vec<_> = left().into();
        events.extend([
            (0.9, Probe(false), None),
            (1.0, Probe(true), None),
            (1.1, Probe(false), None),
            (3.0, Probe(true), None),
            (7.0, Probe(true), None),
            (15.0, Probe(true), None),
            (31.0, Probe(true), None),
            (60.9, Probe(false), None),
            (61.0, Probe(true), None),
            (62.0, Answer, Some("back after 62")),
            (63.0, Probe(false), None),
            (70.0, Absent, None),
            (70.0, Absent, None),
            (70.0, Absent, Some("left after 3")),
            (99.0, Probe(false), None),
            (100.0, Probe(true), None),
            (101.0, Answer, Some("back after 31")),
            (161.0, Absent, None),
            (161.0, Absent, None),
            (161.0, Absent, Some("left after 3")),
            (162.0, Probe(true), None),
        ]);
        check(&events);
    }

    #[test]
    fn who_was_left_is_asked_last() {
        for (up, first, expected) in [
            (&[true, true, true][..], 0, &[0, 1, 2][..]),
            (&[false, true, true], 0, &[1, 2, 0]),
            (&[false, false, true], 0, &[2, 0, 1]),
            (&[false, false], 0, &[0, 1]),
            (&[true, true, true], 4, &[1, 2, 0]),
            (&[true, false, true], 1, &[2, 0, 1]),
            (&[], 3, &[]),
        ] {
            assert_eq!(order(up, first), expected, "{up:?} from {first}");
        }
    }
}
