//! A run: the origin, then rounds in which every peer does every workload, in a different order each time.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use crate::args::{OriginArgs, RunArgs, Scale};
use crate::certificates::Certificates;
use crate::origin::Ports;
use crate::peers::{Peer, Site};
use crate::process::Process;
use crate::report::Results;
use crate::workloads::Context;
use crate::{load, net};

/// A binary that starts has started by then.
const ORIGIN_START_MAX: Duration = Duration::from_secs(10);
const ORIGIN_POLL: Duration = Duration::from_millis(10);
/// Descriptors of a process that are no tunnel's: what our proxy sets aside, and some more.
const DESCRIPTORS_ELSEWHERE: usize = 1_200;

/// Runs, prints, and writes the JSON; a failure status where any operation failed.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("egressway-bench-").tempdir()?;
    let dir = scratch.path();
    net::open_to_all(dir)?;
    let scale = affordable(args.scale())?;
    let site = site(args, dir)?;
    let (_origin, ports) = start_origin(&site)?;
    let _neighbours = (0..args.neighbours)
        .map(|_| start_neighbour(&site))
        .collect::<Result<Vec<_>>>()?;
    let context = Context {
        scale,
        tls: site.certificates.client()?,
    };
    let mut results = Results::new(args, &scale);
    let mut peers = Vec::new();
    for peer in args.peers() {
        match peer.version(&site) {
            Ok(version) => {
                results.version(peer, version);
                peers.push(peer);
            }
            Err(error) => println!("{} is left out: {error:#}", peer.name()),
        }
    }
    let runtime = load::runtime()?;
    for round in 0..scale.rounds {
        results.next_round();
        for workload in args.workloads() {
            for peer in rotated(&peers, round) {
                if !workload.suits(peer) {
                    continue;
                }
                let started = Instant::now();
                let window = peer
                    .start(&site, workload, &ports)
                    .and_then(|running| runtime.block_on(workload.measure(&context, &running)))
                    .with_context(|| {
                        format!("{} could not be measured with {}", peer.name(), workload.name())
                    });
                eprintln!(
                    "round {}/{} {} {} {:.1} s",
                    round + 1,
                    scale.rounds,
                    workload.name(),
                    peer.name(),
                    started.elapsed().as_secs_f64()
                );
                results.add(workload, peer, window);
            }
            results.derive(workload);
        }
    }
    results.print();
    if let Some(file) = &args.json {
        fs::write(file, results.to_json()?).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(if results.clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The peers, beginning with another one in each round.
fn rotated(peers: &[Peer], round: u32) -> Vec<Peer> {
    let mut order = peers.to_vec();
    let shift = usize::try_from(round).unwrap_or_default() % peers.len().max(1);
    order.rotate_left(shift);
    order
}

/// As many idle tunnels as a peer has descriptors for, two each.
fn affordable(scale: Scale) -> Result<Scale> {
    let most = net::raise_descriptors()?.saturating_sub(DESCRIPTORS_ELSEWHERE) / 2;
    if most < scale.idle_tunnels {
        println!(
            "{most} idle tunnels instead of {}: the limit of descriptors",
            scale.idle_tunnels
        );
    }
    Ok(Scale {
        idle_tunnels: most.min(scale.idle_tunnels),
        ..scale
    })
}

/// Copies the binaries to where an unprivileged user can run them; a home folder mostly is none.
fn site(args: &RunArgs, dir: &Path) -> Result<Site> {
    let copy = |from: &Path, name: &str| -> Result<_> {
        let to = dir.join(name);
        fs::copy(from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
        Ok(to)
    };
    Ok(Site {
        dir: dir.to_owned(),
        proxy: copy(&args.proxy, "egressway-proxy")?,
        other: match &args.other {
            Some(other) => Some(copy(other, "egressway-proxy-other")?),
            None => None,
        },
        bench: copy(&std::env::current_exe()?, "egressway-bench")?,
        envoy: args.envoy.clone(),
        uid: args.uid,
        certificates: Certificates::make(dir)?,
    })
}

fn start_neighbour(site: &Site) -> Result<Process> {
    let mut command = Command::new(&site.bench);
    command.arg("neighbour");
    Process::start(command, &site.dir, "neighbour", None)
}

fn start_origin(site: &Site) -> Result<(Process, Ports)> {
    let args = OriginArgs {
        certificate: site.certificates.certificate.clone(),
        key: site.certificates.key.clone(),
    };
    let mut command = Command::new(&site.bench);
    command
        .arg("origin")
        .arg("--certificate")
        .arg(args.certificate)
        .arg("--key")
        .arg(args.key);
    let mut process = Process::start(command, &site.dir, "origin", None)?;
    let deadline = Instant::now() + ORIGIN_START_MAX;
    loop {
        let mut line = String::new();
        BufReader::new(File::open(site.dir.join("origin.out"))?).read_line(&mut line)?;
        if line.ends_with('\n') {
            return Ok((process, serde_json::from_str(&line)?));
        }
        if process.ended() || Instant::now() > deadline {
            bail!(
                "the origin did not start: {}",
                fs::read_to_string(site.dir.join("origin.err"))?
            );
        }
        thread::sleep(ORIGIN_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_first_in_turn() {
        let peers = [Peer::Egressway, Peer::RelayCopy, Peer::Envoy];
        for (round, first) in [
            (0, Peer::Egressway),
            (1, Peer::RelayCopy),
            (2, Peer::Envoy),
            (3, Peer::Egressway),
        ] {
            let order = rotated(&peers, round);
            assert_eq!(
                (order.first(), order.len()),
                (Some(&first), peers.len()),
                "{round}"
            );
        }
        assert!(rotated(&[], 1).is_empty());
    }
}
