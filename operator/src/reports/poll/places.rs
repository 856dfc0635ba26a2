//! Pure: how many questions and nudges there are at one time, and whose turn it is.
//!
//! A pod that hangs holds its place until the question has timed out, and is asked again soon. However many hang, the
//! others must be asked as if those were not there.

/// Questions and nudges at one time.
const PLACES: usize = 256;
/// Of them, questions to pods that left the last one unanswered.
const PLACES_OF_SILENT: usize = 64;

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: usize,
    silent: usize,
}

impl Places {
    /// Whether there is none left for anybody.
    pub(super) fn are_taken(&self) -> bool {
        self.all >= PLACES
    }

    /// Takes one for a question, if there is one for a pod like this.
    pub(super) fn ask(&mut self, silent: bool) -> bool {
        if self.are_taken() || silent && self.silent >= PLACES_OF_SILENT {
            return false;
        }
        self.all += 1;
        self.silent += usize::from(silent);
        true
    }

    /// Takes one for a nudge, which waits for the API server for a bounded time.
    pub(super) fn nudge(&mut self) {
        self.all += 1;
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, silent: bool) {
        self.all = self.all.saturating_sub(1);
        self.silent = self.silent.saturating_sub(usize::from(silent));
    }
}

/// All of a list once, from `first` on, each with its place in it.
pub(super) fn turn<T>(list: &[T], first: usize) -> impl Iterator<Item = (usize, &T)> {
    let all = list.iter().enumerate();
    all.clone().skip(first).chain(all.take(first.min(list.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_hang_there_is_room_for_those_that_answer() {
        let mut places = Places::default();
        let hanging = (0..1000).filter(|_| places.ask(true)).count();
        assert_eq!(hanging, PLACES_OF_SILENT);
        let answering = (0..1000).filter(|_| places.ask(false)).count();
        assert_eq!(answering, PLACES - PLACES_OF_SILENT);
        assert!(places.are_taken());
        places.give_back(true);
        assert!(places.ask(true) && !places.ask(true) && !places.ask(false));
        places.give_back(false);
        assert!(!places.ask(true) && places.ask(false));
    }

    #[test]
    fn whoever_had_no_turn_is_first() {
        let from = |first| turn(&["a", "b", "c"], first).collect::<Vec<_>>();
        assert_eq!(from(0), [(0, &"a"), (1, &"b"), (2, &"c")]);
        assert_eq!(from(2), [(2, &"c"), (0, &"a"), (1, &"b")]);
        assert_eq!(from(7), from(0), "the list has become shorter");
        assert_eq!(turn::<&str>(&[], 3).count(), 0);
    }

    /// Every pod hangs, and is due whenever it is not asked: each gets its turn before any gets a second one too many.
    #[test]
    fn those_that_hang_take_turns() {
        let pods: Vec<usize> = (0..500).collect();
        let (mut places, mut first, mut asked) = (Places::default(), 0, vec![0_u32; 500]);
        for _round in 0..100 {
            let mut under_way = Vec::new();
            for (place, pod) in turn(&pods, first) {
                if !places.ask(true) {
                    first = place;
                    break;
                }
                under_way.push(*pod);
            }
            for pod in under_way {
                asked[pod] += 1;
                places.give_back(true);
            }
        }
        let (least, most) = (asked.iter().min().unwrap(), asked.iter().max().unwrap());
        assert!(*least > 0 && most - least <= 1, "{least} {most}");
    }
}
