//! `egressway-bench run`: our proxy, its peers and a bare relay side by side on loopback; `decisions`: what deciding
//! costs. `bench/run.sh` starts either.
//!
//! It measures and prints; it asserts nothing and is no part of the test run. docs/measurements.md says what each row
//! means. The other subcommands are the processes that a run starts: their CPU must not be counted as the client's.
#![expect(clippy::print_stdout, reason = "tables are what it is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator dials what it was told to; nothing here is the proxy"
)]

mod args;
mod certificates;
mod decide;
mod load;
mod neighbour;
mod net;
mod origin;
mod peers;
mod process;
mod relay;
mod report;
mod run;
mod statistics;
mod workloads;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::args::{Args, Command};

fn main() -> Result<ExitCode> {
    // Nobody else in this process installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Decisions => decide::print().map(|()| ExitCode::SUCCESS),
        Command::Decide(args) => decide::measure(&args).map(|()| ExitCode::SUCCESS),
        Command::Origin(args) => origin::serve(&args).map(|()| ExitCode::SUCCESS),
        Command::Relay(args) => relay::serve(&args).map(|()| ExitCode::SUCCESS),
        Command::Neighbour => {
            neighbour::walk();
            Ok(ExitCode::SUCCESS)
        }
    }
}
