//! A proxy on real sockets, with a scripted resolver, and origins that do as they are told.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egressway_core::acl::{Wall, compile};
use egressway_core::wire::document::{self, Action, Content, PortRange, Rule};
use egressway_core::wire::report::Phase;
use egressway_proxy::access_log::{AccessLog, Place};
use egressway_proxy::metrics::Metrics;
use egressway_proxy::resolve::{ResolveError, Resolver};
use egressway_proxy::server::{Limits, Server};
use egressway_proxy::state::{InForce, State};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub const DEADLINE: Duration = Duration::from_secs(10);

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    pub state: Arc<State>,
    pub server: Arc<Server>,
    pub stop: CancellationToken,
    pub kill: CancellationToken,
    pub log: Arc<Mutex<Vec<u8>>>,
    pub names: Names,
    pub task: AbortOnDropHandle<()>,
}

/// What the scripted resolver answers: each look-up of a name takes the next answer, the last one repeats.
#[derive(Clone, Default)]
pub struct Names(
    Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>,
    pub Arc<AtomicUsize>,
);

impl Names {
    pub fn set(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect())
            .collect();
        self.0.lock().unwrap().insert(name.to_owned(), answers);
    }

    fn next(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(name).ok_or(ResolveError::NotFound)?;
        Ok(if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        })
    }
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn allow(hosts: &[&str], cidrs: &[&str]) -> Vec<Rule> {
    let ports = vec![PortRange {
        port: 1,
        end_port: Some(65535),
    }];
    let rule = |name: &str, hosts: &[&str], cidrs: &[&str]| Rule {
        name: name.to_owned(),
        action: Action::Allow,
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        cidrs: cidrs.iter().map(|c| (*c).to_owned()).collect(),
        ports: ports.clone(),
        ..Rule::default()
    };
    let mut rules = Vec::new();
    if !hosts.is_empty() {
        rules.push(rule("names", hosts, &[]));
    }
    if !cidrs.is_empty() {
        rules.push(rule("nets", &[], cidrs));
    }
    rules
}

pub fn in_force(rules: Vec<Rule>, insecure: &[&str]) -> InForce {
    let content = Content {
        rules,
        ..Content::default()
    };
    in_force_of(content, insecure)
}

pub fn in_force_of(content: Content, insecure: &[&str]) -> InForce {
    let sealed = document::Policy::seal("payments", "webhooks", 7, content);
    let policies = document::Policies {
        version: document::VERSION,
        policies: vec![sealed],
    };
    let insecure: Vec<_> = insecure.iter().map(|net| net.parse().unwrap()).collect();
    let floor = document::Floor {
        version: document::VERSION,
        ..document::Floor::default()
    };
    InForce {
        policies: compile::policies(&policies).unwrap(),
        wall: Wall::of(compile::floor(&floor, &insecure).unwrap()),
        ..InForce::default()
    }
}

/// Everything is allowed, and loopback is open.
pub async fn open() -> Proxy {
    open_with(Limits::default()).await
}

/// The same, with a limit of time for what does not move.
pub async fn idle_after(idle: Duration) -> Proxy {
    open_with(Limits {
        idle,
        ..Limits::default()
    })
    .await
}

/// The same within limits.
pub async fn open_with(limits: Limits) -> Proxy {
    let rules = allow(&["*"], &["0.0.0.0/0", "::/0"]);
    start(in_force(rules, &["127.0.0.0/8", "::1/128"]), limits).await
}

pub async fn start(in_force: InForce, limits: Limits) -> Proxy {
    start_with(in_force, limits, |server| server).await
}

/// The same with a server that is changed before it serves.
pub async fn start_with(in_force: InForce, limits: Limits, change: impl FnOnce(Server) -> Server) -> Proxy {
    let names = Names::default();
    let script = names.clone();
    let resolver = Resolver::scripted(move |name| {
        let answer = script.next(&name);
        async move { answer }
    });
    let proxy = start_resolving(in_force, limits, resolver, change).await;
    Proxy { names, ..proxy }
}

/// The same with names that are resolved by this.
pub async fn start_resolving(
    in_force: InForce,
    limits: Limits,
    resolver: Resolver,
    change: impl FnOnce(Server) -> Server,
) -> Proxy {
    let state = State::new();
    state.set_in_force(in_force);
    state.set_phase(Phase::Serving);
    let (names, log) = (Names::default(), Arc::new(Mutex::new(Vec::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(
        Arc::clone(&state),
        resolver,
        Metrics::register(&mut Registry::default()),
        AccessLog::to_writer(Box::new(Sink(Arc::clone(&log))), Place::default()).unwrap(),
        limits,
        "egressway-proxy".to_owned(),
        vec![address.port()],
    );
    let server = Arc::new(change(server));
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let task = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&server).serve(
        listener,
        stop.clone(),
        kill.clone(),
    )));
    Proxy {
        address,
        state,
        server,
        stop,
        kill,
        log,
        names,
        task,
    }
}

#[expect(clippy::disallowed_methods, reason = "a client in a test")]
pub async fn dial(address: SocketAddr) -> TcpStream {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4().unwrap(),
        SocketAddr::V6(_) => TcpSocket::new_v6().unwrap(),
    };
    timeout(DEADLINE, socket.connect(address)).await.unwrap().unwrap()
}

/// Reads until the end or a reset; true when it was a clean end.
pub async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match timeout(DEADLINE, stream.read(&mut chunk))
            .await
            .expect("the connection hangs")
        {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(_) => return (bytes, false),
        }
    }
}

/// Reads up to and including an empty line.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        match timeout(DEADLINE, stream.read(&mut byte))
            .await
            .expect("no head arrives")
        {
            Ok(1) => bytes.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub async fn read_exact<S: AsyncRead + Unpin>(stream: &mut S, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(DEADLINE, stream.read_exact(&mut bytes))
        .await
        .expect("bytes are missing")
        .unwrap();
    bytes
}

/// CONNECT with these fields; the stream and the answer's head.
pub async fn connect(proxy: SocketAddr, target: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = dial(proxy).await;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: ignored.example\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head)
}

impl Proxy {
    /// Sends raw bytes and reads until the proxy closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = dial(self.address).await;
        let _ = stream.write_all(bytes).await;
        let (answer, _) = read_all(&mut stream).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// CONNECT; the stream and the answer's head.
    pub async fn connect(&self, target: &str) -> (TcpStream, String) {
        connect(self.address, target, "").await
    }

    /// Waits until the access log has a line with all of these texts.
    pub async fn logged(&self, texts: &[&str]) -> String {
        let find = || {
            let log = self.log.lock().unwrap();
            let log = String::from_utf8_lossy(&log).into_owned();
            log.lines()
                .find(|line| texts.iter().all(|text| line.contains(text)))
                .map(ToOwned::to_owned)
        };
        timeout(DEADLINE, async {
            loop {
                if let Some(line) = find() {
                    return line;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| {
            panic!(
                "no line with {texts:?} in {}",
                String::from_utf8_lossy(&self.log.lock().unwrap())
            )
        })
    }
}

/// A request under way, in which ORIGIN stands for the origin: the client and the origin's side of it, where the head is
/// still to be read.
pub async fn under_way(proxy: &Proxy, origin: &TcpListener, request: &str) -> (TcpStream, TcpStream) {
    let authority = origin.local_addr().unwrap().to_string();
    let mut client = dial(proxy.address).await;
    let request = request.replace("ORIGIN", &authority);
    client.write_all(request.as_bytes()).await.unwrap();
    (client, accept(origin).await)
}

/// Sends a request through the proxy and lets the origin answer; what the origin got, and what the client got.
pub async fn exchange(request: &str, body_bytes: usize, answer: &[u8]) -> (String, String, bool) {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let (mut client, mut server) = under_way(&proxy, &origin, request).await;
    let mut got = read_head(&mut server).await;
    got.push_str(&String::from_utf8(read_exact(&mut server, body_bytes).await).unwrap());
    // Nothing else will be asked.
    client.shutdown().await.unwrap();
    server.write_all(answer).await.unwrap();
    drop(server);
    let (bytes, clean) = read_all(&mut client).await;
    (
        got.replace(&authority, "ORIGIN"),
        String::from_utf8(bytes).unwrap(),
        clean,
    )
}

/// An answer as good as any.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that hands each connection to the test.
pub async fn origin() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(DEADLINE, listener.accept())
        .await
        .expect("nobody connects to the origin")
        .unwrap()
        .0
}

/// Whether nobody has connected to the origin by now.
pub async fn untouched(listener: &TcpListener) -> bool {
    timeout(Duration::from_millis(1), listener.accept())
        .await
        .is_err()
}

/// Whether nothing arrives for a while, long after it would have if it had been sent.
pub async fn quiet(stream: &TcpStream) -> bool {
    timeout(Duration::from_millis(20), stream.peek(&mut [0]))
        .await
        .is_err()
}

pub fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}
