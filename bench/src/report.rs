//! Every figure of a run, as tables for people and as JSON for other programs.

use std::collections::BTreeMap;
use std::thread;

use anyhow::Result;
use serde_json::json;

use crate::args::{RunArgs, Scale};
use crate::peers::Peer;
use crate::statistics::{Spread, median, paired_ratio};
use crate::workloads::{ADDED, Window, Workload};

/// One value a round; none where the peer did not run.
type Rounds = Vec<Option<f64>>;

/// What a run found.
#[derive(Debug)]
pub(crate) struct Results {
    setting: serde_json::Value,
    versions: Vec<(Peer, String)>,
    round: usize,
    /// Rows in the order in which they came.
    rows: Vec<Row>,
    errors: Vec<String>,
}

#[derive(Debug)]
struct Row {
    workload: Workload,
    name: &'static str,
    values: BTreeMap<Peer, Rounds>,
}

impl Results {
    pub(crate) fn new(args: &RunArgs, scale: &Scale) -> Self {
        Self {
            setting: json!({
                "rounds": scale.rounds,
                "quick": args.quick,
                "uid": args.uid,
                "neighbours": args.neighbours,
                "cores": thread::available_parallelism().map_or(0, Into::into),
                "windowSeconds": scale.window.as_secs_f64(),
                "bulkBytesPerTunnel": scale.bulk_bytes,
                "idleTunnels": scale.idle_tunnels,
            }),
            versions: Vec::new(),
            round: 0,
            rows: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// A peer that takes part.
    pub(crate) fn version(&mut self, peer: Peer, version: String) {
        self.versions.push((peer, version));
    }

    /// What is added from now on belongs to the next round.
    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// A window, or why there is none.
    pub(crate) fn add(&mut self, workload: Workload, peer: Peer, window: Result<Window>) {
        let what = format!("round {}, {}, {}", self.round, workload.name(), peer.name());
        match window {
            Ok(window) => {
                for (name, value) in window.values {
                    self.put(workload, name, peer, value);
                }
                if window.errors > 0 {
                    let first = window.first_error.unwrap_or_default();
                    self.errors.push(format!(
                        "{what}: {} operations failed, the first: {first}",
                        window.errors
                    ));
                }
            }
            Err(error) => self.errors.push(format!("{what}: {error:#}")),
        }
    }

    /// Rows that follow from others of this round: what a peer adds to direct.
    pub(crate) fn derive(&mut self, workload: Workload) {
        for (from, name) in ADDED {
            let now = |peer: Peer, of: &Self| of.value(workload, from, peer);
            let Some(direct) = now(Peer::Direct, self) else {
                continue;
            };
            let peers: Vec<Peer> = self.versions.iter().map(|(peer, _)| *peer).collect();
            for peer in peers.into_iter().filter(|peer| *peer != Peer::Direct) {
                if let Some(value) = now(peer, self) {
                    self.put(workload, name, peer, value - direct);
                }
            }
        }
    }

    /// Whether no operation failed.
    pub(crate) fn clean(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn print(&self) {
        for (peer, version) in &self.versions {
            println!("{:13}{version}", peer.name());
        }
        println!("\n{}", self.setting);
        self.table("medians", &|_, values, _| Some(number(median(&present(values))?)));
        for base in [
            Peer::RelayCopy,
            Peer::RelaySplice,
            Peer::Envoy,
            Peer::Haproxy,
            Peer::Other,
        ] {
            self.table(
                &format!("ratio to {} of the same round: median (least-most)", base.name()),
                &|peer, values, row| {
                    // Splicing is the limit for bulk alone; elsewhere it is one relay more.
                    let meant = base != Peer::RelaySplice || row.workload == Workload::Bulk;
                    let base = row.values.get(&base).filter(|_| meant && peer != base)?;
                    Some(spread(paired_ratio(values, base)?))
                },
            );
        }
        match self.errors.len() {
            0 => println!("\nno operation failed"),
            count => println!("\n{count} WINDOWS WITH FAILURES: their figures mean little"),
        }
        for error in &self.errors {
            println!("  {error}");
        }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        let peers: BTreeMap<_, _> = self
            .versions
            .iter()
            .map(|(peer, version)| (peer.name(), version))
            .collect();
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let values: BTreeMap<_, _> = row.values.iter().map(|(peer, v)| (peer.name(), v)).collect();
                json!({"workload": row.workload.name(), "row": row.name, "values": values})
            })
            .collect();
        let all = json!({"setting": self.setting, "peers": peers, "rows": rows, "errors": self.errors});
        Ok(serde_json::to_string_pretty(&all)? + "\n")
    }

    fn put(&mut self, workload: Workload, name: &'static str, peer: Peer, value: f64) {
        let round = self.round;
        let position = self
            .rows
            .iter()
            .position(|row| row.workload == workload && row.name == name);
        if position.is_none() {
            self.rows.push(Row {
                workload,
                name,
                values: BTreeMap::new(),
            });
        }
        let position = position.unwrap_or(self.rows.len() - 1);
        if let Some(row) = self.rows.get_mut(position) {
            let values = row.values.entry(peer).or_default();
            values.resize(round - 1, None);
            values.push(Some(value).filter(|value| value.is_finite()));
        }
    }

    /// The value of this round.
    fn value(&self, workload: Workload, name: &str, peer: Peer) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.workload == workload && row.name == name)?;
        row.values.get(&peer)?.get(self.round - 1).copied().flatten()
    }

    fn table(&self, title: &str, cell: &dyn Fn(Peer, &Rounds, &Row) -> Option<String>) {
        let peers: Vec<Peer> = self.versions.iter().map(|(peer, _)| *peer).collect();
        let mut head = vec!["workload".to_owned(), "row".to_owned()];
        head.extend(peers.iter().map(|peer| peer.name().to_owned()));
        let mut lines = vec![head];
        for row in &self.rows {
            let cells = peers
                .iter()
                .map(|peer| row.values.get(peer).and_then(|values| cell(*peer, values, row)));
            let cells: Vec<_> = cells.collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let mut line = vec![row.workload.name().to_owned(), row.name.to_owned()];
            line.extend(
                cells
                    .into_iter()
                    .map(|cell| cell.unwrap_or_else(|| "-".to_owned())),
            );
            lines.push(line);
        }
        if lines.len() > 1 {
            println!("\n{title}");
            print_aligned(&lines);
        }
    }
}

fn print_aligned(lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn present(values: &Rounds) -> Vec<f64> {
    values.iter().copied().flatten().collect()
}

fn spread(of: Spread) -> String {
    format!("{:.2} ({:.2}-{:.2})", of.median, of.least, of.most)
}

/// Three digits that count.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0.000"),
            (0.5511, "0.551"),
            (5.511, "5.51"),
            (55.11, "55.1"),
            (5511.4, "5511"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
