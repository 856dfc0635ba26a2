//! The nonces answered lately: a question that was overheard cannot be asked again.
//!
//! A bounded memory, and that is enough: a replay that is too old for it learns what the report says now, which is
//! nothing secret, and can pass for no other answer.

use std::collections::{HashSet, VecDeque};

/// At one question a second, a quarter of an hour.
const REMEMBERED: usize = 1024;

/// The last nonces.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Nonces {
    /// Whether the nonce is new; it is known from now on.
    pub(super) fn insert(&mut self, nonce: &str) -> bool {
        if !self.known.insert(nonce.to_owned()) {
            return false;
        }
        self.order.push_back(nonce.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut nonces = Nonces::default();
        for n in 0..=REMEMBERED {
            assert!(nonces.insert(&n.to_string()));
        }
        assert_eq!((nonces.known.len(), nonces.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!nonces.insert("1") && nonces.insert("0"));
    }
}
