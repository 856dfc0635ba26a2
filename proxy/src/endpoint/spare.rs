//! Descriptors kept for the moment in which the process has no others: given up one by one, so that a health check is
//! accepted when the data path has used up everything, and taken again as soon as there are any.
//!
//! What is given up is free for the whole process, and another thread may be quicker; that is why there are several.

use std::os::fd::{AsFd, OwnedFd};

/// Two probes, a scrape and a person at one time.
const SPARES: usize = 4;

/// Descriptors of which nobody needs what stands behind them.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<OwnedFd>);

impl Spare {
    /// As many as there should be, or as the process may open.
    pub(super) fn fill(&mut self, any: &impl AsFd) {
        while self.0.len() < SPARES
            && let Ok(another) = any.as_fd().try_clone_to_owned()
        {
            self.0.push(another);
        }
    }

    /// Gives one up, if there is one: what failed for the want of it can be tried again at once.
    pub(super) fn give_up(&mut self) -> bool {
        self.0.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_given_up_once_and_all_are_taken_again() {
        let mut spare = Spare::default();
        assert!(!spare.give_up());
        for _ in 0..2 {
            spare.fill(&std::io::stderr());
            let given_up = std::iter::repeat_with(|| spare.give_up()).take_while(|given| *given);
            assert_eq!(given_up.count(), SPARES);
        }
    }
}
