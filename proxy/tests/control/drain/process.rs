//! A process in a fleet, and an observer's, end when they are told to, and well.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::open_files;
use crate::alone::{Process, binary};
use crate::http::{body, get};
use crate::mount::Mount;

/// A field of the first line that has it; all lines are JSON.
pub(super) async fn said(process: &Process, field: &str) -> Value {
    process.says(&format!("\"{field}\":")).await;
    let said = process.stderr();
    let mut lines = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.find_map(|line| line.get(field).cloned()).unwrap()
}

fn start(dir: &Path, drain_delay: &str) -> Process {
    let any = "127.0.0.1:0";
    let mut command = binary();
    command
        .args(["--listen", any, "--admin", any, "--report", any])
        .args([
            "--drain-delay",
            drain_delay,
            "--resolver",
            "127.0.0.1",
            "--acl-dir",
        ])
        .arg(dir);
    Process::start(&mut command)
}

#[tokio::test]
async fn a_process_drains_at_the_first_signal_and_ends_well() {
    let mount = Mount::with(&open_files());
    let mut process = start(&mount.path(), "100ms");
    said(&process, "proxy").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0));

    let mut process = start(&mount.path(), "600s");
    said(&process, "proxy").await;
    process.signal(Signal::TERM);
    said(&process, "announce").await;
    process.signal(Signal::INT);
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test]
async fn an_observer_process_answers_until_it_is_told_to_end() {
    let mut process = Process::start(binary().args(["observer", "--listen", "127.0.0.1:0"]));
    let addresses = said(&process, "addresses").await;
    let (_, rest) = addresses.as_str().unwrap().split_once("127.0.0.1:").unwrap();
    let port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    assert_eq!(body(&get(address, "/").await), "127.0.0.1\n");
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0));
}
