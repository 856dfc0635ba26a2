//! No descriptors left: accepting pauses, health answers, open tunnels go on, long transfers are copied; and once some
//! are free again everything is as before, without a restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/alone.rs"]
mod alone;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use alone::{Alone, LOOPBACK, eventually, policy, text};
use egressway_proxy::workers;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::{accept, dial, origin, read_all, read_exact, read_head, status};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// So few that a flood of refused connections uses up what is left beside the tunnels.
const DESCRIPTORS: usize = 128;
/// What the proxy takes of them for connections: a quarter is kept, a tunnel takes two.
const TUNNELS: usize = (DESCRIPTORS - DESCRIPTORS / 4) / 2;
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// Health checks of each kind while nothing is left.
const CHECKS: usize = 8;
/// Above what makes a transfer a long one.
const LONG: usize = 4 * 1024 * 1024;

const NOT_ACCEPTED: &str = "failed to accept a connection";

/// A tunnel with both its ends.
struct Tunnel {
    client: TcpStream,
    server: TcpStream,
}

impl Tunnel {
    /// `None` where the proxy has no place.
    async fn open(proxy: SocketAddr, origin: &TcpListener) -> Option<Self> {
        let mut client = dial(proxy).await;
        let target = origin.local_addr().unwrap();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        if status(&read_head(&mut client).await) != 200 {
            return None;
        }
        let server = accept(origin).await;
        Some(Self { client, server })
    }

    async fn carries(&mut self, bytes: &[u8]) -> bool {
        let up = moves(&mut self.client, &mut self.server, bytes).await;
        up && moves(&mut self.server, &mut self.client, bytes).await
    }
}

/// Whether the bytes arrive as they were.
async fn moves(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> bool {
    let write = async { from.write_all(bytes).await.unwrap() };
    let (got, ()) = tokio::join!(read_exact(to, bytes.len()), write);
    got == bytes
}

async fn health(proxy: &Alone, path: &str) -> String {
    let mut stream = dial(proxy.admin).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    text(&read_all(&mut stream).await.0)
}

fn said(proxy: &Alone, what: &str) -> usize {
    proxy.process.stderr().matches(what).count()
}

#[tokio::test]
async fn without_descriptors_accepting_pauses_and_health_answers() {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.yaml"), policy(LOOPBACK)).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n \"$0\"; exec \"$@\"", &DESCRIPTORS.to_string()])
        .arg(env!("CARGO_BIN_EXE_egressway-proxy"))
        .env_remove("EGRESSWAY_LOG");
    let (proxy, origin) = (Alone::start_by(command, dir, &[]).await, origin().await);

    let mut tunnels = Vec::new();
    while let Some(tunnel) = Tunnel::open(proxy.proxy, &origin).await {
        tunnels.push(tunnel);
        assert!(tunnels.len() <= TUNNELS, "it takes more than it may open");
    }
    assert_eq!(tunnels.len(), TUNNELS);
    // Each is refused, and takes a descriptor until it has read why.
    let mut flood = Vec::new();
    eventually("nothing is left", async || {
        flood.push(dial(proxy.proxy).await);
        (said(&proxy, NOT_ACCEPTED) > 0).then_some(())
    })
    .await;
    // What a refusal gives back is taken again at once.
    let more = async || {
        let mut flood = Vec::new();
        loop {
            flood.push(timeout(support::DEADLINE, dial(proxy.proxy)).await.unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
            if flood.len() > 4 * DESCRIPTORS {
                flood.clear();
            }
        }
    };
    let checks = async {
        for path in ["/livez", "/readyz"].repeat(CHECKS) {
            let failures = said(&proxy, NOT_ACCEPTED);
            let answer = health(&proxy, path).await;
            assert_eq!(status(&answer), 200, "{path}: {answer}");
            eventually("still nothing is left", async || {
                (said(&proxy, NOT_ACCEPTED) > failures).then_some(())
            })
            .await;
        }
    };
    tokio::select! {
        () = checks => {}
        () = more() => {}
    }
    // What is given up for a check another thread may take first, now and then; not each time.
    let waited = said(&proxy, "failed to accept endpoint");
    assert!(waited < CHECKS, "health checks had to wait {waited} times");
    let (failures, pauses) = (
        said(&proxy, NOT_ACCEPTED),
        began.elapsed().as_millis() / PAUSE.as_millis(),
    );
    let most = (usize::try_from(pauses).unwrap() + 1) * workers::count().get();
    assert!(
        failures <= most,
        "{failures} failures to accept, at most {most} expected"
    );
    for tunnel in &mut tunnels {
        assert!(tunnel.carries(b"ping").await);
    }

    drop((flood, tunnels));
    let mut again = Vec::new();
    eventually("new connections are served", async || {
        again.extend(Tunnel::open(proxy.proxy, &origin).await);
        (again.len() == TUNNELS).then_some(())
    })
    .await;
    for tunnel in &mut again {
        assert!(tunnel.carries(b"ping").await);
    }
}

/// What stands behind each open descriptor.
fn descriptors(proxy: &Alone) -> Vec<(u64, String)> {
    let entries = fs::read_dir(proxy.proc("fd")).unwrap().map(Result::unwrap);
    let named = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // One that was closed in between has no name.
        Some((
            number,
            text(fs::read_link(entry.path()).ok()?.as_os_str().as_encoded_bytes()),
        ))
    });
    named.collect()
}

fn pipes(proxy: &Alone) -> usize {
    let named = descriptors(proxy);
    named.iter().filter(|(_, name)| name.starts_with("pipe:")).count()
}

/// Lets the process open numbers below this, or as many as it could before.
fn limit(proxy: &Alone, below: Option<u64>) {
    let pid = Pid::from_child(&proxy.process.child);
    let own = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: below.or(own.maximum),
        maximum: own.maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn without_descriptors_for_pipes_long_transfers_are_copied() {
    let (proxy, origin) = (Alone::start(&policy(LOOPBACK), &[]).await, origin().await);
    let mut tunnel = Tunnel::open(proxy.proxy, &origin).await.unwrap();
    assert!(tunnel.carries(b"ping").await);
    let before = pipes(&proxy);
    let open: BTreeSet<u64> = descriptors(&proxy)
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    limit(&proxy, (0..).find(|number| !open.contains(number)));
    let bytes: Vec<u8> = (0..=250).cycle().take(LONG).collect();
    assert!(tunnel.carries(&bytes).await);
    assert_eq!(pipes(&proxy), before, "there were descriptors for pipes");
    // The same transfer with them is spliced.
    limit(&proxy, None);
    assert!(tunnel.carries(&bytes).await);
    assert!(pipes(&proxy) > before, "it is never spliced");
}
