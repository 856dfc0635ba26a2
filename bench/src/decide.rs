//! What one decision costs, by the number of rules: instructions, counted by callgrind, and time; and what loading such
//! a document takes.
//!
//! Instructions are those of 2 N decisions less those of N, so that loading and starting cancel out; they are the same
//! on a busy machine. The core alone is measured, as the proxy uses it: parse, permit, vet.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use egressway_core::acl::{Ask, Policy, Target, Wall, compile};
use egressway_core::wire::document::{self, Content, PortRange, Rule, VERSION};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::args::DecideArgs;
use crate::process;

/// Sizes of a policy: a small one, the most that a pool lets through by default, and one far beyond.
const RULES: [usize; 3] = [10, 1_000, 100_000];
/// Decisions under callgrind, where everything takes fifty times as long.
const COUNTED: usize = 10_000;
/// Decisions on the wall clock.
const TIMED: usize = 1_000_000;
/// What a permitted name is taken to resolve to: an address that the floor lets through.
const ANSWER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 175, 48, 1));

/// What one process found.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    load_ms: f64,
    rss_kib: u64,
    decision_ns: f64,
}

/// Memory is read in pages; with fewer rules they would say nothing of a rule.
const WEIGHED_MIN: usize = 1_000;

impl Found {
    fn bytes_per_rule(&self, rules: usize) -> String {
        if rules < WEIGHED_MIN {
            return "-".to_owned();
        }
        (self.rss_kib * 1024 / rules as u64).to_string()
    }
}

/// Prints the table.
pub(crate) fn print() -> Result<()> {
    println!(
        "{:>8}  {:>21}  {:>11}  {:>7}  {:>14}",
        "rules", "instructions/decision", "ns/decision", "load ms", "RSS bytes/rule"
    );
    for rules in RULES {
        let text = run(&mut worker(Command::new(std::env::current_exe()?), rules, TIMED))?;
        let found: Found = serde_json::from_str(text.trim())?;
        let counted = instructions(rules, 2 * COUNTED)?.saturating_sub(instructions(rules, COUNTED)?);
        println!(
            "{rules:>8}  {:>21}  {:>11.0}  {:>7.1}  {:>14}",
            counted / COUNTED as u64,
            found.decision_ns,
            found.load_ms,
            found.bytes_per_rule(rules)
        );
    }
    Ok(())
}

/// One process: loads, decides, says what it took.
pub(crate) fn measure(args: &DecideArgs) -> Result<()> {
    let json = document::to_json(&policies(args.rules));
    let rss_before = process::rss_kib(std::process::id());
    let started = Instant::now();
    let policy = {
        let document: document::Policies = serde_json::from_str(&json)?;
        compile::policies(&document)?
            .into_iter()
            .next()
            .context("no policy")?
    };
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let rss_kib = process::rss_kib(std::process::id()).saturating_sub(rss_before);
    let wall = Wall::of(compile::floor(
        &document::Floor {
            version: VERSION,
            ..document::Floor::default()
        },
        &[],
    )?);
    let asked = asked(args.rules);
    let started = Instant::now();
    let permitted = asked
        .iter()
        .cycle()
        .take(args.decisions)
        .filter(|authority| decide(&policy, &wall, black_box(authority)))
        .count();
    #[expect(clippy::cast_precision_loss, reason = "a million decisions")]
    let decision_ns = started.elapsed().as_nanos() as f64 / args.decisions as f64;
    // Two of the four are in no rule; a table of refusals only would measure something else.
    if permitted * 2 != args.decisions {
        bail!("{permitted} of {} decisions permitted", args.decisions);
    }
    println!(
        "{}",
        serde_json::to_string(&Found {
            load_ms,
            rss_kib,
            decision_ns
        })?
    );
    Ok(())
}

fn decide(policy: &Arc<Policy>, wall: &Arc<Wall>, authority: &str) -> bool {
    let Ok(target) = Target::parse(authority) else {
        return false;
    };
    let permit = policy.permit(wall, Ask::tunnel(target));
    permit.is_ok_and(|permit| black_box(permit.vet(ANSWER)).is_ok())
}

/// One host a rule; every tenth is a wildcard.
fn policies(rules: usize) -> document::Policies {
    let rule = |n: usize| Rule {
        name: format!("rule-{n}"),
        hosts: vec![if n.is_multiple_of(10) {
            format!("*.customer-{n}.example.com")
        } else {
            format!("hooks.customer-{n}.example.com")
        }],
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        ..Rule::default()
    };
    let content = Content {
        rules: (0..rules).map(rule).collect(),
        ..Content::default()
    };
    document::Policies {
        version: VERSION,
        policies: vec![document::Policy::seal("bench", "bench", 1, content)],
    }
}

/// An exact host, one under a wildcard, a name that no rule has, and a port that no rule has.
fn asked(rules: usize) -> [String; 4] {
    let middle = rules / 20 * 10;
    [
        format!("hooks.customer-{}.example.com:443", middle + 1),
        format!("a.b.customer-{middle}.example.com:443"),
        "hooks.stranger.example.net:443".to_owned(),
        format!("hooks.customer-{}.example.com:8443", middle + 1),
    ]
}

fn instructions(rules: usize, decisions: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?);
    let output = worker(valgrind, rules, decisions)
        .output()
        .context("valgrind is not installed")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.with_context(|| format!("callgrind counted nothing: {said}"))?;
    Ok(count.trim().parse()?)
}

fn worker(mut command: Command, rules: usize, decisions: usize) -> Command {
    command.args([
        "decide",
        "--rules",
        &rules.to_string(),
        "--decisions",
        &decisions.to_string(),
    ]);
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_asked_is_permitted() {
        for rules in [10, 1_000] {
            let document = policies(rules);
            let policy = compile::policies(&document).unwrap().remove(0);
            let floor = document::Floor {
                version: VERSION,
                ..document::Floor::default()
            };
            let wall = Wall::of(compile::floor(&floor, &[]).unwrap());
            let permitted = asked(rules).map(|authority| decide(&policy, &wall, &authority));
            assert_eq!(permitted, [true, true, false, false], "{rules}");
        }
    }
}
