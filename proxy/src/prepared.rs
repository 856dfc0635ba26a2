//! What rules ask of the proxy, made ready once: a TLS configuration, a signing key.
//!
//! Made anew when the settings, the Secrets behind them or the roots change, and not before: a configuration holds the
//! sessions that it resumes, and parsing a key takes longer than using it. What is in use lives on until it is let go,
//! so a rotation disturbs nothing in flight. What cannot be made is remembered as well, and both are made outside of the
//! lock that every request takes: whoever asks for something else does not wait.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use egressway_core::acl::Policy;
use egressway_core::wire::document::Secret;
use tokio::time::Instant;

use crate::state::InForce;

/// Most things kept ready: one for each rule that asks for some, in a shared fleet of many policies.
const ENTRIES_MAX: usize = 1024;
/// Longest time that one is kept: what was verified to resume a session is verified again after this.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Things of type `T`, each for settings `S` of one policy, or why there is none.
#[derive(Debug)]
pub(crate) struct Prepared<S, T, E> {
    hasher: RandomState,
    entries: Mutex<HashMap<u64, Entry<S, T, E>>>,
}

/// Empty while somebody makes it; others who want the same wait for it, and nobody else.
type Outcome<T, E> = Arc<OnceLock<Result<Arc<T>, E>>>;

#[derive(Debug)]
struct Entry<S, T, E> {
    owner: (String, String),
    settings: S,
    /// The documents that it was last compared with; while they are in force nothing has to be compared.
    seen: Weak<InForce>,
    epoch: u64,
    print: [u8; 32],
    made: Instant,
    outcome: Outcome<T, E>,
}

/// What a request brings along to find its thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    pub(crate) in_force: &'a Arc<InForce>,
    pub(crate) policy: &'a Policy,
    /// Grows when something else than documents changes what is made.
    pub(crate) epoch: u64,
}

impl<S, T, E> Default for Prepared<S, T, E> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            entries: Mutex::default(),
        }
    }
}

impl<S: Clone + Eq + Hash, T, E: Clone> Prepared<S, T, E> {
    /// The thing for these settings, or why it cannot be made: what there is while nothing changed, else what is made of
    /// `secrets` now. `make` gets the one before, if there was one.
    pub(crate) fn get<'s>(
        &self,
        whose: For<'_>,
        settings: &S,
        secrets: impl FnOnce() -> Vec<Option<&'s Secret>>,
        make: impl FnOnce(&[Option<&'s Secret>], Option<&T>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let owner = (whose.policy.namespace(), whose.policy.name());
        let hash = self.hasher.hash_one((owner, settings));
        let now = Instant::now();
        let is_own = |entry: &Entry<S, T, E>| {
            (&*entry.owner.0, &*entry.owner.1) == owner && entry.settings == *settings
        };
        let is_young =
            |entry: &Entry<S, T, E>| entry.epoch == whose.epoch && now.duration_since(entry.made) < AGE_MAX;
        if let Some(entry) = self.lock().get(&hash).filter(|entry| is_own(entry))
            && std::ptr::eq(entry.seen.as_ptr(), Arc::as_ptr(whose.in_force))
            && is_young(entry)
            && let Some(outcome) = entry.outcome.get()
        {
            return outcome.clone();
        }
        let secrets = secrets();
        let print = fingerprint(&secrets);
        let mut entries = self.lock();
        let entry = entries.get_mut(&hash).filter(|entry| is_own(entry));
        let (outcome, before) = match entry {
            Some(entry) if entry.print == print && is_young(entry) => {
                entry.seen = Arc::downgrade(whose.in_force);
                (Arc::clone(&entry.outcome), None)
            }
            entry => {
                let before = entry.and_then(|entry| entry.outcome.get()?.as_ref().ok().map(Arc::clone));
                let outcome = Outcome::default();
                make_room(&mut entries, hash, whose.in_force);
                let entry = Entry {
                    owner: (owner.0.to_owned(), owner.1.to_owned()),
                    settings: settings.clone(),
                    seen: Arc::downgrade(whose.in_force),
                    epoch: whose.epoch,
                    print,
                    made: now,
                    outcome: Arc::clone(&outcome),
                };
                entries.insert(hash, entry);
                (outcome, before)
            }
        };
        drop(entries);
        outcome
            .get_or_init(|| make(&secrets, before.as_deref()).map(Arc::new))
            .clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry<S, T, E>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What no request of these documents has asked for goes first, then whatever there is.
fn make_room<S, T, E>(entries: &mut HashMap<u64, Entry<S, T, E>>, hash: u64, in_force: &Arc<InForce>) {
    if entries.len() < ENTRIES_MAX || entries.contains_key(&hash) {
        return;
    }
    entries.retain(|_, entry| std::ptr::eq(entry.seen.as_ptr(), Arc::as_ptr(in_force)));
    if entries.len() >= ENTRIES_MAX {
        entries.clear();
    }
}

/// A digest of everything in these Secrets; one that is missing differs from one that is empty.
fn fingerprint(secrets: &[Option<&Secret>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for secret in secrets {
        let Some(secret) = secret else {
            part(b"missing");
            continue;
        };
        part(b"secret");
        for (key, value) in &secret.data {
            part(key.as_bytes());
            part(value.as_bytes());
        }
    }
    let mut print = [0; 32];
    // SHA-256 has 32 bytes.
    for (to, from) in print.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    print
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn policy(name: &str) -> Arc<Policy> {
        crate::samples::policy("payments", name)
    }

    fn secret(value: &str) -> Secret {
        Secret {
            data: BTreeMap::from([("a".to_owned(), value.to_owned())]),
            ..Secret::default()
        }
    }

    fn get(
        prepared: &Prepared<u8, u32, ()>,
        in_force: &Arc<InForce>,
        policy: &Policy,
        settings: u8,
        secret: Option<&Secret>,
        made: u32,
    ) -> u32 {
        let whose = For {
            in_force,
            policy,
            epoch: 0,
        };
        *prepared
            .get(whose, &settings, || vec![secret], |_, _| Ok(made))
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thing_is_made_anew_only_when_something_changed() {
        let prepared = Prepared::default();
        let documents = [Arc::new(InForce::default()), Arc::new(InForce::default())];
        let (one, two) = (policy("one"), policy("two"));
        let (old, new) = (secret("old"), secret("new"));
        let mut asked = 0;
        let mut ask = |in_force: usize, policy: &Policy, settings, secret| {
            asked += 1;
            get(&prepared, &documents[in_force], policy, settings, secret, asked)
        };
        assert_eq!(ask(0, &one, 0, Some(&old)), 1);
        assert_eq!(ask(0, &one, 0, Some(&old)), 1, "nothing changed");
        assert_eq!(ask(1, &one, 0, Some(&old)), 1, "other documents, the same Secret");
        assert_eq!(ask(1, &two, 0, Some(&old)), 4, "another policy");
        assert_eq!(ask(1, &one, 1, Some(&old)), 5, "other settings");
        assert_eq!(ask(0, &one, 0, Some(&new)), 6, "another key");
        assert_eq!(ask(1, &one, 0, None), 7, "no Secret");
        tokio::time::advance(AGE_MAX).await;
        assert_eq!(ask(1, &one, 0, None), 8, "too old");
    }

    #[test]
    fn what_cannot_be_made_is_remembered_until_something_changes() {
        let prepared: Prepared<u8, u32, u32> = Prepared::default();
        let documents = [Arc::new(InForce::default()), Arc::new(InForce::default())];
        let policy = policy("one");
        let (good, broken) = (secret("good"), secret("broken"));
        let mut asked = 0;
        let mut ask = |in_force: usize, secret: Option<&Secret>, made: Result<u32, u32>| {
            asked += 1;
            let whose = For {
                in_force: &documents[in_force],
                policy: &policy,
                epoch: 0,
            };
            let mut seen = None;
            let outcome = prepared.get(
                whose,
                &0,
                || vec![secret],
                |_, before| {
                    seen = Some(before.copied());
                    made
                },
            );
            (outcome.map(|thing| *thing), seen)
        };
        assert_eq!(ask(0, Some(&broken), Err(1)), (Err(1), Some(None)));
        assert_eq!(ask(0, Some(&broken), Err(2)), (Err(1), None), "nothing changed");
        assert_eq!(
            ask(1, Some(&broken), Err(3)),
            (Err(1), None),
            "other documents, the same Secret"
        );
        assert_eq!(ask(0, Some(&good), Ok(4)), (Ok(4), Some(None)), "mended");
        assert_eq!(
            ask(1, Some(&broken), Err(5)),
            (Err(5), Some(Some(4))),
            "what was good is shown"
        );
        assert_eq!(
            ask(0, None, Err(6)),
            (Err(6), Some(None)),
            "and not after it ended"
        );
    }

    /// One that takes its time is made while others are served; those who want the very same get what it comes to.
    #[test]
    fn nobody_waits_for_what_somebody_else_makes() {
        use std::sync::mpsc::channel;
        let prepared: Prepared<u8, u32, ()> = Prepared::default();
        let (in_force, policy) = (Arc::new(InForce::default()), policy("one"));
        let whose = For {
            in_force: &in_force,
            policy: &policy,
            epoch: 0,
        };
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let prepared = &prepared;
            let slow = scope.spawn(move || {
                prepared.get(whose, &1, Vec::new, |_, _| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    Ok(1)
                })
            });
            has_begun.recv().unwrap();
            let other = scope.spawn(|| *prepared.get(whose, &2, Vec::new, |_, _| Ok(2)).unwrap());
            assert_eq!(other.join().unwrap(), 2);
            let same = scope.spawn(|| *prepared.get(whose, &1, Vec::new, |_, _| Ok(3)).unwrap());
            go_on.send(()).unwrap();
            assert_eq!((*slow.join().unwrap().unwrap(), same.join().unwrap()), (1, 1));
        });
    }

    #[test]
    fn the_number_is_bounded() {
        let prepared: Prepared<usize, (), ()> = Prepared::default();
        let (in_force, policy) = (Arc::new(InForce::default()), policy("one"));
        let whose = For {
            in_force: &in_force,
            policy: &policy,
            epoch: 0,
        };
        for settings in 0..ENTRIES_MAX + 1 {
            prepared.get(whose, &settings, Vec::new, |_, _| Ok(())).unwrap();
            assert!(prepared.entries.lock().unwrap().len() <= ENTRIES_MAX);
        }
    }
}
