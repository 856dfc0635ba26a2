//! What is asked of every peer, and what is read off it. docs/measurements.md explains each row.

mod bulk;
mod http;
mod idle;
mod latency;
mod origination;
mod signing;
mod tunnels;

pub(crate) use self::latency::ADDED;
pub(crate) use self::signing::{SCHEMES, Scheme};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep};

use crate::args::Scale;
use crate::load::{By, Tally};
use crate::net::{origin_address, origin_addresses};
use crate::origin::Ports;
use crate::peers::{Peer, Running, Speech};

/// Clients that work at the same time in the closed loops.
const WORKERS: usize = 32;
/// What is echoed: as small as a webhook's first record.
const PAYLOAD: [u8; 64] = *b"the quick brown fox jumps over the lazy dog, then over the fence";

/// The workloads, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Workload {
    /// New CONNECT tunnels, one small exchange in each.
    Tunnels,
    /// The same with a TLS handshake inside.
    TlsTunnels,
    /// Small requests on kept connections.
    Http,
    /// Four tunnels full of bytes, down and then up.
    Bulk,
    /// Time added to direct at 100 operations a second.
    Latency,
    /// Memory of tunnels in which nothing moves.
    Idle,
    /// Plain requests that the proxy sends on over TLS.
    TlsOrigination,
    /// Requests with a body, signed and not.
    Signing,
    /// New CONNECT tunnels to the origin by its name.
    NamedTunnels,
    /// Small requests on kept connections, for the origin by its name.
    NamedHttp,
}

/// What a window measured.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Row and value.
    pub(crate) values: Vec<(&'static str, f64)>,
    /// Operations that failed, and what the first said.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// What a window needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) scale: Scale,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Workload {
    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tunnels => "tunnels",
            Self::TlsTunnels => "tls-tunnels",
            Self::Http => "http",
            Self::Bulk => "bulk",
            Self::Latency => "latency",
            Self::Idle => "idle",
            Self::TlsOrigination => "tls-origination",
            Self::Signing => "signing",
            Self::NamedTunnels => "named-tunnels",
            Self::NamedHttp => "named-http",
        }
    }

    /// How clients speak to the proxy.
    pub(crate) fn speech(self) -> Speech {
        match self {
            Self::Http | Self::NamedHttp => Speech::Requests,
            Self::TlsOrigination => Speech::Origination,
            Self::Signing => Speech::Signing,
            Self::Tunnels
            | Self::TlsTunnels
            | Self::Bulk
            | Self::Latency
            | Self::Idle
            | Self::NamedTunnels => Speech::Tunnels,
        }
    }

    /// How clients write where they want to go.
    pub(crate) fn by(self) -> By {
        match self {
            Self::TlsOrigination | Self::NamedTunnels | Self::NamedHttp => By::Name,
            Self::Tunnels
            | Self::TlsTunnels
            | Self::Http
            | Self::Bulk
            | Self::Latency
            | Self::Idle
            | Self::Signing => By::Address,
        }
    }

    /// What it leads to: one service of the origin on all of its addresses, or one or three on the one that has a name.
    /// For signatures an address a rule.
    pub(crate) fn targets(self, ports: &Ports) -> Vec<SocketAddr> {
        match self {
            Self::Tunnels | Self::Latency | Self::Idle => origin_addresses(ports.echo),
            Self::TlsTunnels => origin_addresses(ports.tls_echo),
            Self::Http => origin_addresses(ports.http),
            Self::Bulk => origin_addresses(ports.bulk),
            Self::TlsOrigination => [ports.https_kept, ports.https_resumed, ports.https_full]
                .map(origin_address)
                .to_vec(),
            Self::NamedTunnels => vec![origin_address(ports.echo)],
            Self::NamedHttp => vec![origin_address(ports.http)],
            Self::Signing => origin_addresses(ports.http)
                .into_iter()
                .take(SCHEMES.len())
                .collect(),
        }
    }

    /// Whether the peer is measured by it: direct connections have no process whose memory could be read, and not
    /// everybody speaks TLS to origins, signs, or finds the origin by its name.
    pub(crate) fn suits(self, peer: Peer) -> bool {
        match self {
            Self::Tunnels | Self::TlsTunnels | Self::Http | Self::Bulk | Self::Latency => true,
            Self::Idle => peer != Peer::Direct,
            Self::TlsOrigination => {
                matches!(peer, Peer::Egressway | Peer::Other | Peer::Envoy | Peer::Haproxy)
            }
            Self::Signing => matches!(peer, Peer::Egressway | Peer::Other),
            // It asks the system's name servers and no others.
            Self::NamedTunnels | Self::NamedHttp => peer != Peer::Tinyproxy,
        }
    }

    /// One window, once the peer serves: some listen before they do.
    pub(crate) async fn measure(self, context: &Context, running: &Running) -> Result<Window> {
        let deadline = Instant::now() + READY_MAX;
        while let Err(error) = self.try_once(running).await {
            if Instant::now() > deadline {
                return Err(error.context("it listens, but does not serve"));
            }
            sleep(READY_POLL).await;
        }
        match self {
            Self::Tunnels | Self::NamedTunnels => tunnels::plain(context, running).await,
            Self::TlsTunnels => tunnels::inside_tls(context, running).await,
            Self::Http | Self::NamedHttp => http::measure(context, running).await,
            Self::Bulk => bulk::measure(context, running).await,
            Self::Latency => latency::measure(context, running).await,
            Self::Idle => idle::measure(context, running).await,
            Self::TlsOrigination => origination::measure(context, running).await,
            Self::Signing => signing::measure(context, running).await,
        }
    }

    async fn try_once(self, running: &Running) -> Result<()> {
        match self.speech() {
            Speech::Tunnels => running.route.open().await.map(drop),
            Speech::Requests => http::once(&running.route, &http::Ask::default()).await,
            Speech::Origination => origination::once(running).await,
            Speech::Signing => signing::once(running).await,
        }
    }
}

/// Our proxy reads its policy after it listens.
const READY_MAX: Duration = Duration::from_secs(5);
const READY_POLL: Duration = Duration::from_millis(20);

impl Window {
    /// Adds a row.
    fn push(&mut self, row: &'static str, value: f64) {
        self.values.push((row, value));
    }

    /// Adds what failed.
    fn failed(&mut self, tally: Tally) {
        self.errors += tally.errors;
        self.first_error = self.first_error.take().or(tally.first_error);
    }
}

/// CPU of a peer and time on the wall, from its start to the end of some load.
struct Meter<'a> {
    running: &'a Running,
    cpu_ns: u64,
    started: Instant,
}

/// What a meter read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// None without a process.
    cpu_ns: Option<f64>,
    seconds: f64,
}

impl<'a> Meter<'a> {
    fn start(running: &'a Running) -> Self {
        let cpu_ns = running.process.as_ref().map_or(0, |process| process.cpu_ns());
        Self {
            running,
            cpu_ns,
            started: Instant::now(),
        }
    }

    /// The wall stops at once; the CPU is read when the peer has come to rest, so that what it does behind the load's
    /// back (closing, logging) counts too.
    async fn stop(self) -> Reading {
        let seconds = self.started.elapsed().as_secs_f64();
        let Some(process) = &self.running.process else {
            return Reading {
                cpu_ns: None,
                seconds,
            };
        };
        let mut last = process.cpu_ns();
        for _ in 0..RESTS_MAX {
            sleep(REST).await;
            let now = process.cpu_ns();
            if now - last < REST_CPU_NS {
                break;
            }
            last = now;
        }
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few minutes at most")]
        let cpu_ns = process.cpu_ns().saturating_sub(self.cpu_ns) as f64;
        Reading {
            cpu_ns: Some(cpu_ns),
            seconds,
        }
    }
}

/// At rest is who uses less than 1% of a core for this long.
const REST: Duration = Duration::from_millis(50);
const REST_CPU_NS: u64 = 500_000;
const RESTS_MAX: usize = 20;

#[expect(clippy::cast_precision_loss, reason = "counts of a window")]
fn count(of: usize) -> f64 {
    of as f64
}

/// Microseconds for a table.
#[expect(clippy::cast_precision_loss, reason = "microseconds of an operation")]
fn micros(values: &mut [u64], share: f64) -> f64 {
    crate::statistics::percentile(values, share).unwrap_or_default() as f64
}
