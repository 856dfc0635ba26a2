//! Long transfers, which the kernel moves through pipes: whole, bounded, with their ends; and without pipes as well.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use egressway_proxy::state::State;
use egressway_proxy::tunnel::live::Meter;
use egressway_proxy::tunnel::pipe::{PIPES_MAX, Pipes};
use egressway_proxy::tunnel::{self, Counters, Cuts, End, Means, Outcome, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{DEADLINE, dial, read_all, read_exact};

/// Above what makes a transfer a long one.
const LONG: usize = 8 * 1024 * 1024;
/// Above what all buffers of the kernel take together.
const SWALLOWED_MAX: usize = 256 * 1024 * 1024;
/// Nothing moves for so long: it is stuck.
const STUCK: Duration = Duration::from_millis(500);

/// The pattern's length times a power of two, so that chunks follow each other without a seam.
const CHUNK: usize = 251 * 1024;

/// A tunnel between two sockets, without a proxy around it.
struct Tunnel {
    client: TcpStream,
    origin: TcpStream,
    counters: Counters,
    polls: Arc<AtomicUsize>,
    task: AbortOnDropHandle<Outcome>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = dial(listener.local_addr().unwrap()).await;
    (near, listener.accept().await.unwrap().0)
}

async fn open(pipes: &Arc<Pipes>, idle: Duration, deadline: Option<Instant>) -> Tunnel {
    let ((client, client_side), (origin, origin_side)) = (pair().await, pair().await);
    let counters = Counters {
        sent: Default::default(),
        received: Default::default(),
    };
    let polls = Arc::new(AtomicUsize::new(0));
    let task = {
        let (pipes, counters, polls) = (Arc::clone(pipes), counters.clone(), Arc::clone(&polls));
        tokio::spawn(async move {
            let meter = Meter::new(Instant::now());
            let state = State::new();
            let cuts = Cuts {
                idle,
                deadline,
                in_force: state.watch_in_force(),
                kill: CancellationToken::new(),
            };
            let means = Means {
                counters: &counters,
                meter: &meter,
                pipes: &pipes,
            };
            let (client, origin) = (Side::new(client_side, &[]), Side::new(origin_side, &[]));
            let mut run = pin!(tunnel::run(client, origin, cuts, means, |_| true));
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                run.as_mut().poll(cx)
            })
            .await
        })
    };
    Tunnel {
        client,
        origin,
        counters,
        polls,
        task: AbortOnDropHandle::new(task),
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

/// Writes all of it while the other end reads all of it, up to the end behind it.
async fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut got = Vec::with_capacity(bytes.len());
    let write = async {
        from.write_all(bytes).await.unwrap();
        from.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(write, to.read_to_end(&mut got)).1 };
    timeout(DEADLINE, both).await.expect("bytes are missing").unwrap();
    got
}

/// Moves bytes until they go through pipes; how many that took.
async fn until_spliced(pipes: &Pipes, from: &mut TcpStream, to: &mut TcpStream) -> usize {
    let (chunk, mut moved) = (pattern(CHUNK), 0);
    while pipes.count() == 0 {
        let write = async { from.write_all(&chunk).await.unwrap() };
        let (got, ()) = tokio::join!(read_exact(to, chunk.len()), write);
        assert!(got == chunk);
        moved += chunk.len();
        assert!(moved < LONG, "nothing is spliced");
    }
    moved
}

/// Writes the pattern, from `begun` bytes on, until no buffer on the way takes more; bytes written in all.
async fn until_stuck(stream: &mut TcpStream, begun: usize) -> usize {
    let (chunk, mut written) = (pattern(CHUNK), begun);
    while let Ok(count) = timeout(STUCK, stream.write(&chunk[written % CHUNK..])).await {
        written += count.unwrap();
        assert!(written < SWALLOWED_MAX, "the proxy swallows everything");
    }
    written
}

const PATIENT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_long_transfer_is_whole_and_its_end_is_a_half_close() {
    for (pipes, spliced) in [
        (Pipes::new(PIPES_MAX), true),
        (Pipes::new(1), true),
        (Pipes::new(0), false),
    ] {
        let mut tunnel = open(&pipes, PATIENT, None).await;
        let bytes = pattern(LONG);
        assert!(transfer(&mut tunnel.client, &mut tunnel.origin, &bytes).await == bytes);
        assert_eq!(pipes.count() > 0, spliced);
        let answer = pattern(LONG / 2);
        assert!(transfer(&mut tunnel.origin, &mut tunnel.client, &answer).await == answer);
        let outcome = timeout(DEADLINE, tunnel.task).await.unwrap().unwrap();
        let (sent, received) = (LONG as u64, LONG as u64 / 2);
        let expected = Outcome {
            end: End::Completed,
            sent,
            received,
        };
        assert_eq!(outcome, expected);
        let counted = (tunnel.counters.sent.get(), tunnel.counters.received.get());
        assert_eq!(counted, (sent, received));
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_and_costs_nothing() {
    let pipes = Pipes::new(PIPES_MAX);
    let mut tunnel = open(&pipes, PATIENT, None).await;
    let read = until_spliced(&pipes, &mut tunnel.client, &mut tunnel.origin).await;
    let written = until_stuck(&mut tunnel.client, read).await;
    let polls = tunnel.polls.load(Ordering::Relaxed);
    assert!(timeout(STUCK, tunnel.client.write(b"x")).await.is_err());
    assert_eq!(
        tunnel.polls.load(Ordering::Relaxed),
        polls,
        "it spins while nothing can move"
    );
    tunnel.client.shutdown().await.unwrap();
    let (rest, clean) = read_all(&mut tunnel.origin).await;
    assert!(
        clean && rest == pattern(written)[read..],
        "{} of {}",
        rest.len(),
        written - read
    );
}

#[tokio::test]
async fn a_reset_in_the_middle_stays_a_reset_and_leaves_nothing_behind() {
    let pipes = Pipes::new(1);
    for from_client in [true, false] {
        let Tunnel {
            client, origin, task, ..
        } = open(&pipes, PATIENT, None).await;
        let (mut from, mut to) = if from_client {
            (client, origin)
        } else {
            (origin, client)
        };
        if from_client {
            until_spliced(&pipes, &mut from, &mut to).await;
        }
        until_stuck(&mut from, 0).await;
        from.set_zero_linger().unwrap();
        drop(from);
        assert!(!read_all(&mut to).await.1, "the reader must not see a clean end");
        let end = timeout(DEADLINE, task).await.unwrap().unwrap().end;
        let expected = if from_client {
            End::ClientReset
        } else {
            End::OriginReset
        };
        assert_eq!(end, expected);
    }
    let mut tunnel = open(&pipes, PATIENT, None).await;
    let bytes = pattern(LONG);
    assert!(transfer(&mut tunnel.client, &mut tunnel.origin, &bytes).await == bytes);
}

#[tokio::test]
async fn a_stuck_reader_keeps_its_pipe_and_others_copy() {
    let pipes = Pipes::new(1);
    let mut stuck = open(&pipes, PATIENT, None).await;
    until_spliced(&pipes, &mut stuck.client, &mut stuck.origin).await;
    until_stuck(&mut stuck.client, 0).await;
    let mut other = open(&pipes, PATIENT, None).await;
    let bytes = pattern(LONG);
    assert!(transfer(&mut other.client, &mut other.origin, &bytes).await == bytes);
}

#[tokio::test]
async fn limits_of_time_hold_in_the_middle_of_a_long_transfer() {
    let millis = Duration::from_millis;
    for (idle, lifetime, expected) in [
        (millis(200), None, End::IdleTimeout),
        (PATIENT, Some(millis(200)), End::Lifetime),
    ] {
        let pipes = Pipes::new(PIPES_MAX);
        let deadline = lifetime.map(|lifetime| Instant::now() + lifetime);
        let mut tunnel = open(&pipes, idle, deadline).await;
        let bytes = pattern(LONG);
        let cut = async { while tunnel.client.write_all(&bytes).await.is_ok() {} };
        timeout(DEADLINE, cut).await.expect("it is not cut");
        let ended = timeout(DEADLINE, tunnel.task).await.unwrap();
        assert_eq!(ended.unwrap().end, expected);
        assert!(!read_all(&mut tunnel.origin).await.1);
    }
}
