//! A reader of standard error that stopped reading: the process goes on in every respect.

use std::io::{Read as _, pipe};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::alone::{LOOPBACK, binary, eventually, policy, replace};
use crate::ask::{answered, get};
use crate::support::{origin, status};

#[tokio::test]
async fn a_pipe_that_nobody_reads_keeps_nothing_from_going_on() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, policy(LOOPBACK)).unwrap();
    let (mut reader, writer) = pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut child = binary()
        .current_dir(dir.path())
        .env("EGRESSWAY_LOG", "info,egressway_proxy::documents=trace")
        .args(["--policy", "policy.yaml", "--insecure-allow", "127.0.0.0/8"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    // Until it says where it is, and no further.
    let mut said = String::new();
    while !said.contains("health and metrics on ") || !said.ends_with('\n') {
        let mut bytes = [0; 1];
        reader.read_exact(&mut bytes).unwrap();
        said.push(char::from(bytes[0]));
    }
    let address = |before: &str| {
        let (_, after) = said.split_once(before).unwrap();
        let end = after.find([',', ';']).unwrap();
        after[..end].parse().unwrap()
    };
    let (proxy, admin) = (address("proxy on "), address("metrics on "));
    let metric = async || {
        let metrics = get(admin, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("egressway_proxy_own_log_lines_dropped_total "));
        line.and_then(|line| line.rsplit(' ').next())
            .and_then(|lost| lost.parse::<u64>().ok())
            .unwrap()
    };
    // Every refused edit is a line.
    let mut edits = 0;
    eventually("lines are lost", async || {
        edits += 1;
        let version = format!("{edits}{}", "x".repeat(20_000));
        let broken = policy("- {name: other, hosts: [other.example]}").replace("v1alpha1", &version);
        replace(&file, &broken);
        (metric().await > 0).then_some(())
    })
    .await;
    for path in ["/livez", "/readyz"] {
        let answer = get(admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status(&answer), 200, "{path}: {answer}");
    }
    answered(proxy, &target, 200).await;
    replace(&file, &policy("- {name: other, hosts: [other.example]}"));
    answered(proxy, &target, 403).await;
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    let ended = eventually("the process ends", async || child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
}
