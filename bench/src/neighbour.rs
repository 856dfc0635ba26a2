//! Work beside the proxies that has nothing to do with them: what else a node does, and what it takes from shared caches.

use std::hint::black_box;

/// More than the caches of a core, and of most processors.
const BYTES: usize = 64 * 1024 * 1024;
/// What a cache loads at once.
const LINE_BYTES: usize = 64;

/// Walks through memory for ever.
pub(crate) fn walk() {
    let mut memory = vec![1_u8; BYTES];
    loop {
        for line in memory.iter_mut().step_by(LINE_BYTES) {
            *line = line.wrapping_add(1);
        }
        black_box(&mut memory);
    }
}
