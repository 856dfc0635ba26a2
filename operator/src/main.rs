//! `egressway-operator`: arguments, runtime, signals, exit code; everything else is in the library.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use egressway_operator::args::{Args, Command};
use egressway_operator::{app, jobs};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// musl's allocator takes one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "egressway-operator ends");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: Args) -> anyhow::Result<()> {
    // Nobody else in this process installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match args.command {
        Some(Command::Cleanup(args)) => jobs::cleanup(args).await,
        Some(Command::ApplyPool(args)) => jobs::apply_pool(args).await,
        None => {
            let listen = |kind| signal(kind).context("failed to listen for signals");
            let (mut terminate, mut interrupt) =
                (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
            let stop = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            app::run(args.operator, stop).await
        }
    }
}
