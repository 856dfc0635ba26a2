//! Thousands of strangers and clients that hold on to whatever they can get, in 256 MiB: the process lives, its health
//! checks answer, and an honest client is served all the while.
//!
//! As root on a machine with memory cgroups the kernel would kill what goes past the limit; elsewhere the same limit is
//! given by a flag, and the process's own memory is what is looked at.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

#[path = "support/alone.rs"]
mod alone;
#[path = "hostile/cgroup.rs"]
mod cgroup;
mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use alone::{Alone, eventually, text};
use cgroup::Cgroup;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use support::{read_all, read_exact, read_head, status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// What a pod has unless its policy says otherwise.
const LIMIT: usize = 256 * 1024 * 1024;
/// Heads without an end; each of them holds what a head may have.
const HEADS: usize = 6_000;
/// Tunnels of which neither side reads.
const TUNNELS: usize = 1_000;
/// Bodies that stall a byte before their end.
const BODIES: usize = 300;
/// Handshakes that stall.
const HELLOS: usize = 4_000;
/// Longest that the honest client and the health checks wait, on a machine that does all of this at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// `u:secret`.
const CREDENTIAL: &str = "Proxy-Authorization: Basic dTpzZWNyZXQ=\r\n";
/// What is not given back after a burst, at most: the process itself, and what the allocator keeps for the next.
const AFTER: usize = 96 * 1024 * 1024;

fn manifest(listener: &str) -> String {
    format!(
        "apiVersion: egressway.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: webhooks, namespace: payments}}
spec:{listener}
  clients: [{{name: app, auth: {{passwordSecretRefs: [{{name: proxy-pass}}]}}}}]
  rules:
  - {{name: loopback, cidrs: [127.0.0.0/8], ports: [{{port: 1, endPort: 65535}}]}}
  - name: signed
    cidrs: [127.0.0.9/32]
    ports: [{{port: 1, endPort: 65535}}]
    signing: {{scheme: HMAC-SHA256, secretRefs: [{{name: key}}], header: X-Signature}}
"
    )
}

/// A proxy within [`LIMIT`], and what holds it there.
struct Bounded {
    proxy: Alone,
    cgroup: Option<Cgroup>,
}

impl Bounded {
    async fn start(listener: &str, secrets: &[(&str, &str, &str)]) -> Self {
        raise();
        let dir = tempfile::tempdir().unwrap();
        let own = [
            ("proxy-pass", "password", "secret"),
            ("key", "secret", "0123456789abcdef"),
        ];
        for (name, key, value) in own.iter().chain(secrets) {
            fs::create_dir_all(dir.path().join("secrets").join(name)).unwrap();
            fs::write(dir.path().join("secrets").join(name).join(key), value).unwrap();
        }
        fs::write(dir.path().join("policy.yaml"), manifest(listener)).unwrap();
        let cgroup = Cgroup::new(LIMIT);
        let mut command = match &cgroup {
            Some(cgroup) => cgroup.command(env!("CARGO_BIN_EXE_egressway-proxy")),
            None => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_egressway-proxy"));
                command.args(["--memory-limit", &LIMIT.to_string()]);
                command
            }
        };
        command.env_remove("EGRESSWAY_LOG");
        let args = ["--secrets-dir", "secrets", "--log-file", "/dev/null"];
        let proxy = Alone::start_by(command, dir, &args).await;
        Self { proxy, cgroup }
    }

    fn resident(&self) -> usize {
        let status = fs::read_to_string(self.proxy.proc("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.unwrap_or_else(|| panic!("it was killed: {}", self.proxy.process.stderr()));
        let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    fn used(&self) -> usize {
        self.cgroup.as_ref().map_or_else(|| self.resident(), Cgroup::used)
    }

    async fn health(&self, path: &str) {
        let asked = async {
            let mut stream = dial("127.0.0.1", self.proxy.admin).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            text(&read_all(&mut stream).await.0)
        };
        let answer = timeout(PATIENCE, asked).await.expect("a health check fails");
        assert_eq!(status(&answer), 200, "{path}: {answer}");
    }

    /// Lets them do their worst, and looks after everybody else meanwhile.
    async fn withstands(&self, what: &str, tls: Option<&TlsConnector>, attack: impl Future<Output = ()>) {
        let echo = echo().await;
        let (over, mut served, mut most) = (AtomicBool::new(false), 0, 0);
        let attack = async {
            attack.await;
            over.store(true, Ordering::Relaxed);
        };
        let others = async {
            while !over.load(Ordering::Relaxed) || served < 3 {
                let head = timeout(PATIENCE, honest(self.proxy.proxy, tls, echo)).await;
                assert_eq!(head.expect("the honest client is not served"), "", "{what}");
                served += 1;
                self.health("/livez").await;
                self.health("/readyz").await;
                most = most.max(self.used());
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(attack, others);
        println!(
            "{what}: {served} times served, {} MiB at most, {} MiB resident",
            most >> 20,
            self.resident() >> 20
        );
        assert!(most < LIMIT, "{what}: {most} bytes");
        if let Some(cgroup) = &self.cgroup {
            assert!(cgroup.most() < LIMIT, "{what}: {} bytes at most", cgroup.most());
        }
    }

    /// What was held for those who are gone is given back.
    async fn recovers(&self) {
        eventually("memory is given back", async || {
            let resident = self.resident();
            (resident < AFTER).then_some(())
        })
        .await;
    }
}

/// As many descriptors as this process, and what it starts, can have.
fn raise() {
    let most = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// With small buffers: what is looked at is what the proxy holds.
#[expect(clippy::disallowed_methods, reason = "a client in a test")]
async fn dial(own: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// A tunnel that echoes; what was said instead.
async fn honest(proxy: SocketAddr, tls: Option<&TlsConnector>, echo: SocketAddr) -> String {
    let stream = dial("127.0.0.50", proxy).await;
    match tls {
        None => ping(stream, echo).await,
        Some(tls) => {
            let name = ServerName::try_from("proxy.example").unwrap();
            match tls.connect(name, stream).await {
                Ok(stream) => ping(stream, echo).await,
                Err(error) => format!("no handshake: {error}"),
            }
        }
    }
}

async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin, echo: SocketAddr) -> String {
    let request = format!("CONNECT {echo} HTTP/1.1\r\nHost: a\r\n{CREDENTIAL}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let head = read_head(&mut stream).await;
    if status(&head) != 200 {
        return format!("refused: {head}");
    }
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(read_exact(&mut stream, 4).await, b"ping");
    String::new()
}

/// One source for each hundred.
fn source(n: usize) -> String {
    format!("127.0.1.{}", n / 100 % 250 + 1)
}

/// Sends this, as far as it is taken, and then nothing more until it is over.
async fn stall(proxy: SocketAddr, count: usize, hold: Duration, bytes: Arc<Vec<u8>>) {
    let began = Instant::now();
    let mut all = JoinSet::new();
    let open = Arc::new(AtomicUsize::new(0));
    for n in 0..count {
        let mut stream = dial(&source(n), proxy).await;
        let (bytes, open) = (Arc::clone(&bytes), Arc::clone(&open));
        all.spawn(async move {
            let _ = stream.write_all(&bytes).await;
            open.fetch_add(1, Ordering::Relaxed);
            let _ = timeout(hold, stream.read(&mut [0; 512])).await;
        });
        // Not faster than a machine that also runs everything else can accept them.
        if n % 64 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    while open.load(Ordering::Relaxed) < count && began.elapsed() < PATIENCE * 3 {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(hold.min(Duration::from_secs(1))).await;
}

fn head() -> Arc<Vec<u8>> {
    let line = format!(
        "GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\nX: {}",
        "x".repeat(31 * 1024)
    );
    Arc::new(line.into_bytes())
}

async fn heads(proxy: SocketAddr) {
    stall(proxy, HEADS, PATIENCE, head()).await;
}

async fn hellos(proxy: SocketAddr) {
    // A record of 16 KiB that is never whole.
    let mut hello = b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03".to_vec();
    hello.resize(16 * 1024 - 16, 7);
    stall(proxy, HELLOS, PATIENCE, Arc::new(hello)).await;
}

async fn bodies(proxy: SocketAddr) {
    let origin = TcpListener::bind("127.0.0.9:0").await.unwrap();
    let (target, length) = (origin.local_addr().unwrap(), 1024 * 1024);
    let mut request =
        format!("POST http://{target}/ HTTP/1.1\r\nHost: a\r\n{CREDENTIAL}Content-Length: {length}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + length - 1, b'x');
    stall(proxy, BODIES, PATIENCE, Arc::new(request)).await;
}

/// Tunnels that are written to from both sides until nothing more is taken, and never read.
async fn tunnels(proxy: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = socket.listen(1024).unwrap();
    let target = origin.local_addr().unwrap();
    let mut all = JoinSet::new();
    all.spawn(async move {
        let mut servers = JoinSet::new();
        while let Ok((stream, _)) = origin.accept().await {
            servers.spawn(flood(stream));
        }
    });
    for n in 0..TUNNELS {
        let mut stream = dial(&source(n), proxy).await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n{CREDENTIAL}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let told = read_head(&mut stream).await;
        if status(&told) == 200 {
            all.spawn(flood(stream));
        } else {
            assert_eq!(status(&told), 503, "{told}");
        }
    }
    sleep(Duration::from_secs(1)).await;
}

async fn flood(mut stream: TcpStream) {
    SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    while stream.write_all(&piece).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_256_mib_withstands_each_kind_and_all_together() {
    let bounded = Bounded::start("", &[]).await;
    let proxy = bounded.proxy.proxy;
    bounded.withstands("heads", None, heads(proxy)).await;
    bounded.recovers().await;
    bounded.withstands("tunnels", None, tunnels(proxy)).await;
    bounded.withstands("bodies", None, bodies(proxy)).await;
    let together = async {
        tokio::join!(heads(proxy), tunnels(proxy), bodies(proxy));
    };
    bounded.withstands("all together", None, together).await;
    bounded.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_speaks_tls_withstands_handshakes_without_an_end() {
    let own = rcgen::generate_simple_self_signed(vec!["proxy.example".to_owned()]).unwrap();
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let secrets = [("listener", "tls.crt", &*cert), ("listener", "tls.key", &*key)];
    let bounded = Bounded::start(
        "\n  listener: {tls: {certificateRef: {name: listener}}}",
        &secrets,
    )
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(config));
    let proxy = bounded.proxy.proxy;
    bounded.withstands("handshakes", Some(&tls), hellos(proxy)).await;
    bounded.recovers().await;
}
