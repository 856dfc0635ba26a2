//! The id of a request: in the reply, in the log, and nowhere else.
//!
//! Random enough that two pods do not hand out the same one; it is a name, not a secret.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Twelve hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u64);

/// Hands out ids: a counter, scrambled with a key drawn once per process.
#[derive(Debug)]
pub struct Ids {
    key: u64,
    next: AtomicU64,
}

impl Id {
    /// The id with these low 48 bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & 0xffff_ffff_ffff)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl Ids {
    /// A new sequence.
    #[must_use]
    pub fn new() -> Self {
        let mut key = [0; 8];
        // Without the system's randomness ids repeat across pods; that is a worse log, not a reason to stop.
        if getrandom::fill(&mut key).is_err() {
            key = u64::from(std::process::id()).to_le_bytes();
        }
        Self {
            key: u64::from_le_bytes(key),
            next: AtomicU64::new(0),
        }
    }

    /// The next id: SplitMix64 of key plus counter, one atomic addition each.
    #[must_use]
    pub fn next(&self) -> Id {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut x = self.key.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Id::from_bits(x ^ (x >> 31))
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_twelve_digits_and_differ() {
        let ids = Ids::new();
        let seen: HashSet<String> = (0..10_000).map(|_| ids.next().to_string()).collect();
        assert!(seen.len() > 9_998);
        assert!(seen.iter().all(|id| id.len() == 12));
    }
}
