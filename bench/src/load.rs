//! The client: how a peer is reached, and loops that keep it busy or ask it at a pace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::certificates::ORIGIN_NAME;

/// An operation that takes longer has failed; nothing here takes a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Threads of the client and of the origin: together not more than the machine has.
pub(crate) fn runtime() -> Result<Runtime> {
    let cores = thread::available_parallelism()?.get();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads((cores / 2).max(1)).enable_all().build()?)
}

/// How clients reach the origin.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The proxy; none for direct connections.
    pub(crate) proxy: Option<SocketAddr>,
    /// Whether tunnels begin with CONNECT. HAProxy takes none: it relays TCP.
    pub(crate) connect: bool,
    /// Where tunnels lead, one after the other.
    pub(crate) targets: Vec<SocketAddr>,
    /// How a proxy is told where that is.
    pub(crate) by: By,
    turn: Arc<AtomicUsize>,
}

/// How a target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// As an address: nothing is looked up.
    Address,
    /// By the origin's name.
    Name,
}

impl By {
    /// Host and port.
    pub(crate) fn authority(self, target: SocketAddr) -> String {
        match self {
            Self::Address => target.to_string(),
            Self::Name => format!("{ORIGIN_NAME}:{}", target.port()),
        }
    }
}

impl Route {
    pub(crate) fn new(proxy: Option<SocketAddr>, connect: bool, targets: Vec<SocketAddr>, by: By) -> Self {
        Self {
            proxy,
            connect,
            targets,
            by,
            turn: Arc::default(),
        }
    }

    /// The next target.
    pub(crate) fn target(&self) -> Result<SocketAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.targets.len().max(1);
        self.targets.get(turn).copied().context("no target")
    }

    /// A tunnel to the next target, ready for its bytes.
    pub(crate) async fn open(&self) -> Result<TcpStream> {
        let target = self.target()?;
        let mut stream = TcpStream::connect(self.proxy.unwrap_or(target)).await?;
        stream.set_nodelay(true)?;
        if self.connect {
            let authority = self.by.authority(target);
            let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let answer = read_head(&mut stream).await?;
            if !answer.starts_with(b"HTTP/1.1 200") && !answer.starts_with(b"HTTP/1.0 200") {
                let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
                bail!("CONNECT was answered {}", String::from_utf8_lossy(line));
            }
        }
        Ok(stream)
    }
}

/// Reads up to the empty line. Behind it there is nothing but a refusal's body: the client speaks first in every
/// tunnel.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            bail!("no head of an answer arrived");
        }
    }
    Ok(head)
}

/// When a window is over: after some time, or some operations.
#[derive(Debug)]
pub(crate) struct Budget {
    deadline: Instant,
    left: AtomicU64,
}

impl Budget {
    pub(crate) fn new(time: Duration, operations: u64) -> Arc<Self> {
        Arc::new(Self {
            deadline: Instant::now() + time,
            left: AtomicU64::new(operations),
        })
    }

    /// Whether one more may be started.
    pub(crate) fn take(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        Instant::now() < self.deadline
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }
}

/// What a window did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Microseconds of each operation that succeeded.
    pub(crate) micros: Vec<u64>,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
    /// Answers for which the proxy resumed a TLS session.
    pub(crate) resumed: u64,
}

impl Tally {
    /// Counts one operation.
    pub(crate) fn add<T>(&mut self, started: Instant, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.micros
                    .push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
                Some(value)
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| format!("{error:#}"));
                None
            }
        }
    }

    /// Adds what another did.
    pub(crate) fn merge(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.errors += other.errors;
        self.resumed += other.resumed;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// The operation, or an error once patience is over.
pub(crate) async fn patiently<T>(operation: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(PATIENCE, operation).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("nothing came of it within {PATIENCE:?}"),
    }
}

/// `workers` loops, each until the budget is spent; all of what they did.
pub(crate) async fn together<Work>(workers: usize, work: impl Fn() -> Work) -> Tally
where
    Work: Future<Output = Tally> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(work());
    }
    let mut all = Tally::default();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(tally) => all.merge(tally),
            Err(error) => all.merge(Tally {
                errors: 1,
                first_error: Some(error.to_string()),
                ..Tally::default()
            }),
        }
    }
    all
}
