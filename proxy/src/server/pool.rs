//! Connections to origins that wait for another request.
//!
//! A connection belongs to the policy content, the target and the TLS settings that it was opened for, and to the runtime
//! that drives its socket. Its address was vetted when it was dialled, and is vetted again by the permit of every request
//! that wants it: a name is resolved once per connection, a policy decides about every request. Whether the name has moved
//! since is not looked at here.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use egressway_core::acl::{Permit, Policy, Target, VettedAddr};
use http::Method;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::origin::Origin;

/// Most idle connections for one key: as many requests to one origin can be in flight again at once.
const IDLE_PER_KEY_MAX: usize = 128;
/// Longest time that a connection waits. Common servers and load balancers close after 60 s and more (AWS ALB 60 s,
/// nginx 75 s); half of it never meets their end.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time that it may have waited for a request that cannot be repeated. Node and Apache close after 5 s, gunicorn
/// after 2 s: past this a new connection is cheaper than a webhook that failed on an old one.
const IDLE_TIME_UNREPEATABLE_MAX: Duration = Duration::from_secs(1);
/// Longest life, so that new addresses of a name, and of the NAT in front, are taken up.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// How often connections that have expired or ended are closed.
const SWEEP: Duration = Duration::from_secs(5);

/// Which TLS settings a connection was opened with; connections with different ones never stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TlsId(pub(super) u64);

/// What a connection is good for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    policy: Arc<Policy>,
    target: Target,
    tls: Option<TlsId>,
    runtime: Id,
}

impl Key {
    /// Where requests of this permit can go; `tls` is absent for plain connections.
    pub(super) fn new(permit: &Permit, tls: Option<TlsId>) -> Self {
        Self {
            policy: Arc::clone(permit.policy()),
            target: permit.target().clone(),
            tls,
            runtime: Handle::current().id(),
        }
    }

    fn identity(&self) -> (&str, &str, &str, &Target, Option<TlsId>, Id) {
        let policy = &self.policy;
        (
            policy.namespace(),
            policy.name(),
            policy.hash(),
            &self.target,
            self.tls,
            self.runtime,
        )
    }
}

/// A connection, and what it takes to use it again.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) origin: Origin,
    pub(super) address: VettedAddr,
    /// When it was dialled.
    pub(super) born: Instant,
    /// Which TLS settings it was opened with.
    pub(super) tls: Option<TlsId>,
}

#[derive(Debug)]
struct Idle {
    key: Key,
    pooled: Pooled,
    since: Instant,
    until: Instant,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    /// Most idle connections.
    max: usize,
    hasher: RandomState,
    shared: Arc<Mutex<Shared>>,
}

/// Oldest first. A hash before each, so that looking for a key reads one short list.
#[derive(Debug, Default)]
struct Shared {
    idle: VecDeque<(u64, Box<Idle>)>,
    sweeper: Option<AbortOnDropHandle<()>>,
}

impl Pool {
    /// At most so many wait in it.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            hasher: RandomState::new(),
            shared: Arc::default(),
        }
    }

    /// A connection for a request of this key that is still open, and whose address the permit vets.
    pub(super) fn take(&self, key: &Key, permit: &Permit, method: &Method) -> Option<Pooled> {
        let hash = self.hasher.hash_one(key.identity());
        let now = Instant::now();
        loop {
            let mut idle = {
                let mut shared = lock(&self.shared);
                // The youngest first: it is the least likely to have been closed.
                let at = shared
                    .idle
                    .iter()
                    .rposition(|(other, idle)| *other == hash && idle.key.identity() == key.identity())?;
                shared.idle.remove(at)?.1
            };
            let patience = if method.is_idempotent() {
                IDLE_TIME_MAX
            } else {
                IDLE_TIME_UNREPEATABLE_MAX
            };
            let fresh = now < idle.until && now.duration_since(idle.since) < patience;
            let vetted = permit.vet(idle.pooled.address.socket_addr().ip());
            if vetted == Ok(idle.pooled.address) && fresh && idle.pooled.origin.is_quiet() {
                return Some(idle.pooled);
            }
            idle.pooled.origin.farewell();
        }
    }

    /// Keeps a connection whose last exchange is over in every respect. `patience` is how long the origin said it waits.
    pub(super) fn put(&self, key: Key, mut pooled: Pooled, patience: Option<Duration>) {
        let since = Instant::now();
        // A second before the origin's own time: the request has to get there.
        let patience = patience.map_or(IDLE_TIME_MAX, |patience| {
            patience.saturating_sub(Duration::from_secs(1)).min(IDLE_TIME_MAX)
        });
        let until = (since + patience).min(pooled.born + LIFE_MAX);
        if until <= since {
            return pooled.origin.farewell();
        }
        let hash = self.hasher.hash_one(key.identity());
        let mut shared = lock(&self.shared);
        if shared.idle.iter().filter(|(other, _)| *other == hash).count() >= IDLE_PER_KEY_MAX {
            drop(shared);
            return pooled.origin.farewell();
        }
        let evicted = if shared.idle.len() >= self.max {
            shared.idle.pop_front()
        } else {
            None
        };
        let idle = Box::new(Idle {
            key,
            pooled,
            since,
            until,
        });
        shared.idle.push_back((hash, idle));
        if shared.sweeper.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let sweeper = sweep(Arc::downgrade(&self.shared));
            shared.sweeper = Some(AbortOnDropHandle::new(tokio::spawn(sweeper)));
        }
        drop(shared);
        // Closed outside of the lock.
        if let Some((_, mut evicted)) = evicted {
            evicted.pooled.origin.farewell();
        }
    }
}

/// Closes what has expired or ended, until nothing is left; the next connection to come starts it again.
async fn sweep(shared: Weak<Mutex<Shared>>) {
    loop {
        sleep(SWEEP).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = Instant::now();
        let mut closed = Vec::new();
        let is_empty = {
            let mut shared = lock(&shared);
            for (hash, mut idle) in std::mem::take(&mut shared.idle) {
                if now < idle.until && idle.pooled.origin.is_quiet() {
                    shared.idle.push_back((hash, idle));
                } else {
                    closed.push(idle);
                }
            }
            shared.idle.is_empty()
        };
        for mut idle in closed {
            idle.pooled.origin.farewell();
        }
        if is_empty {
            let mut shared = lock(&shared);
            // What came meanwhile has to be swept as well.
            if shared.idle.is_empty() {
                shared.sweeper = None;
                return;
            }
        }
    }
}

/// Whoever panicked holding it left a list of connections, which is never half changed.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use egressway_core::acl::{Ask, Floor, Wall, compile};
    use egressway_core::wire::document::{self, Action, Content, PortRange};
    use tokio::net::TcpStream;
    use tokio::time::advance;

    use super::*;

    const IDLE_MAX: usize = 384;

    fn permit(host: &str) -> Permit {
        let rule = document::Rule {
            name: "all".to_owned(),
            action: Action::Allow,
            hosts: vec!["*".to_owned()],
            ports: vec![PortRange {
                port: 1,
                end_port: Some(65535),
            }],
            ..document::Rule::default()
        };
        let content = Content {
            rules: vec![rule],
            ..Content::default()
        };
        let policies = document::Policies {
            version: document::VERSION,
            policies: vec![document::Policy::seal("ns", "name", 1, content)],
        };
        let policy = compile::policies(&policies).unwrap().remove(0);
        let wall = Wall::of(Arc::new(Floor::new(&["127.0.0.0/8".parse().unwrap()])));
        let target = Target::parse(&format!("{host}:80")).unwrap();
        policy.permit(&wall, Ask::tunnel(target)).unwrap()
    }

    /// A connection, and the origin's side of it. Blocking, so that no paused clock moves meanwhile.
    #[expect(clippy::disallowed_methods, reason = "an origin in a test")]
    fn connection(permit: &Permit) -> (Pooled, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let pooled = Pooled {
            origin: Origin::from(TcpStream::from_std(stream).unwrap()),
            address: permit.vet("127.0.0.1".parse().unwrap()).unwrap(),
            born: Instant::now(),
            tls: None,
        };
        (pooled, listener.accept().unwrap().0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_as_long_as_origins_do() {
        let seconds = Duration::from_secs;
        for (method, patience, waited, taken) in [
            (Method::GET, None, 29, true),
            (Method::GET, None, 30, false),
            (Method::GET, Some(5), 3, true),
            (Method::GET, Some(5), 4, false),
            (Method::GET, Some(3600), 30, false),
            (Method::GET, Some(1), 0, false),
            (Method::GET, Some(0), 0, false),
            (Method::POST, None, 0, true),
            (Method::POST, None, 1, false),
            (Method::PUT, None, 29, true),
        ] {
            let (pool, permit) = (Pool::new(IDLE_MAX), permit("a.example"));
            let (pooled, _origin) = connection(&permit);
            let key = Key::new(&permit, None);
            pool.put(key.clone(), pooled, patience.map(seconds));
            advance(seconds(waited)).await;
            let got = pool.take(&key, &permit, &method);
            assert_eq!(got.is_some(), taken, "{method} {patience:?} after {waited} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_a_longest_life() {
        let (pool, permit) = (Pool::new(IDLE_MAX), permit("a.example"));
        let (mut pooled, _origin) = connection(&permit);
        let key = Key::new(&permit, None);
        for _ in 0..14 {
            pool.put(key.clone(), pooled, None);
            advance(Duration::from_secs(20)).await;
            pooled = pool
                .take(&key, &permit, &Method::GET)
                .expect("less than five minutes");
        }
        pool.put(key.clone(), pooled, None);
        advance(Duration::from_secs(20)).await;
        assert!(pool.take(&key, &permit, &Method::GET).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_and_the_pool_have_bounds() {
        let (pool, one) = (Pool::new(IDLE_MAX), permit("a.example"));
        let mut origins = Vec::new();
        let mut put = |permit: &Permit| {
            let (pooled, origin) = connection(permit);
            origins.push(origin);
            pool.put(Key::new(permit, None), pooled, None);
            lock(&pool.shared).idle.len()
        };
        for n in 1..=IDLE_PER_KEY_MAX {
            assert_eq!(put(&one), n);
        }
        assert_eq!(put(&one), IDLE_PER_KEY_MAX);
        for n in IDLE_PER_KEY_MAX..IDLE_MAX {
            assert_eq!(put(&permit(&format!("{n}.example"))), n + 1);
        }
        assert_eq!(put(&permit("z.example")), IDLE_MAX);
        // The oldest has gone, not these.
        for permit in [one, permit("z.example")] {
            let key = Key::new(&permit, None);
            assert!(pool.take(&key, &permit, &Method::GET).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_settings_are_another_connection() {
        let (pool, permit) = (Pool::new(IDLE_MAX), permit("a.example"));
        let (pooled, _origin) = connection(&permit);
        pool.put(Key::new(&permit, Some(TlsId(1))), pooled, None);
        for tls in [None, Some(TlsId(2))] {
            assert!(
                pool.take(&Key::new(&permit, tls), &permit, &Method::GET)
                    .is_none()
            );
        }
        let same = Key::new(&permit, Some(TlsId(1)));
        assert!(pool.take(&same, &permit, &Method::GET).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_closed_without_being_asked_for() {
        use std::io::Read as _;
        let (pool, permit) = (Pool::new(IDLE_MAX), permit("a.example"));
        let (pooled, mut origin) = connection(&permit);
        pool.put(Key::new(&permit, None), pooled, None);
        sleep(IDLE_TIME_MAX + SWEEP).await;
        assert_eq!(origin.read(&mut [0]).unwrap(), 0);
        assert!(
            lock(&pool.shared).sweeper.is_none(),
            "nothing is left to be swept"
        );
    }
}
