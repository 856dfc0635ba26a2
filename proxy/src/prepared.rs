//! What rules ask of the proxy, made ready once: a TLS configuration, a signing key.
//!
//! Made anew when the settings, the Secrets behind them or the roots change, and not before: a configuration holds the
//! sessions that it resumes, and parsing a key takes longer than using it. What is in use lives on until it is let go,
//! so a rotation disturbs nothing in flight.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};
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

/// Things of type `T`, each for settings `S` of one policy.
#[derive(Debug)]
pub(crate) struct Prepared<S, T> {
    hasher: RandomState,
    entries: Mutex<HashMap<u64, Entry<S, T>>>,
}

#[derive(Debug)]
struct Entry<S, T> {
    owner: (String, String),
    settings: S,
    /// The documents that it was last compared with; while they are in force nothing has to be compared.
    seen: Weak<InForce>,
    epoch: u64,
    print: [u8; 32],
    made: Instant,
    thing: Arc<T>,
}

/// What a request brings along to find its thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    pub(crate) in_force: &'a Arc<InForce>,
    pub(crate) policy: &'a Policy,
    /// Grows when something else than documents changes what is made.
    pub(crate) epoch: u64,
}

impl<S, T> Default for Prepared<S, T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            entries: Mutex::default(),
        }
    }
}

impl<S: Clone + Eq + Hash, T> Prepared<S, T> {
    /// The thing for these settings: the one there is while nothing changed, else one that is made of `secrets` now.
    /// `make` gets the one before, if there was one. What cannot be made is not remembered.
    pub(crate) fn get<'s, E>(
        &self,
        whose: For<'_>,
        settings: &S,
        secrets: impl FnOnce() -> Vec<Option<&'s Secret>>,
        make: impl FnOnce(&[Option<&'s Secret>], Option<&T>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let owner = (whose.policy.namespace(), whose.policy.name());
        let hash = self.hasher.hash_one((owner, settings));
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = entries
            .get_mut(&hash)
            .filter(|entry| (&*entry.owner.0, &*entry.owner.1) == owner && entry.settings == *settings);
        let is_young =
            |entry: &Entry<S, T>| entry.epoch == whose.epoch && now.duration_since(entry.made) < AGE_MAX;
        if let Some(entry) = &entry
            && std::ptr::eq(entry.seen.as_ptr(), Arc::as_ptr(whose.in_force))
            && is_young(entry)
        {
            return Ok(Arc::clone(&entry.thing));
        }
        let secrets = secrets();
        let print = fingerprint(&secrets);
        if let Some(entry) = &mut entry
            && entry.print == print
            && is_young(entry)
        {
            entry.seen = Arc::downgrade(whose.in_force);
            return Ok(Arc::clone(&entry.thing));
        }
        let thing = Arc::new(make(&secrets, entry.map(|entry| &*entry.thing))?);
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&hash) {
            // What no request of these documents has asked for goes first, then whatever there is.
            entries.retain(|_, entry| std::ptr::eq(entry.seen.as_ptr(), Arc::as_ptr(whose.in_force)));
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        let entry = Entry {
            owner: (owner.0.to_owned(), owner.1.to_owned()),
            settings: settings.clone(),
            seen: Arc::downgrade(whose.in_force),
            epoch: whose.epoch,
            print,
            made: now,
            thing: Arc::clone(&thing),
        };
        entries.insert(hash, entry);
        Ok(thing)
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
        prepared: &Prepared<u8, u32>,
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
            .get(whose, &settings, || vec![secret], |_, _| Ok::<_, ()>(made))
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
    fn what_cannot_be_made_is_not_remembered_and_the_number_is_bounded() {
        let prepared: Prepared<usize, ()> = Prepared::default();
        let (in_force, policy) = (Arc::new(InForce::default()), policy("one"));
        let whose = For {
            in_force: &in_force,
            policy: &policy,
            epoch: 0,
        };
        assert_eq!(prepared.get(whose, &0, Vec::new, |_, _| Err(1)).unwrap_err(), 1);
        for settings in 0..ENTRIES_MAX + 1 {
            prepared
                .get(whose, &settings, Vec::new, |_, _| Ok::<_, ()>(()))
                .unwrap();
            assert!(prepared.entries.lock().unwrap().len() <= ENTRIES_MAX);
        }
    }
}
