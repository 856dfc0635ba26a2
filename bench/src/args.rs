//! The command line, and what `--quick` makes smaller. It opens nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::peers::Peer;
use crate::relay::Variant;
use crate::workloads::Workload;

/// Benchmarks of Egressway's proxy beside others, on loopback.
#[derive(Debug, Parser)]
#[command(name = "egressway-bench")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A run, and the processes that it starts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the workloads against the peers and print tables.
    Run(RunArgs),
    /// Count what a decision costs with 10, 1,000 and 100,000 rules.
    Decisions,
    /// Load one document and decide; `decisions` starts it.
    #[command(hide = true)]
    Decide(DecideArgs),
    /// What the proxies forward to; a run starts it.
    #[command(hide = true)]
    Origin(OriginArgs),
    /// A relay that decides nothing: the limit that proxies are compared with; a run starts it.
    #[command(hide = true)]
    Relay(RelayArgs),
    /// Other work on the same machine; a run starts it.
    #[command(hide = true)]
    Neighbour,
}

/// A run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Interleaved rounds; 5 unless told, 2 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Shorter windows and fewer rounds: to see a direction, not to quote.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Workloads to run; all unless told.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Workload>,
    /// Peers to run; all that are installed unless told.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) peers: Vec<Peer>,
    /// Also write every single figure as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Processes beside all of it that walk through 64 MiB each, as what else runs on a node.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) neighbours: u8,
    /// Run our proxy and the splicing relay as this unprivileged user: the kernel caps pipe pages per such user.
    #[arg(long)]
    pub(crate) uid: Option<u32>,
    /// The egressway-proxy to measure.
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy: PathBuf,
    /// Another build of it, measured beside it as `other`.
    #[arg(long, value_name = "FILE")]
    pub(crate) other: Option<PathBuf>,
    /// Envoy's binary.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    pub(crate) envoy: PathBuf,
}

/// The origin.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OriginArgs {
    /// PEM certificate chain of the services that speak TLS.
    #[arg(long)]
    pub(crate) certificate: PathBuf,
    /// Its private key.
    #[arg(long)]
    pub(crate) key: PathBuf,
}

/// The relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RelayArgs {
    /// Where it listens.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Where every connection goes, one after the other.
    #[arg(long, required = true)]
    pub(crate) upstream: Vec<SocketAddr>,
    /// How bytes are moved.
    #[arg(long, value_enum)]
    pub(crate) variant: Variant,
    /// Relay from the first byte, without reading a CONNECT head.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// One process of `decisions`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DecideArgs {
    /// Rules of the policy.
    #[arg(long)]
    pub(crate) rules: usize,
    /// Decisions to take.
    #[arg(long)]
    pub(crate) decisions: usize,
}

/// How much a window of each workload does. A window is long enough when one more changes nothing but the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Longest window of tunnels and requests.
    pub(crate) window: Duration,
    /// Unmeasured load before each of these.
    pub(crate) warm_up: Duration,
    /// Most tunnels in a window: sockets in TIME_WAIT are of use to nobody, and 131,072 of them are the kernel's limit.
    pub(crate) tunnels_max: u64,
    /// Bytes of each of the four bulk tunnels, each way.
    pub(crate) bulk_bytes: u64,
    /// Window of the paced workload.
    pub(crate) paced: Duration,
    /// Tunnels held open at once.
    pub(crate) idle_tunnels: usize,
}

impl RunArgs {
    /// The amounts of work that follow from `--quick` and `--rounds`.
    pub(crate) fn scale(&self) -> Scale {
        let full = Scale {
            rounds: 5,
            window: Duration::from_secs(3),
            warm_up: Duration::from_millis(500),
            tunnels_max: 12_000,
            bulk_bytes: 512_000_000,
            paced: Duration::from_secs(4),
            idle_tunnels: 9_500,
        };
        let quick = Scale {
            rounds: 2,
            window: Duration::from_millis(1500),
            warm_up: Duration::from_millis(300),
            tunnels_max: 8_000,
            bulk_bytes: 250_000_000,
            paced: Duration::from_secs(2),
            idle_tunnels: 2_000,
        };
        let scale = if self.quick { quick } else { full };
        Scale {
            rounds: self.rounds.unwrap_or(scale.rounds),
            ..scale
        }
    }

    /// The workloads asked for, or all.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        chosen(&self.only)
    }

    /// The peers asked for, or all; another build only where there is one.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers = chosen(&self.peers);
        peers.retain(|peer| *peer != Peer::Other || self.other.is_some());
        peers
    }
}

fn chosen<T: ValueEnum + Clone>(asked: &[T]) -> Vec<T> {
    if asked.is_empty() {
        T::value_variants().to_vec()
    } else {
        asked.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let line = [&["egressway-bench", "run", "--proxy", "p"], args].concat();
        Args::try_parse_from(line).map(|args| match args.command {
            Command::Run(run) => run,
            Command::Decisions
            | Command::Decide(_)
            | Command::Origin(_)
            | Command::Relay(_)
            | Command::Neighbour => unreachable!("run was asked for"),
        })
    }

    #[test]
    fn without_a_choice_everything_runs_at_full_size() {
        let args = run(&[]).unwrap();
        assert_eq!(args.workloads(), Workload::value_variants());
        let peers = |args: &RunArgs| (args.peers().len(), args.peers().contains(&Peer::Other));
        assert_eq!(peers(&args), (Peer::value_variants().len() - 1, false));
        let beside = run(&["--other", "o"]).unwrap();
        assert_eq!(peers(&beside), (Peer::value_variants().len(), true));
        assert_eq!((args.scale().rounds, args.scale().idle_tunnels), (5, 9_500));
    }

    #[test]
    fn a_choice_is_kept_in_its_order() {
        let args = run(&[
            "--only",
            "bulk,tunnels",
            "--peers",
            "relay-copy,egressway",
            "--quick",
        ])
        .unwrap();
        assert_eq!(args.workloads(), [Workload::Bulk, Workload::Tunnels]);
        assert_eq!(args.peers(), [Peer::RelayCopy, Peer::Egressway]);
        assert_eq!(args.scale().rounds, 2);
        assert_eq!(run(&["--quick", "--rounds", "9"]).unwrap().scale().rounds, 9);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for args in [
            &["--only", "speed"][..],
            &["--peers", "nginx"],
            &["--rounds", "0"],
            &["--uid", "nobody"],
        ] {
            assert!(run(args).is_err(), "{args:?}");
        }
    }
}
