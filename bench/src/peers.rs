//! Who is measured, and how each is started: one file a peer, nothing else knows their configuration.

mod egressway;
mod envoy;
mod haproxy;
mod relay;
mod squid;
mod tinyproxy;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use crate::certificates::Certificates;
use crate::load::{By, Route};
use crate::net;
use crate::origin::Ports;
use crate::process::Process;
use crate::relay::Variant;
use crate::workloads::Workload;

/// Squid takes about two seconds.
const START_MAX: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);

/// What is measured, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Our proxy, its decision log on.
    Egressway,
    /// Another build of our proxy, where one is given.
    Other,
    /// The bare relay, copying.
    RelayCopy,
    /// The bare relay, splicing.
    RelaySplice,
    /// HAProxy: a TCP relay for tunnels, an HTTP proxy with a fixed backend for requests.
    Haproxy,
    /// Envoy as a dynamic forward proxy.
    Envoy,
    /// Squid without a cache.
    Squid,
    /// tinyproxy.
    Tinyproxy,
    /// No proxy.
    Direct,
}

/// How clients speak to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// CONNECT, and then whatever they like.
    Tunnels,
    /// Requests in absolute form.
    Requests,
    /// The same, which the proxy sends on over TLS, to the origin by its name.
    Origination,
    /// The same in the clear, which the proxy signs, by rules that differ by address.
    Signing,
}

/// Where a run finds and puts things.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// For configuration and logs; readable by everybody.
    pub(crate) dir: PathBuf,
    pub(crate) proxy: PathBuf,
    pub(crate) other: Option<PathBuf>,
    pub(crate) envoy: PathBuf,
    pub(crate) bench: PathBuf,
    pub(crate) uid: Option<u32>,
    pub(crate) certificates: Certificates,
}

/// What a peer is to serve in a window.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) speech: Speech,
    /// How clients write their targets.
    pub(crate) by: By,
    /// The origin, on each of its addresses or ports.
    pub(crate) targets: Vec<SocketAddr>,
    /// A name server that knows the origin's name.
    pub(crate) resolver: SocketAddr,
    /// Where the peer listens.
    pub(crate) listen: SocketAddr,
}

/// A peer that answers.
#[derive(Debug)]
pub(crate) struct Running {
    /// None for direct connections.
    pub(crate) process: Option<Process>,
    pub(crate) route: Route,
}

impl Site {
    fn other(&self) -> Result<&Path> {
        self.other.as_deref().context("--other names no build")
    }
}

impl Peer {
    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Egressway => "egressway",
            Self::Other => "other",
            Self::RelayCopy => "relay-copy",
            Self::RelaySplice => "relay-splice",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Squid => "squid",
            Self::Tinyproxy => "tinyproxy",
            Self::Direct => "direct",
        }
    }

    /// Its version as it says itself, or why it cannot run.
    pub(crate) fn version(self, site: &Site) -> Result<String> {
        let says = |program: &Path, flag: &str| first_line(Command::new(program).arg(flag));
        match self {
            Self::Egressway => says(&site.proxy, "--version"),
            Self::Other => says(site.other()?, "--version"),
            Self::RelayCopy | Self::RelaySplice => Ok("this crate's".to_owned()),
            Self::Haproxy => says(Path::new("haproxy"), "-v"),
            Self::Envoy => says(&site.envoy, "--version"),
            Self::Squid => says(Path::new("squid"), "--version"),
            Self::Tinyproxy => says(Path::new("tinyproxy"), "-v"),
            Self::Direct => Ok("no proxy".to_owned()),
        }
    }

    /// Starts it for one window and waits until it listens.
    pub(crate) fn start(self, site: &Site, workload: Workload, ports: &Ports) -> Result<Running> {
        let (speech, by, targets) = (workload.speech(), workload.by(), workload.targets(ports));
        if self == Self::Direct {
            let route = Route::new(None, false, targets, by);
            return Ok(Running { process: None, route });
        }
        let listen = net::free_proxy_address()?;
        let service = Service {
            speech,
            by,
            targets,
            resolver: net::origin_address(ports.dns),
            listen,
        };
        let dir = site.dir.join(self.name());
        fs::create_dir_all(&dir)?;
        net::open_to_all(&dir)?;
        let (command, uid) = match self {
            Self::Egressway => (egressway::command(&site.proxy, site, &dir, &service)?, site.uid),
            Self::Other => (egressway::command(site.other()?, site, &dir, &service)?, site.uid),
            Self::RelayCopy => (relay::command(site, &service, Variant::Copy), None),
            Self::RelaySplice => (relay::command(site, &service, Variant::Splice), site.uid),
            Self::Haproxy => (haproxy::command(site, &dir, &service)?, None),
            Self::Envoy => (envoy::command(site, &dir, &service)?, None),
            Self::Squid => (squid::command(&dir, &service)?, None),
            Self::Tinyproxy => (tinyproxy::command(&dir, &service)?, None),
            Self::Direct => bail!("direct connections need no process"),
        };
        let mut process = Process::start(command, &dir, self.name(), uid)?;
        listening(&mut process, listen).with_context(|| {
            format!(
                "{} does not listen; its output is in {}",
                self.name(),
                dir.display()
            )
        })?;
        let connect = speech == Speech::Tunnels && self != Self::Haproxy;
        Ok(Running {
            process: Some(process),
            route: Route::new(Some(listen), connect, service.targets, by),
        })
    }
}

fn listening(process: &mut Process, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START_MAX;
    while TcpStream::connect(address).is_err() {
        if process.ended() {
            bail!("it ended at once");
        }
        if Instant::now() > deadline {
            bail!("not within {START_MAX:?}");
        }
        thread::sleep(START_POLL);
    }
    Ok(())
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.map(|line| line.trim().to_owned())
        .context("it does not say its version")
}
