//! One budget of bytes for everything that others make this process hold.
//!
//! Whoever keeps bytes for somebody else takes them here first, in coarse steps, and gives them back with the guard. What
//! can be refused is refused before the budget is over ([`Memory::take`]); what was read already and only waits for its
//! reader is counted all the same ([`Memory::take_anyway`]), but read in pieces that get smaller the less is left
//! ([`Memory::piece`]), so that it comes to an end. How much there is, and what the kernel says is in use, comes from
//! [`super::governor`]; nothing here does I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What the process itself needs: documents and what is compiled of them, answers of DNS, 4 MiB of log lines twice, pipes,
/// stacks. A quarter of the limit where that is less.
const OWN_BYTES: usize = 64 * MIB;
/// Of what is left, two parts of three are the budget; the third is what the allocator, the kernel's sockets and whatever
/// is not counted byte by byte take beside it.
const BUDGET_OF_THREE: usize = 2;
/// Strangers' part of the budget, one of so many.
const STRANGERS: usize = 4;
/// Signed bodies' part of the budget, one of so many, and never more than they can use.
const SIGNED: usize = 2;
/// Most for signed bodies, however much there is: the longest that `limits.signedBody` allows, for one at least.
const SIGNED_BYTES_MAX: usize = 64 * MIB;
/// A piece of a transfer is what is left of the budget divided by this, so that thousands of readers that stop reading
/// each take less than the one before.
const PIECES: usize = 1536;
/// One part of so many of the budget is left to others by them, for as long as their smallest pieces fit into the rest.
const LEFT_TO_OTHERS: usize = 8;
/// The smallest piece; smaller ones cost more than they save.
const PIECE_BYTES_MIN: usize = 2 * 1024;
const MIB: usize = 1024 * 1024;

/// What bytes are held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Open client connections: their tasks, and TLS where they speak it.
    Connections,
    /// Bytes of tunnels whose reader is slow.
    Tunnels,
    /// Buffers of forwarded requests.
    Requests,
    /// Bodies that are signed.
    Signed,
}

impl Use {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Tunnels, Self::Requests, Self::Signed];

    /// The label of the metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Tunnels => "tunnels",
            Self::Requests => "requests",
            Self::Signed => "signed_bodies",
        }
    }
}

/// How near the limit of memory is, by what the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Far away.
    Calm = 0,
    /// Three quarters are in use: transfers that are stuck end, and strangers get no more than a first piece of a head.
    Tight = 1,
    /// Seven eighths: no new work at all.
    Full = 2,
}

/// The budget; cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget: usize,
    total: AtomicUsize,
    held: [AtomicUsize; Use::ALL.len()],
    level: AtomicU8,
}

/// Bytes of the budget, until it is dropped.
#[derive(Debug)]
pub struct Held {
    memory: Memory,
    what: Use,
    bytes: usize,
}

impl Memory {
    /// The budget of a process that may use so much memory in all.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        let own = OWN_BYTES.min(limit / 4);
        Self::with_budget((limit - own) / 3 * BUDGET_OF_THREE)
    }

    /// This very budget.
    #[must_use]
    pub fn with_budget(budget: usize) -> Self {
        Self(Arc::new(Shared {
            budget,
            total: AtomicUsize::new(0),
            held: Default::default(),
            level: AtomicU8::new(Level::Calm as u8),
        }))
    }

    /// All of it.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.0.budget
    }

    /// Of it, what those who have not shown who they are may hold together.
    #[must_use]
    pub fn for_strangers(&self) -> usize {
        self.0.budget / STRANGERS
    }

    /// Of it, what bodies that are signed may hold together.
    #[must_use]
    pub fn for_signed(&self) -> usize {
        (self.0.budget / SIGNED).min(SIGNED_BYTES_MAX)
    }

    /// Held right now, for all uses.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Held right now for one use.
    #[must_use]
    pub fn held(&self, what: Use) -> usize {
        self.0.count(what).load(Ordering::Relaxed)
    }

    /// Whether new work may begin: there is something left, and the kernel's count agrees.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.level() < Level::Full && self.total() < self.0.budget
    }

    /// What the kernel's count says.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.0.level.load(Ordering::Relaxed) {
            0 => Level::Calm,
            1 => Level::Tight,
            _ => Level::Full,
        }
    }

    /// Notes what the kernel counts, of how much; the level that follows from it.
    pub fn observe(&self, used: usize, limit: usize) -> Level {
        let level = if used >= limit / 8 * 7 {
            Level::Full
        } else if used >= limit / 4 * 3 {
            Level::Tight
        } else {
            Level::Calm
        };
        self.0.level.store(level as u8, Ordering::Relaxed);
        level
    }

    /// Bytes for a use, unless that is more than what is left.
    #[must_use]
    pub fn take(&self, what: Use, bytes: usize) -> Option<Held> {
        self.try_add(what, bytes).then(|| self.guard(what, bytes))
    }

    /// Bytes that are there already: counted, whatever is left.
    #[must_use]
    pub fn take_anyway(&self, what: Use, bytes: usize) -> Held {
        self.add(what, bytes);
        self.guard(what, bytes)
    }

    /// How much of a transfer to read at once: `most` while there is plenty.
    #[must_use]
    pub fn piece(&self, most: usize) -> usize {
        let left = match self.level() {
            Level::Calm => (self.0.budget - self.0.budget / LEFT_TO_OTHERS).saturating_sub(self.total()),
            Level::Tight | Level::Full => 0,
        };
        (left / PIECES).max(PIECE_BYTES_MIN).min(most)
    }

    fn guard(&self, what: Use, bytes: usize) -> Held {
        Held {
            memory: self.clone(),
            what,
            bytes,
        }
    }

    fn try_add(&self, what: Use, bytes: usize) -> bool {
        let total = self.0.total.fetch_add(bytes, Ordering::Relaxed);
        if self.level() == Level::Full || total.saturating_add(bytes) > self.0.budget {
            self.0.total.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.0.count(what).fetch_add(bytes, Ordering::Relaxed);
        true
    }

    fn add(&self, what: Use, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
        self.0.count(what).fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, what: Use, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.0.total.fetch_sub(bytes, Ordering::Relaxed);
        self.0.count(what).fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// For tests and whoever has no limit: as much as one likes.
impl Default for Memory {
    fn default() -> Self {
        Self::with_budget(isize::MAX.unsigned_abs())
    }
}

impl Shared {
    fn count(&self, what: Use) -> &AtomicUsize {
        let [connections, tunnels, requests, signed] = &self.held;
        match what {
            Use::Connections => connections,
            Use::Tunnels => tunnels,
            Use::Requests => requests,
            Use::Signed => signed,
        }
    }
}

impl Held {
    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// More or fewer, whatever is left; nothing is touched where it is as much already.
    pub fn set(&mut self, bytes: usize) {
        match bytes.cmp(&self.bytes) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => self.memory.add(self.what, bytes - self.bytes),
            std::cmp::Ordering::Less => self.memory.sub(self.what, self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    /// More, unless that is more than what is left; then it is as before.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.try_add(self.what, more) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.sub(self.what, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_from_the_limit() {
        for (limit, budget, strangers, signed) in [
            (64, 32, 8, 16),
            (256, 128, 32, 64),
            (512, 298, 74, 64),
            (4096, 2688, 672, 64),
        ] {
            let memory = Memory::of(limit * MIB);
            let parts = [memory.budget(), memory.for_strangers(), memory.for_signed()];
            assert_eq!(
                parts.map(|bytes| bytes / MIB),
                [budget, strangers, signed],
                "{limit}"
            );
        }
    }

    #[test]
    fn the_bound_is_exact_and_everything_is_given_back() {
        let memory = Memory::with_budget(100);
        let mut one = memory.take(Use::Signed, 60).unwrap();
        assert!(memory.take(Use::Requests, 41).is_none());
        let two = memory.take(Use::Requests, 40).unwrap();
        assert!(!memory.admits() && !one.grow(61));
        let three = memory.take_anyway(Use::Tunnels, 7);
        one.set(10);
        assert!(one.grow(53) && !one.grow(54));
        assert_eq!(Use::ALL.map(|what| memory.held(what)), [0, 7, 40, 53]);
        assert_eq!(memory.total(), 100);
        drop((one, two, three));
        assert_eq!((memory.total(), memory.admits()), (0, true));
    }

    #[test]
    fn what_the_kernel_counts_stops_new_work_before_the_limit() {
        let memory = Memory::with_budget(64 * MIB);
        for (used, level, admits) in [
            (0, Level::Calm, true),
            (191, Level::Calm, true),
            (192, Level::Tight, true),
            (223, Level::Tight, true),
            (224, Level::Full, false),
            (300, Level::Full, false),
            (100, Level::Calm, true),
        ] {
            assert_eq!(memory.observe(used * MIB, 256 * MIB), level, "{used}");
            assert_eq!(memory.admits(), admits, "{used}");
            assert_eq!(memory.take(Use::Requests, 1).is_some(), admits, "{used}");
        }
    }

    #[test]
    fn thousands_of_readers_that_stop_reading_stay_within_the_budget() {
        let memory = Memory::with_budget(128 * MIB);
        let most = 64 * 1024;
        assert_eq!(memory.piece(most), most);
        let kept: Vec<_> = (0..12_000)
            .map(|_| memory.take_anyway(Use::Tunnels, memory.piece(most)))
            .collect();
        assert!(memory.admits(), "{}", memory.total());
        assert!(memory.piece(most) >= PIECE_BYTES_MIN);
        drop(kept);
        memory.observe(7, 8);
        assert_eq!(
            memory.piece(most),
            PIECE_BYTES_MIN,
            "whatever is left of the budget"
        );
    }
}
