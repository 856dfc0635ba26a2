//! What the operator wrote last, what the API server made of it, and how often it was undone, per object.
//!
//! It saves writes, tells when a cache is behind our own write, and ends arguments: what an API server answers to a write it
//! will answer again, and what somebody undoes again and again is named instead of written. Losing it costs one comparison
//! an object. A write whose answer has not come may have happened: until the API server has been asked, no cache is believed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::contested::Contested;

/// So often the same fields of an object are mended within [`MENDS_WITHIN`]; a person edits less often, and a controller that answers within milliseconds is no hot loop.
const MENDS_MAX: usize = 20;
/// See [`MENDS_MAX`].
const MENDS_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<(String, String), Entry>>);

#[derive(Debug, Default)]
struct Entry {
    written: Option<Written>,
    /// What the API server's answer had otherwise.
    left: Option<Left>,
    /// When which fields were mended.
    mends: Vec<(Vec<String>, Instant)>,
    /// Who it was that made us stop, and when that was found out.
    fight: Option<(Contested, Instant)>,
}

/// What was written last.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Of what was written; empty where that is not known.
    pub hash: String,
    /// That it had afterwards; empty, which no cache reaches, where that is not known.
    pub resource_version: String,
}

/// What an API server made of a write.
#[derive(Clone, Debug)]
pub struct Left {
    /// Of the patch that would make it what was written.
    pub digest: String,
    /// When it answered so.
    pub at: Instant,
    /// What of it is not the server's to fill in.
    pub contested: Option<Contested>,
}

impl Memory {
    /// What was written last.
    #[must_use]
    pub fn written(&self, kind: &str, name: &str) -> Option<Written> {
        self.look(kind, name, |entry| entry.written.clone()).flatten()
    }

    /// What the API server made of it.
    #[must_use]
    pub fn left(&self, kind: &str, name: &str) -> Option<Left> {
        self.look(kind, name, |entry| entry.left.clone()).flatten()
    }

    /// It was written, or may have been.
    pub fn remember(&self, kind: &str, name: &str, written: Written, left: Option<Left>) {
        self.change(kind, name, |entry| {
            (entry.written, entry.left) = (Some(written), left)
        });
    }

    /// The API server shows this version: a cache that has it is not behind.
    pub fn seen(&self, kind: &str, name: &str, resource_version: String) {
        self.change(kind, name, |entry| match &mut entry.written {
            Some(written) if written.resource_version != resource_version => {
                *written = Written {
                    hash: String::new(),
                    resource_version,
                };
            }
            Some(_) | None => {}
        });
    }

    /// Whether these fields may be mended once more, which is noted; false where that was done too often.
    pub fn may_mend(&self, kind: &str, name: &str, fields: &[String]) -> bool {
        let now = Instant::now();
        self.change(kind, name, |entry| {
            entry
                .mends
                .retain(|(_, at)| now.duration_since(*at) < MENDS_WITHIN);
            let often = entry.mends.iter().filter(|(mended, _)| mended == fields).count() >= MENDS_MAX;
            if !often {
                entry.mends.push((fields.to_vec(), now));
            }
            !often
        })
    }

    /// Who made us stop, as found out not longer ago than that.
    #[must_use]
    pub fn fight(&self, kind: &str, name: &str, within: Duration) -> Option<Contested> {
        let fight = self.look(kind, name, |entry| entry.fight.clone()).flatten();
        fight
            .filter(|(_, at)| at.elapsed() < within)
            .map(|(contested, _)| contested)
    }

    /// Notes who it is.
    pub fn fights(&self, kind: &str, name: &str, contested: Contested) {
        self.change(kind, name, |entry| {
            entry.fight = Some((contested, Instant::now()))
        });
    }

    /// The object is gone, or to be forgotten. How often it was mended is not: somebody may delete it again and again.
    pub fn forget(&self, kind: &str, name: &str) {
        self.change(kind, name, |entry| (entry.written, entry.left) = (None, None));
        let now = Instant::now();
        self.lock().retain(|_, entry| {
            let mended = entry.mends.iter();
            entry.written.is_some()
                || mended
                    .map(|(_, at)| now.duration_since(*at))
                    .any(|ago| ago < MENDS_WITHIN)
        });
    }

    fn look<R>(&self, kind: &str, name: &str, look: impl FnOnce(&Entry) -> R) -> Option<R> {
        self.lock().get(&(kind.to_owned(), name.to_owned())).map(look)
    }

    fn change<R>(&self, kind: &str, name: &str, change: impl FnOnce(&mut Entry) -> R) -> R {
        change(self.lock().entry((kind.to_owned(), name.to_owned())).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_fields_are_mended_so_often_in_a_minute_and_others_besides() {
        let memory = Memory::default();
        let (image, replicas) = (["image".to_owned()], ["replicas".to_owned()]);
        for _ in 0..MENDS_MAX {
            assert!(memory.may_mend("Deployment", "d", &image));
        }
        assert!(!memory.may_mend("Deployment", "d", &image));
        assert!(memory.may_mend("Deployment", "d", &replicas));
        assert!(memory.may_mend("Deployment", "e", &image));
        memory.forget("Deployment", "d");
        assert!(!memory.may_mend("Deployment", "d", &image));
        tokio::time::advance(MENDS_WITHIN).await;
        assert!(memory.may_mend("Deployment", "d", &image));
    }
}
