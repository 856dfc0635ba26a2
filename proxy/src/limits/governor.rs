//! Looks at what the kernel counts, again and again, and says how near the limit is.
//!
//! The budget of [`super::memory`] knows what the data path holds. It does not know what the kernel holds for its sockets
//! (which counts towards a container's limit with cgroup v2), nor what the allocator has not given back; the kernel does.

use std::thread;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cgroup::{self, Cgroup};
use super::memory::{Level, Memory};

/// Between two looks. A burst of 10,000 connections takes longer; a look reads two small files.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks from one time that memory is given back to the next: a second, which is what the allocator keeps it for.
const GIVE_BACK_EACH: u32 = 10;
/// So much is never given back: the process needs about as much at all times.
const KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Less than one of so many parts.
const SMALL_PART: usize = 4;
/// Where nothing says how much there is.
const LIMIT_UNKNOWN: usize = 1024 * 1024 * 1024;

/// Looks at the kernel's counts.
#[derive(Debug)]
pub struct Governor {
    /// Most bytes in all, said by a flag; then this process's own are looked at too.
    flag: Option<usize>,
    cgroups: Vec<Cgroup>,
    used: Gauge,
    limit: Gauge,
}

impl Governor {
    /// For this process. `flag` is its limit where no cgroup has a lower one.
    #[must_use]
    pub fn new(flag: Option<usize>) -> Self {
        Self {
            flag,
            cgroups: Cgroup::of_process(),
            used: Gauge::default(),
            limit: Gauge::default(),
        }
    }

    /// How much memory there is: the flag, the limits of the cgroups, or else half of the machine's.
    #[must_use]
    pub fn limit(&self) -> usize {
        let limits = self.cgroups.iter().filter_map(Cgroup::limit).chain(self.flag);
        limits
            .min()
            .or_else(|| Some(cgroup::machine()? / 2))
            .unwrap_or(LIMIT_UNKNOWN)
    }

    /// Registers what it sees.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "memory_used_bytes",
            "Memory in use, as the kernel counts it towards the limit that is nearest",
            self.used.clone(),
        );
        registry.register("memory_limit_bytes", "That limit", self.limit.clone());
    }

    /// Looks until the end, and has given back what is not needed any more; `relieve` is asked to end what holds memory for nobody's good while it is short.
    pub async fn run(self, memory: Memory, relieve: impl Fn(), end: CancellationToken) {
        let (mut before, mut looks) = (Level::Calm, 0_u32);
        loop {
            let level = self.look(&memory);
            match (before, level) {
                (Level::Calm | Level::Tight, Level::Full) => {
                    warn!("memory is nearly full: new requests are refused until some of it is free");
                }
                (Level::Full, Level::Calm | Level::Tight) => info!("memory is free again"),
                (_, _) => {}
            }
            before = level;
            if level > Level::Calm {
                relieve();
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(GIVE_BACK_EACH) && cgroup::resident() > Some(KEPT_BYTES) {
                give_back();
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = end.cancelled() => return,
            }
        }
    }

    /// The limit that is nearest decides.
    fn look(&self, memory: &Memory) -> Level {
        let resident = cgroup::resident().unwrap_or(usize::MAX);
        // Of one above, in which this process is a small part, nothing that it could end would help.
        let cgroups = self.cgroups.iter().filter_map(|cgroup| {
            let used = cgroup.used()?;
            (!cgroup.is_shared() || resident >= used / SMALL_PART).then_some((used, cgroup.limit()?))
        });
        let own = self.flag.and_then(|flag| Some((cgroup::resident()?, flag)));
        let nearest = cgroups
            .chain(own)
            .max_by_key(|(used, limit)| used.saturating_mul(1000) / (*limit).max(1));
        let Some((used, limit)) = nearest else {
            return Level::Calm;
        };
        self.used.set(i64::try_from(used).unwrap_or(i64::MAX));
        self.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        memory.observe(used, limit)
    }
}

/// Has the allocator return to the kernel what has been free for a second. It does so by itself every ten thousand times
/// that it is asked for a page, which after a burst may be never, and whenever a thread ends: so one begins and ends.
fn give_back() {
    let ends = || drop(std::hint::black_box(Box::new(0_u8)));
    // Nobody waits for it: returning a hundred MiB takes some milliseconds. Where none can be had, the next is tried.
    let _ = thread::Builder::new().name("give-back".to_owned()).spawn(ends);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_a_limit_and_what_the_process_uses_counts_towards_it() {
        let governor = |flag| Governor {
            cgroups: Vec::new(),
            ..Governor::new(flag)
        };
        let (resident, memory) = (cgroup::resident().unwrap(), Memory::default());
        for (flag, level) in [
            (resident * 100, Level::Calm),
            (resident + resident / 5, Level::Tight),
            (resident / 2, Level::Full),
        ] {
            let governor = governor(Some(flag));
            assert_eq!((governor.limit(), governor.look(&memory)), (flag, level));
        }
        assert_eq!(governor(None).limit(), cgroup::machine().unwrap() / 2);
        assert_eq!(
            governor(None).look(&memory),
            Level::Calm,
            "nothing is known, nothing is refused"
        );
    }
}
