//! Observers that answer as they are told, and what a pod makes of it: phase and addresses seen. What each observer may
//! say and how it is reached is in `observers.rs`.
//!
//! The observers stand on loopback, so the floor is opened for it; what they answer must be public addresses.

mod observers;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use egressway_core::acl::{Wall, compile};
use egressway_core::wire::document::{self, Floor, OnMismatch, Pool, Promised};
use egressway_core::wire::report::{Egress, Phase};
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::egress_ip::{EgressIp, Pace};
use egressway_proxy::resolve::{ResolveError, Resolver};
use egressway_proxy::state::{InForce, State};
use prometheus_client::registry::Registry;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::http::{DEADLINE, Scripted, ok};
use crate::mount::pool;

const GOOD: &str = "192.31.196.10";

const BAD: &str = "192.31.196.110";

const PROMISED: &[&str] = &["192.31.196.10/32"];

/// Quick enough for tests, slow enough for a loaded machine to answer in.
const PACE: Pace = Pace {
    probe: Duration::from_millis(1000),
    round: Duration::from_millis(1500),
    retry: Duration::from_millis(20),
};

struct Pod {
    state: Arc<State>,
    registry: Registry,
    _task: AbortOnDropHandle<()>,
}

impl Pod {
    fn start(pool: &Pool) -> Self {
        Self::start_with(
            pool,
            &["127.0.0.0/8"],
            Resolver::scripted(|_| async { Err(ResolveError::NotFound) }),
        )
    }

    fn start_with(pool: &Pool, insecure: &[&str], resolver: Resolver) -> Self {
        let state = State::new();
        state.set_in_force(in_force(pool, insecure));
        let mut registry = Registry::default();
        let metrics = ControlMetrics::register(&mut registry, Arc::clone(&state));
        let egress = EgressIp::new("a".to_owned(), resolver, Arc::clone(&state), metrics).with_pace(PACE);
        let task = AbortOnDropHandle::new(tokio::spawn(egress.run(CancellationToken::new())));
        Self {
            state,
            registry,
            _task: task,
        }
    }

    fn put(&self, pool: &Pool) {
        self.state.set_in_force(in_force(pool, &["127.0.0.0/8"]));
    }

    async fn reaches(&self, phase: Phase) {
        let mut phases = self.state.watch_phase();
        let reached = timeout(DEADLINE, phases.wait_for(|now| *now == phase)).await;
        assert!(
            reached.is_ok(),
            "{phase:?} not reached: {:?}",
            self.state.egress()
        );
    }

    /// Waits for this many more rounds.
    async fn rounds(&self, more: u64) -> Arc<Egress> {
        let target = self.state.egress().rounds + more;
        let done = async {
            while self.state.egress().rounds < target {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, done).await.expect("rounds go on");
        self.state.egress()
    }

    /// The IPv4 error of an observer after the next round.
    async fn error(&self, observer: &str) -> String {
        let egress = self.rounds(1).await;
        let health = egress
            .observers
            .iter()
            .find(|health| health.name == observer && health.family == "IPv4");
        health.unwrap().error.clone().unwrap_or_default()
    }
}

fn in_force(pool: &Pool, insecure: &[&str]) -> InForce {
    let insecure: Vec<_> = insecure.iter().map(|net| net.parse().unwrap()).collect();
    let floor = Floor {
        version: 1,
        ..Floor::default()
    };
    InForce {
        wall: Wall::of(compile::floor(&floor, &insecure).unwrap()),
        pool: Arc::new(pool.clone()),
        pool_hash: document::digest(pool),
        ..InForce::default()
    }
}

/// Observers with these answers and a pool that asks them: quorum two.
async fn observed_by(answers: &[&str], promised: &[&str]) -> (Vec<Scripted>, Pool) {
    let mut servers = Vec::new();
    for answer in answers {
        servers.push(Scripted::start(if answer.is_empty() { vec![] } else { ok(answer) }).await);
    }
    let urls: Vec<_> = (1..)
        .map(|n| format!("o{n}"))
        .zip(servers.iter().map(Scripted::url))
        .collect();
    let observers: Vec<_> = urls
        .iter()
        .map(|(name, url)| (name.as_str(), url.as_str()))
        .collect();
    (servers, pool(&observers, 2, promised))
}

fn confirmed(egress: &Egress) -> Vec<String> {
    egress
        .seen
        .iter()
        .filter(|seen| seen.confirmed)
        .map(|seen| seen.ip.to_string())
        .collect()
}

#[tokio::test]
async fn a_quorum_for_a_promised_address_lets_the_pod_serve() {
    let (servers, pool) = observed_by(&[GOOD, GOOD], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Serving).await;
    let egress = pod.state.egress();
    assert_eq!(confirmed(&egress), [GOOD]);
    assert_eq!(egress.seen[0].observers, ["o1", "o2"]);
    let v4: Vec<_> = egress
        .observers
        .iter()
        .filter(|health| health.family == "IPv4")
        .collect();
    assert!(v4.len() == 2 && v4.iter().all(|health| health.error.is_none()));
    let v6 = egress
        .observers
        .iter()
        .find(|health| health.family == "IPv6")
        .unwrap();
    assert_eq!(
        v6.error.as_deref(),
        Some("no IPv6 address"),
        "a family without addresses harms nobody"
    );
    let head = servers[0].heads()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get / http/1.1\r\n") && head.contains("connection: close"),
        "{head}"
    );
    assert!(
        head.contains(&format!("host: {}\r\n", servers[0].address))
            && head.contains("user-agent: egressway-proxy/"),
        "{head}"
    );
    assert!(servers[0].heads().len() >= 2, "several connections a round");
}

#[tokio::test]
async fn one_answer_of_two_is_no_quorum() {
    let (servers, pool) = observed_by(&[GOOD, ""], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.rounds(3).await;
    assert_eq!(pod.state.phase(), Phase::Starting);
    assert_eq!(pod.error("o2").await, "gave no answer in time");
    servers[1].says(ok(GOOD));
    pod.reaches(Phase::Serving).await;
}

#[tokio::test]
async fn one_liar_is_seen_and_changes_nothing() {
    let (_servers, pool) = observed_by(&[GOOD, GOOD, BAD], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Serving).await;
    let egress = pod.rounds(2).await;
    assert_eq!(
        (pod.state.phase(), confirmed(&egress)),
        (Phase::Serving, vec![GOOD.to_owned()])
    );
    let liar = egress
        .seen
        .iter()
        .find(|seen| seen.ip.to_string() == BAD)
        .unwrap();
    assert_eq!(
        (liar.confirmed, liar.observers.as_slice()),
        (false, &["o3".to_owned()][..])
    );
}

#[tokio::test]
async fn a_changed_nat_address_quarantines_in_the_next_round_and_heals() {
    let (servers, pool) = observed_by(&[GOOD, GOOD], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Serving).await;
    let before = pod.state.egress().rounds;
    servers.iter().for_each(|server| server.says(ok(BAD)));
    pod.reaches(Phase::Quarantined).await;
    // The round that was under way at the change may have had answers of both kinds.
    assert!(pod.state.egress().rounds <= before + 2);
    servers.iter().for_each(|server| server.says(ok(GOOD)));
    pod.reaches(Phase::Serving).await;
    assert_eq!(confirmed(&pod.state.egress()), [GOOD]);
}

#[tokio::test]
async fn observers_that_die_take_nobody_down() {
    let (servers, pool) = observed_by(&[GOOD, GOOD], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Serving).await;
    drop(servers);
    let egress = pod.rounds(4).await;
    assert_eq!((pod.state.phase(), confirmed(&egress)), (Phase::Serving, vec![]));
    assert!(pod.error("o1").await.starts_with("failed to connect: "));
    assert_eq!(egress.seen.len(), 1, "remembered, though nobody sees it now");
}

/// With no new document, no operator and no further round: the clock alone.
#[tokio::test]
async fn an_address_that_was_announced_counts_from_its_time_on() {
    let (_servers, mut pool) = observed_by(&[BAD, BAD], PROMISED).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    pool.observation.interval_ms = 3_600_000;
    let announced = |not_before, not_after| Promised {
        not_before,
        not_after,
        ..Promised::always("192.31.196.110/32")
    };
    pool.cells[0]
        .promised
        .push(announced(Some(now + 3), Some(now + 6)));
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Quarantined).await;
    let rounds = pod.state.egress().rounds;
    pod.reaches(Phase::Serving).await;
    pod.reaches(Phase::Quarantined).await;
    assert_eq!(pod.state.egress().rounds, rounds);
}

#[tokio::test]
async fn new_terms_count_at_once() {
    let (_servers, good) = observed_by(&[GOOD, GOOD], PROMISED).await;
    let pod = Pod::start(&good);
    pod.reaches(Phase::Serving).await;
    let mut bad = good.clone();
    bad.cells[0].promised = vec![Promised::always("192.31.196.99/32")];
    pod.put(&bad);
    pod.reaches(Phase::Quarantined).await;
    bad.observation.on_mismatch = OnMismatch::Warn;
    pod.put(&bad);
    pod.reaches(Phase::Serving).await;
    bad.observation.on_mismatch = OnMismatch::Quarantine;
    pod.put(&bad);
    pod.reaches(Phase::Quarantined).await;
    pod.put(&good);
    pod.reaches(Phase::Serving).await;
}

#[tokio::test]
async fn other_observers_begin_a_new_count() {
    let (_servers, first) = observed_by(&[BAD, BAD], PROMISED).await;
    let pod = Pod::start(&first);
    pod.reaches(Phase::Quarantined).await;
    let (_others, second) = observed_by(&[GOOD, GOOD], PROMISED).await;
    pod.put(&second);
    // Within one round, though the old answers would have stood in the window for two more.
    let rounds = pod.state.egress().rounds;
    pod.reaches(Phase::Serving).await;
    assert!(pod.state.egress().rounds <= rounds + 1);
}

#[tokio::test]
async fn without_observers_the_pod_serves_and_without_a_pool_it_waits() {
    let pod = Pod::start(&pool(&[], 0, PROMISED));
    pod.reaches(Phase::Serving).await;
    let state = State::new();
    let metrics = ControlMetrics::register(&mut Registry::default(), Arc::clone(&state));
    let resolver = Resolver::scripted(|_| async { Err(ResolveError::NotFound) });
    let stop = CancellationToken::new();
    let egress = EgressIp::new("a".to_owned(), resolver, Arc::clone(&state), metrics).with_pace(PACE);
    let task = tokio::spawn(egress.run(stop.clone()));
    tokio::task::yield_now().await;
    assert_eq!(state.phase(), Phase::Starting);
    state.set_in_force(in_force(&pool(&[], 0, PROMISED), &[]));
    timeout(
        DEADLINE,
        state.watch_phase().wait_for(|now| *now == Phase::Serving),
    )
    .await
    .unwrap()
    .unwrap();
    stop.cancel();
    task.await.unwrap();
}
