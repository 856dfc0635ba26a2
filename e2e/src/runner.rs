//! Runs cases one after the other on one cluster, says how each went, and what the cluster looked like when one failed.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;

use anyhow::Result;
use tokio::time::Instant;

use crate::cluster::{Cluster, FLEETS, SYSTEM};

/// What a case needs beyond a cluster with the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any cluster.
    Cluster,
    /// The lab: it changes NATs or looks from outside.
    Lab,
}

/// A running case.
pub type Run = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One test case.
pub struct Case {
    /// Name, a fact.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// The case itself.
    pub run: fn(Cluster) -> Run,
}

/// Runs the cases whose names contain one of the filters (all without filters); true when none failed.
///
/// # Errors
/// Standard output is gone.
pub async fn run(cluster: &Cluster, cases: Vec<Case>, filters: &[String]) -> Result<bool> {
    let mut out = std::io::stdout();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases
        .iter()
        .filter(|c| filters.is_empty() || filters.iter().any(|f| c.name.contains(f.as_str())))
    {
        if case.needs == Needs::Lab && cluster.lab.is_none() {
            skipped += 1;
            writeln!(
                out,
                "skip {} (needs the lab: it changes NATs or looks from outside)",
                case.name
            )?;
            continue;
        }
        let start = Instant::now();
        match (case.run)(cluster.clone()).await {
            Ok(()) => {
                passed += 1;
                writeln!(out, "ok   {} ({:.1} s)", case.name, start.elapsed().as_secs_f32())?;
            }
            Err(error) => {
                failed += 1;
                writeln!(
                    out,
                    "FAIL {} ({:.1} s): {error:#}",
                    case.name,
                    start.elapsed().as_secs_f32()
                )?;
                dump(cluster, &mut out).await?;
            }
        }
        out.flush()?;
    }
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(failed == 0)
}

async fn dump(cluster: &Cluster, out: &mut impl std::io::Write) -> Result<()> {
    for args in [
        vec!["get", "epol,epool", "-A", "-o", "wide"],
        vec!["get", "pods", "-n", FLEETS, "-o", "wide"],
        vec!["logs", "-n", SYSTEM, "deploy/egressway", "--tail=30"],
        vec!["get", "events", "-A", "--sort-by=.lastTimestamp"],
    ] {
        let text = cluster
            .kubectl(&args)
            .await
            .unwrap_or_else(|error| format!("{error:#}"));
        let tail: Vec<&str> = text.lines().rev().take(30).collect();
        writeln!(out, "     --- kubectl {}", args.join(" "))?;
        for line in tail.iter().rev() {
            writeln!(out, "     {line}")?;
        }
    }
    Ok(())
}
