//! Who is asked next about one family of a name, and which answer counts. Pure: outcomes in, steps out.
//!
//! The order of the servers holds: an error asks the next one, and that a name is missing counts only once every server
//! before has failed. That a name has addresses counts from whoever says so first: the next server is asked only after
//! those before were given their time.

use super::question::{Flaw, Meaning};

/// What to do after something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the server at this place of the order.
    Ask(usize),
    /// Wait for those that were asked.
    Wait,
    /// It is settled.
    Done(Conclusion),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// An answer, and whose.
    Answered(usize, Meaning),
    /// None; what each server did last, by its place.
    Failed(Vec<(usize, Flaw)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unasked,
    Asked,
    Failed(Flaw),
}

/// The questions about one family.
#[derive(Debug)]
pub(super) struct Course {
    places: Vec<Place>,
    /// How often each may still be asked again after an error.
    rounds_left: u32,
    /// Of the first in order that said so.
    missing: Option<(usize, Meaning)>,
}

impl Course {
    /// Over so many servers, each asked at most `rounds` times.
    pub(super) fn new(servers: usize, rounds: u32) -> Self {
        Self {
            places: vec![Place::Unasked; servers],
            rounds_left: rounds.saturating_sub(1),
            missing: None,
        }
    }

    /// The first question, or one more after those asked last were given their time.
    pub(super) fn next(&mut self) -> Step {
        if self.missing.is_some() {
            // Those behind it cannot outweigh it.
            return Step::Wait;
        }
        if let Some(step) = self.ask_first_unasked() {
            return step;
        }
        let all_failed = self.places.iter().all(|place| matches!(place, Place::Failed(_)));
        match self.rounds_left.checked_sub(1) {
            _ if !all_failed => Step::Wait,
            None => Step::Done(self.conclude()),
            Some(left) => {
                self.rounds_left = left;
                // Who was silent has been asked as often as it may be.
                for place in &mut self.places {
                    match place {
                        Place::Failed(Flaw::Silent) | Place::Unasked | Place::Asked => {}
                        Place::Failed(_) => *place = Place::Unasked,
                    }
                }
                self.ask_first_unasked()
                    .unwrap_or_else(|| Step::Done(self.conclude()))
            }
        }
    }

    fn ask_first_unasked(&mut self) -> Option<Step> {
        let at = self.places.iter().position(|place| *place == Place::Unasked)?;
        *self.places.get_mut(at)? = Place::Asked;
        Some(Step::Ask(at))
    }

    /// Whether [`Self::next`] could ask someone while others are waited for.
    pub(super) fn has_more(&self) -> bool {
        self.missing.is_none() && self.places.contains(&Place::Unasked)
    }

    /// A server answered, or did not.
    pub(super) fn note(&mut self, at: usize, outcome: Result<Meaning, Flaw>) -> Step {
        match outcome {
            Ok(found @ Meaning::Found { .. }) => return Step::Done(Conclusion::Answered(at, found)),
            Ok(missing @ Meaning::Missing { .. }) => {
                if self.missing.as_ref().is_none_or(|(first, _)| at < *first) {
                    self.missing = Some((at, missing));
                }
            }
            Err(flaw) => {
                if let Some(place) = self.places.get_mut(at) {
                    *place = Place::Failed(flaw);
                }
            }
        }
        match &self.missing {
            Some((at, _)) if self.all_failed_before(*at) => Step::Done(self.conclude()),
            Some(_) => Step::Wait,
            None => self.next(),
        }
    }

    fn all_failed_before(&self, at: usize) -> bool {
        self.places
            .iter()
            .take(at)
            .all(|place| matches!(place, Place::Failed(_)))
    }

    /// A server is not waited for any longer, though others are.
    pub(super) fn give_up(&mut self, at: usize) {
        if let Some(place) = self.places.get_mut(at) {
            *place = Place::Failed(Flaw::Silent);
        }
    }

    /// What it comes to when no more is waited for.
    pub(super) fn conclude(&self) -> Conclusion {
        if let Some((at, missing)) = &self.missing {
            return Conclusion::Answered(*at, missing.clone());
        }
        let flaws = self
            .places
            .iter()
            .enumerate()
            .filter_map(|(at, place)| match place {
                Place::Failed(flaw) => Some((at, *flaw)),
                Place::Asked => Some((at, Flaw::Silent)),
                Place::Unasked => None,
            });
        Conclusion::Failed(flaws.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Result<Meaning, Flaw> = Ok(Meaning::Found {
        addresses: Vec::new(),
        ttl: 7,
    });
    const MISSING: Result<Meaning, Flaw> = Ok(Meaning::Missing { ttl: None });

    /// An outcome of a server by its place; none is that those asked last had their time.
    type Event = Option<(usize, Result<Meaning, Flaw>)>;

    /// Each event with what is done after it, in short.
    #[track_caller]
    fn check(servers: usize, rounds: u32, events: Vec<(Event, &str)>) {
        let mut course = Course::new(servers, rounds);
        assert_eq!(course.next(), Step::Ask(0));
        for (n, (event, expected)) in events.into_iter().enumerate() {
            let step = match event {
                Some((at, outcome)) => course.note(at, outcome),
                None => course.next(),
            };
            let short = match step {
                Step::Ask(at) => format!("ask {at}"),
                Step::Wait => "wait".to_owned(),
                Step::Done(Conclusion::Answered(at, Meaning::Found { .. })) => format!("found by {at}"),
                Step::Done(Conclusion::Answered(at, Meaning::Missing { .. })) => format!("missing by {at}"),
                Step::Done(Conclusion::Failed(flaws)) => format!("failed {}", flaws.len()),
            };
            assert_eq!(short, expected, "after event {n}");
        }
    }

    #[test]
    fn the_first_that_answers_counts() {
        check(2, 2, vec![(Some((0, FOUND)), "found by 0")]);
        check(2, 2, vec![(Some((0, MISSING)), "missing by 0")]);
    }

    #[test]
    fn an_error_asks_the_next() {
        for flaw in [
            Flaw::ServFail,
            Flaw::Refused,
            Flaw::NotImplemented,
            Flaw::FormatError,
            Flaw::Garbage,
            Flaw::Silent,
            Flaw::Unreachable,
            Flaw::Aliases,
            Flaw::Referral,
            Flaw::OtherCode,
        ] {
            for (answer, expected) in [(FOUND, "found by 1"), (MISSING, "missing by 1")] {
                let events = vec![(Some((0, Err(flaw))), "ask 1"), (Some((1, answer)), expected)];
                check(2, 1, events);
            }
        }
    }

    #[test]
    fn that_a_name_is_missing_waits_for_the_servers_before() {
        let asked = || (None, "ask 1");
        check(
            2,
            2,
            vec![
                asked(),
                (Some((1, MISSING)), "wait"),
                (Some((0, FOUND)), "found by 0"),
            ],
        );
        check(
            2,
            2,
            vec![
                asked(),
                (Some((1, MISSING)), "wait"),
                (Some((0, MISSING)), "missing by 0"),
            ],
        );
        let failed = || (Some((0, Err(Flaw::Silent))), "missing by 1");
        check(
            2,
            2,
            vec![asked(), (Some((1, MISSING)), "wait"), (None, "wait"), failed()],
        );
        check(2, 2, vec![asked(), (Some((1, FOUND)), "found by 1")]);
    }

    #[test]
    fn errors_are_asked_again_and_silence_is_not() {
        let (fail, silent) = (|| Err(Flaw::ServFail), || Err(Flaw::Silent));
        check(
            2,
            2,
            vec![
                (Some((0, fail())), "ask 1"),
                (Some((1, fail())), "ask 0"),
                (Some((0, fail())), "ask 1"),
                (Some((1, fail())), "failed 2"),
            ],
        );
        check(
            2,
            2,
            vec![
                (None, "ask 1"),
                (Some((1, fail())), "wait"),
                (None, "wait"),
                (Some((0, silent())), "ask 1"),
                (Some((1, FOUND)), "found by 1"),
            ],
        );
        check(
            2,
            2,
            vec![
                (None, "ask 1"),
                (Some((1, silent())), "wait"),
                (Some((0, silent())), "failed 2"),
            ],
        );
        check(1, 1, vec![(Some((0, fail())), "failed 1")]);
    }

    #[test]
    fn who_was_asked_and_said_nothing_was_silent() {
        let mut course = Course::new(3, 2);
        course.next();
        course.note(0, Err(Flaw::Refused));
        assert_eq!(
            course.conclude(),
            Conclusion::Failed(vec![(0, Flaw::Refused), (1, Flaw::Silent)])
        );
        assert!(course.has_more());
        course.note(1, MISSING);
        assert!(!course.has_more());
        assert_eq!(
            course.conclude(),
            Conclusion::Answered(1, Meaning::Missing { ttl: None })
        );
    }
}
