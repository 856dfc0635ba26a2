//! Readers that do not read, in tunnels and in forwarded requests, both ways: the process keeps little for
//! each, everybody else is served, and what is read at last is what was written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/alone.rs"]
mod alone;
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alone::{Alone, LOOPBACK, eventually, policy};
use socket2::SockRef;
use support::{accept, dial, origin, read_exact, read_head, status};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Readers that do not read, a quarter of each kind: the kernel holds up to 8 MB for each, and has an end.
const READERS: usize = 48;
/// What a reader may cost, in KiB of resident memory; the kernel's buffers of sockets are not in it.
const KIB_EACH_MAX: usize = 128;
/// What the allocator may hold beside it, of which more readers do not make more.
const KIB_BESIDE_MAX: usize = 8 * 1024;
/// What nobody reads to its end.
const ENDLESS: usize = 1 << 40;
/// Enough to be spliced, and to be waited for by the writer.
const LONG: usize = 4 * 1024 * 1024;
/// Of a writer's socket; small, for the same reason.
const WRITER_BYTES: usize = 256 * 1024;
/// The pattern's length times a power of two, so that chunks follow each other without a seam.
const CHUNK: usize = 251 * 1024;
/// Nothing moves for so long: all are stuck.
const STUCK: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A tunnel whose client does not read.
    Down,
    /// A tunnel whose destination does not read.
    Up,
    /// A long answer to a client that does not read.
    Answer,
    /// A long request to a destination that does not read.
    Request,
}

const KINDS: [Kind; 4] = [Kind::Down, Kind::Up, Kind::Answer, Kind::Request];

/// The writer and the reader of an endless transfer.
async fn begin(kind: Kind, proxy: &Alone, origin: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = dial(proxy.proxy).await;
    let target = origin.local_addr().unwrap();
    let ask = match kind {
        Kind::Down | Kind::Up => format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        Kind::Answer => format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        Kind::Request => {
            format!("POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nContent-Length: {ENDLESS}\r\n\r\n")
        }
    };
    client.write_all(ask.as_bytes()).await.unwrap();
    match kind {
        Kind::Down | Kind::Up => {
            assert_eq!(status(&read_head(&mut client).await), 200);
            let server = accept(origin).await;
            match kind {
                Kind::Up => (client, server),
                _ => (server, client),
            }
        }
        Kind::Answer => {
            let mut server = accept(origin).await;
            read_head(&mut server).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n");
            server.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(status(&read_head(&mut client).await), 200);
            (server, client)
        }
        Kind::Request => {
            let mut server = accept(origin).await;
            assert!(read_head(&mut server).await.starts_with("POST / "));
            (client, server)
        }
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

/// Writes the pattern for as long as somebody takes it.
async fn write(mut to: TcpStream, chunk: Arc<Vec<u8>>, written: Arc<AtomicUsize>) {
    let mut at = 0;
    while let Ok(count) = to.write(&chunk[at..]).await {
        at = (at + count) % CHUNK;
        written.fetch_add(count, Ordering::Relaxed);
    }
}

/// Transfers that go on until they are dropped.
#[derive(Default)]
struct Transfers {
    writers: JoinSet<()>,
    readers: Vec<TcpStream>,
    written: Arc<AtomicUsize>,
}

impl Transfers {
    async fn begin(each: usize, proxy: &Alone, origin: &TcpListener) -> Self {
        let (mut transfers, chunk) = (Self::default(), Arc::new(pattern(CHUNK)));
        for kind in KINDS.repeat(each) {
            let (writer, reader) = begin(kind, proxy, origin).await;
            SockRef::from(&writer).set_send_buffer_size(WRITER_BYTES).unwrap();
            let (chunk, written) = (Arc::clone(&chunk), Arc::clone(&transfers.written));
            transfers.writers.spawn(write(writer, chunk, written));
            transfers.readers.push(reader);
        }
        transfers
    }

    /// Waits until no buffer on any of the ways takes more.
    async fn stuck(&self) {
        eventually("all are stuck", async || {
            let before = self.written.load(Ordering::Relaxed);
            sleep(STUCK).await;
            (before > 0 && self.written.load(Ordering::Relaxed) == before).then_some(())
        })
        .await;
    }
}

/// One of each kind, whole.
async fn all_pass(proxy: &Alone, origin: &TcpListener) {
    let mut transfers = Transfers::begin(1, proxy, origin).await;
    let expected = pattern(LONG);
    for reader in &mut transfers.readers {
        assert!(read_exact(reader, LONG).await == expected);
    }
}

/// Resident memory in KiB.
fn resident(proxy: &Alone) -> usize {
    let status = fs::read_to_string(proxy.proc("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn readers_that_do_not_read_cost_little_and_stall_nobody() {
    let (proxy, origin) = (Alone::start(&policy(LOOPBACK), &[]).await, origin().await);
    // What the first of each costs is not what one more costs.
    all_pass(&proxy, &origin).await;
    let before = resident(&proxy);
    let mut transfers = Transfers::begin(READERS / KINDS.len(), &proxy, &origin).await;
    transfers.stuck().await;
    let grown = resident(&proxy).saturating_sub(before);
    let most = READERS * KIB_EACH_MAX + KIB_BESIDE_MAX;
    assert!(grown <= most, "{grown} KiB for {READERS} readers, at most {most}");
    all_pass(&proxy, &origin).await;
    // What is read at last makes room, and it moves again.
    let expected = pattern(LONG);
    for reader in transfers.readers.iter_mut().take(KINDS.len()) {
        assert!(read_exact(reader, LONG).await == expected);
    }
}
