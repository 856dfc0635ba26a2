//! Thousands of clients that send their heads, or their TLS hellos, too slowly or not at all: each is ended, their
//! number is bounded, and whoever is quick is served meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
#[path = "slow_clients/strangers.rs"]
mod strangers;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use access::{Ca, World, handshake};
use egressway_proxy::server::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{DEADLINE, Proxy, accept, dial, origin, read_head, start, status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Slow clients of a test; each takes a descriptor here and one in the proxy.
const SLOW: usize = 2_000;
/// Long enough for whoever is quick on a busy machine.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Between two bytes of a head that would take for ever.
const PACE: Duration = Duration::from_millis(250);
/// Requests that are served while the slow ones stand.
const SERVED: usize = 50;
/// Places beside those of the slow ones.
const FREE: usize = 16;
/// The start of a TLS record with a hello of 512 bytes.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc";
const SAYS_NOTHING: Habit = (b"", None);

/// What a slow client sends at once, and what it sends byte by byte, without an end.
type Habit = (&'static [u8], Option<u8>);

/// As many as this process can have with the proxy in it, in all tests at once.
fn slow() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = limit
        .maximum
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap());
    SLOW.min(most / 10)
}

/// Slow clients at work.
#[derive(Default)]
struct Crowd {
    clients: JoinSet<String>,
    ended: Arc<AtomicUsize>,
}

impl Crowd {
    /// Connects them one after the other, their habits in turn.
    async fn gather(proxy: &Proxy, count: usize, habits: &[Habit]) -> Self {
        let mut crowd = Self::default();
        for habit in habits.iter().cycle().take(count) {
            let (stream, ended) = (dial(proxy.address).await, Arc::clone(&crowd.ended));
            crowd.clients.spawn(drip(stream, *habit, ended));
        }
        crowd
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// What each was told, once all of them have been ended.
    async fn told(self) -> Vec<String> {
        let all = self.clients.join_all();
        timeout(3 * DEADLINE, all).await.expect("some are never ended")
    }
}

/// Sends slowly until it is told something, then reads to the end; the first line of it.
async fn drip(mut stream: TcpStream, habit: Habit, ended: Arc<AtomicUsize>) -> String {
    let (first, then) = habit;
    let _ = stream.write_all(first).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut told) => if !matches!(read, Ok(1..)) { break },
            _ = pace.tick(), if told.is_empty() => {
                let _ = stream.write_all(then.as_slice()).await;
            }
        }
    }
    ended.fetch_add(1, Ordering::SeqCst);
    let told = String::from_utf8_lossy(&told).into_owned();
    told.lines().next().unwrap_or_default().to_owned()
}

/// A tunnel, closed at once; the status, which is 0 where there is no answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, origin: &TcpListener) -> u16 {
    let target = origin.local_addr().unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.flush().await;
    let head = read_head(&mut stream).await;
    if status(&head) == 200 {
        drop(accept(origin).await);
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    status(&head)
}

fn limits(connections: usize, head_time: Duration) -> Limits {
    Limits {
        connections,
        head_time,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_end_with_408_and_others_are_served_meanwhile() {
    let (slow, origin, open) = (slow(), origin().await, World::open().in_force());
    let habits = [
        SAYS_NOTHING,
        (b"", Some(b'G')),
        (b"GET http://a.example/ HTTP/1.1\r\nA: ", Some(b'a')),
    ];
    let proxy = start(open.clone(), limits(slow + FREE, FOR_EVER)).await;
    let crowd = Crowd::gather(&proxy, slow, &habits).await;
    for _ in 0..SERVED {
        assert_eq!(ask(dial(proxy.address).await, &origin).await, 200);
    }
    assert_eq!(crowd.ended(), 0, "a place was made by ending another");
    drop((crowd, proxy));

    let proxy = start(open, limits(slow + FREE, HEAD_TIME)).await;
    for told in Crowd::gather(&proxy, slow, &habits).await.told().await {
        assert!(told.starts_with("HTTP/1.1 408 "), "{told:?}");
    }
    assert_eq!(ask(dial(proxy.address).await, &origin).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_hellos_end_without_a_word_and_others_are_served_meanwhile() {
    let (slow, origin, ca) = (slow(), origin().await, Ca::new("proxies"));
    let open = World::open().tls(&ca.leaf(&["proxy.example"], 1)).in_force();
    let config = ca.client(None);
    let quick = async |proxy: &Proxy| {
        let stream = handshake(&config, dial(proxy.address).await).await.unwrap();
        ask(stream, &origin).await
    };
    let habits = [
        SAYS_NOTHING,
        (HELLO, None),
        (HELLO, Some(b'a')),
        (b"\x16", Some(3)),
    ];
    let proxy = start(open.clone(), limits(slow + FREE, FOR_EVER)).await;
    let crowd = Crowd::gather(&proxy, slow, &habits).await;
    for _ in 0..SERVED {
        assert_eq!(quick(&proxy).await, 200);
    }
    // Those that go on with bytes that are no hello were told so, by an alert at most.
    assert!(
        crowd.ended() <= slow / habits.len(),
        "a place was made by ending another"
    );
    drop((crowd, proxy));

    let proxy = start(open, limits(slow + FREE, HEAD_TIME)).await;
    for told in Crowd::gather(&proxy, slow, &habits).await.told().await {
        assert_eq!(told, "");
    }
    assert_eq!(quick(&proxy).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_their_bound_slow_clients_make_room_and_whoever_is_quick_is_served() {
    let (bound, origin) = (slow() / 2, origin().await);
    let open = World::open().in_force();
    let proxy = start(open, limits(bound, FOR_EVER)).await;
    let crowd = Crowd::gather(&proxy, 2 * bound, &[SAYS_NOTHING, (b"GET ", Some(b'a'))]).await;
    let away = async {
        while crowd.ended() < bound {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, away)
        .await
        .expect("more are served than may be");
    // Those that stand are as many as may: whoever is quick takes the place of the slowest.
    for served in 1..=SERVED {
        assert_eq!(ask(dial(proxy.address).await, &origin).await, 200);
        assert!(crowd.ended() <= bound + served, "more are ended than had to be");
    }
    drop(crowd);
    let served = async { while ask(dial(proxy.address).await, &origin).await != 200 {} };
    timeout(DEADLINE, served).await.expect("places do not come back");
}
