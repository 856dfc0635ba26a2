//! A policy, or what becomes one, that is no file: standard input and pipes, as shells make them.

use std::fs;
use std::io::{Write as _, pipe};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::alone::{Alone, LOOPBACK, Process, binary, fed, policy, run, text};
use crate::ask::answered;
use crate::support::origin;

fn fifo(path: &Path) {
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), 0).unwrap();
}

#[test]
fn check_and_convert_take_standard_input() {
    let partners = policy("- {name: partners, hosts: [api.stripe.com]}");
    for name in ["-", "/dev/stdin"] {
        let (code, said) = fed(&["check", "--policy", name, "https://api.stripe.com"], &partners);
        assert!(code == Some(0) && said.contains("ALLOW"), "{name}: {said}");
    }
    let (code, said) = fed(&["check", "--policy", "-"], &partners.replace("hosts", "hostz"));
    assert!(
        code == Some(2) && said.starts_with("standard input:6: unknown field `hostz`"),
        "{said}"
    );
    let acl =
        "version: v1\nservices:\n- {name: svc, project: p, action: enforce, allowed_domains: [a.example]}\n";
    for name in ["-", "/dev/stdin"] {
        let (code, said) = fed(&["convert", "--from", "smokescreen-acl", name], acl);
        assert!(
            code == Some(0) && said.contains("kind: EgressPolicy"),
            "{name}: {said}"
        );
    }
    let (_, said) = fed(&["convert", "--from", "smokescreen-acl", "-"], acl);
    assert!(
        said.starts_with("# From standard input, a Smokescreen ACL.\n"),
        "{said}"
    );
}

#[tokio::test]
async fn a_proxy_reads_what_is_no_file_once_and_says_so() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    for name in ["-", "/dev/stdin", "fifo"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        fifo(&path);
        let (reader, mut writer) = pipe().unwrap();
        let process = Process::start_with(
            binary()
                .current_dir(dir.path())
                .args(["--policy", name, "--insecure-allow", "127.0.0.0/8"])
                .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]),
            Stdio::from(reader),
        );
        // Before anybody has written: whoever waits knows for what.
        process.says("the policy is read once").await;
        if name == "fifo" {
            fs::write(&path, policy(LOOPBACK)).unwrap();
        } else {
            writer.write_all(policy(LOOPBACK).as_bytes()).unwrap();
        }
        drop(writer);
        let proxy = Alone::known(process, dir).await;
        answered(proxy.proxy, &target, 200).await;
        proxy.process.signal(Signal::HUP);
        proxy.process.says("SIGHUP").await;
        answered(proxy.proxy, &target, 200).await;
        answered(proxy.proxy, "other.example:443", 403).await;
        assert!(
            !proxy.process.stderr().contains("refused"),
            "{}",
            proxy.process.stderr()
        );
    }
}

#[tokio::test]
async fn whoever_waits_for_a_policy_can_be_ended() {
    for args in [&["--policy", "-"][..], &["check", "--policy", "-"]] {
        let (reader, writer) = pipe().unwrap();
        let mut process = Process::start_with(binary().args(args), Stdio::from(reader));
        if args.len() == 2 {
            process.says("the policy is read once").await;
        }
        // Not the interrupt of a terminal: whoever runs this in the background has that one ignored.
        process.signal(Signal::TERM);
        assert_eq!(process.ended().await, None, "{args:?}: it has no exit code");
        drop(writer);
    }
    let (code, said) = fed(&["--policy", "-", "--listen", "127.0.0.1:0"], "kind: Pod");
    assert!(code == Some(1) && said.contains("standard input:1: "), "{said}");
}

#[test]
fn what_is_read_again_and_again_must_be_a_file() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/standalone/policy.yaml");
    let proxy = [
        "--policy",
        policy,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    let forward = [
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        "http://127.0.0.1:1",
    ];
    for (args, flag) in [
        (&proxy[..], "--roots"),
        (&proxy[..], "--admin-token-file"),
        (&forward[..], "--token-file"),
        (&forward[..], "--password-file"),
    ] {
        let output = run(&[args, &[flag, "/dev/stdin"]].concat());
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("/dev/stdin is no file, and it is read again"),
            "{flag}: {said}"
        );
    }
}
