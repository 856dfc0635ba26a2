//! `egressway-e2e [--lab e2e/lab/lab] [FILTER...]`: the end-to-end tests against KUBECONFIG's cluster.
#![expect(clippy::print_stdout, reason = "a test runner speaks on stdout")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use egressway_e2e::cluster::Cluster;
use egressway_e2e::lab::Lab;
use egressway_e2e::{cases, runner};

/// End-to-end tests of Egressway against the cluster that KUBECONFIG names; the chart must be installed there.
#[derive(Parser)]
struct Args {
    /// The lab command; without it, cases that need the lab are skipped.
    #[arg(long)]
    lab: Option<PathBuf>,
    /// kubectl to use.
    #[arg(long, env = "KUBECTL", default_value = "kubectl")]
    kubectl: PathBuf,
    /// Image of the lab's tool for client pods.
    #[arg(
        long,
        env = "EGRESSWAY_TOOL_IMAGE",
        default_value = "registry.egressway.test/lab-tool:1"
    )]
    tool_image: String,
    /// List the cases and exit.
    #[arg(long)]
    list: bool,
    /// The long cases too, which take longer than all others together; one that a filter names runs without it.
    #[arg(long)]
    long: bool,
    /// So many cases at the same time, of those that do not disturb each other.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u8).range(1..))]
    at_once: u8,
    /// Run only cases whose name contains one of these.
    filters: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut cases = cases::all();
    if args.list || args.long || !args.filters.is_empty() {
        cases.extend(cases::long());
    }
    if args.list {
        for case in cases {
            println!("{}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster = Cluster::connect(args.lab.map(Lab::new), args.kubectl, args.tool_image).await?;
    let passed = runner::run(&cluster, cases, &args.filters, args.at_once.into()).await?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
