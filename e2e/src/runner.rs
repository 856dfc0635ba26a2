//! Runs cases on one cluster, together where they cannot disturb each other, says how each went, and what the cluster
//! looked like when one failed.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
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

/// What cases share. Every fleet stands in one of these, so a case that has both to itself has the operator, the
/// observers and the machine to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Cells edge-a and edge-b: their NATs, their pool, and the policy `edge` of the shared namespace.
    Edge,
    /// Cell batch: its NAT, its pool, and the policy `batch` of the shared namespace.
    Batch,
    /// Cell general: its pool with observers of its own, and the policy `general` of the shared namespace.
    General,
}

/// How a case stands to the others.
#[derive(Clone, Copy, Debug)]
pub enum Stand {
    /// It relies on these places as they are, beside others that do.
    Beside(&'static [Place]),
    /// It changes these places, or judges by all that happens there: no other case may be in them.
    Alone(&'static [Place]),
}

impl Stand {
    fn places(self) -> &'static [Place] {
        match self {
            Self::Beside(places) | Self::Alone(places) => places,
        }
    }

    /// Whether two cases may run at the same time.
    fn goes_with(self, other: Self) -> bool {
        let both_look_on = matches!((self, other), (Self::Beside(_), Self::Beside(_)));
        both_look_on || !self.places().iter().any(|place| other.places().contains(place))
    }
}

/// So many of the slowest cases are named at the end: what takes long is where the suite's time can be had back.
const SLOWEST: usize = 5;

/// A running case.
pub type Run = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One test case.
pub struct Case {
    /// Name, a fact.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// What may run at the same time.
    pub stand: Stand,
    /// The case itself.
    pub run: fn(Cluster) -> Run,
}

/// Takes the first waiting case that goes with all that run.
fn next(waiting: &mut Vec<Case>, running: &[(&'static str, Stand)]) -> Option<Case> {
    let fits = |case: &Case| running.iter().all(|(_, stand)| case.stand.goes_with(*stand));
    waiting.iter().position(fits).map(|at| waiting.remove(at))
}

/// Runs the cases whose names contain one of the filters (all without filters), at most so many at once; true when none
/// failed.
///
/// # Errors
/// Standard output is gone.
pub async fn run(cluster: &Cluster, cases: Vec<Case>, filters: &[String], at_once: usize) -> Result<bool> {
    let mut out = std::io::stdout();
    let (begin, mut passed, mut failed) = (Instant::now(), 0, 0);
    let mut times = Vec::new();
    let (mut waiting, skipped): (Vec<Case>, Vec<Case>) = cases
        .into_iter()
        .filter(|c| filters.is_empty() || filters.iter().any(|f| c.name.contains(f.as_str())))
        .partition(|c| c.needs == Needs::Cluster || cluster.lab.is_some());
    for case in &skipped {
        writeln!(
            out,
            "skip {} (needs the lab: it changes NATs or looks from outside)",
            case.name
        )?;
    }
    let (mut running, mut ends) = (Vec::new(), FuturesUnordered::new());
    loop {
        while running.len() < at_once {
            let Some(case) = next(&mut waiting, &running) else {
                break;
            };
            running.push((case.name, case.stand));
            let (own, start) = (cluster.with_own_notes(), Instant::now());
            ends.push(async move {
                let result = (case.run)(own.clone()).await;
                (case.name, result, own.notes(), start)
            });
        }
        let Some((name, result, notes, start)) = ends.next().await else {
            break;
        };
        running.retain(|(other, _)| *other != name);
        let (from, took) = ((start - begin).as_secs(), start.elapsed().as_secs_f32());
        times.push((took, name));
        match &result {
            Ok(()) => writeln!(out, "ok   {name} ({took:.1} s from {from} s)")?,
            Err(error) => writeln!(out, "FAIL {name} ({took:.1} s from {from} s): {error:#}")?,
        }
        for note in notes {
            writeln!(out, "     {note}")?;
        }
        if result.is_ok() {
            passed += 1;
        } else {
            failed += 1;
            let beside: Vec<&str> = running.iter().map(|(name, _)| *name).collect();
            writeln!(out, "     beside it: {}", beside.join(", "))?;
            dump(cluster, &mut out).await?;
        }
        out.flush()?;
    }
    times.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (took, name) in times.iter().take(SLOWEST) {
        writeln!(out, "{took:6.1} s  {name}")?;
    }
    writeln!(
        out,
        "{passed} passed, {failed} failed, {} skipped in {:.0} s",
        skipped.len(),
        begin.elapsed().as_secs_f32()
    )?;
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

#[cfg(test)]
mod tests {
    use super::Place::{Batch, Edge};
    use super::Stand::{Alone, Beside};
    use super::*;

    #[test]
    fn cases_meet_only_where_nobody_disturbs() {
        for (one, other, expected) in [
            (Beside(&[Edge, Batch]), Beside(&[Edge, Batch]), true),
            (Alone(&[Edge]), Beside(&[Batch]), true),
            (Alone(&[Edge]), Alone(&[Batch]), true),
            (Alone(&[Edge]), Beside(&[Edge]), false),
            (Alone(&[Edge]), Beside(&[Edge, Batch]), false),
            (Alone(&[Edge, Batch]), Alone(&[Batch]), false),
            (Alone(&[Edge, Batch]), Beside(&[]), true),
        ] {
            assert_eq!(one.goes_with(other), expected, "{one:?} and {other:?}");
            assert_eq!(other.goes_with(one), expected, "{other:?} and {one:?}");
        }
    }

    #[test]
    fn the_first_that_fits_begins() {
        let case = |name, stand| Case {
            name,
            needs: Needs::Cluster,
            stand,
            run: |_| Box::pin(async { Ok(()) }),
        };
        let mut waiting = vec![case("alone", Alone(&[Batch])), case("beside", Beside(&[Batch]))];
        let running = [("running", Beside(&[Batch]))];
        let mut taken = || next(&mut waiting, &running).map(|case| case.name);
        assert_eq!((taken(), taken()), (Some("beside"), None));
        assert_eq!(next(&mut waiting, &[]).map(|case| case.name), Some("alone"));
    }
}
