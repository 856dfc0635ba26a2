//! What the binary lets through without Kubernetes, from the first client to the last.

use std::fs;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::alone::{Alone, LOOPBACK, Process, binary, eventually, policy};
use crate::ask::{answered, connect};
use crate::support::{accept, origin, read_all, read_exact, read_head, status, untouched};

#[tokio::test]
async fn what_the_policy_allows_goes_through_and_the_rest_is_refused_readably() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let proxy = Alone::start(&policy(LOOPBACK), &[]).await;
    let (mut client, head) = connect(proxy.proxy, &target).await;
    assert_eq!(status(&head), 200, "{head}");
    let mut server = accept(&origin).await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_exact(&mut server, 4).await, b"ping");
    drop((client, server));
    let (_, head) = connect(proxy.proxy, "other.example:443").await;
    assert!(
        head.starts_with("HTTP/1.1 403 Egress denied by payments/webhooks: other.example:443 "),
        "{head}"
    );
    let id = head
        .split("X-Egressway-Id: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let line = proxy.process.logs(&[id]).await;
    assert!(
        line.contains("\"egress.generation\":1") && line.contains("no_rule_matches"),
        "{line}"
    );
    assert!(untouched(&origin).await);
}

/// Whoever is there as soon as the port is open: five times, since it was a matter of a few milliseconds.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a client in a test")]
async fn the_first_client_is_served_and_not_told_that_the_proxy_starts() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    fs::write(&file, policy(LOOPBACK)).unwrap();
    for _ in 0..5 {
        // A port that was free a moment ago.
        let proxy = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let flags = [
            "--admin",
            "127.0.0.1:0",
            "--insecure-allow",
            "127.0.0.0/8",
            "--resolver",
            "127.0.0.1",
            "--listen",
        ];
        let _process = Process::start(
            binary()
                .arg("--policy")
                .arg(&file)
                .args(flags)
                .arg(proxy.to_string()),
        );
        let mut stream = eventually("the port is open", async || TcpStream::connect(proxy).await.ok()).await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert_eq!(status(&head), 200, "{head}");
    }
}

#[tokio::test]
async fn a_pool_beside_the_policy_caps_it() {
    let pool = "---\napiVersion: egressway.dev/v1alpha1\nkind: EgressPool\nmetadata: {name: pool}\nspec:\n  caps: {hosts: {deny: [\"*.denied.example\"]}}\n";
    let manifest = policy("- {name: all, hosts: [\"*\"]}\n  mode: Open\n  poolRef: {name: pool}");
    let proxy = Alone::start(&format!("{manifest}{pool}"), &[]).await;
    let (_, head) = connect(proxy.proxy, "a.denied.example:443").await;
    assert!(head.contains("X-Egressway-Reason: denied_by_pool"), "{head}");
    assert!(
        proxy.process.says("enforces").await.contains("mode Enforce"),
        "a pool lets nobody be Open by default"
    );
}

#[tokio::test]
async fn a_signal_drains_and_a_second_one_cuts() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    for (first, second) in [
        (Signal::TERM, None),
        (Signal::TERM, Some(Signal::INT)),
        (Signal::QUIT, None),
        (Signal::QUIT, Some(Signal::QUIT)),
    ] {
        let mut proxy = Alone::start(&policy(LOOPBACK), &[]).await;
        let (mut client, _) = connect(proxy.proxy, &target).await;
        let mut server = accept(&origin).await;
        proxy.process.signal(first);
        answered(proxy.proxy, "other.example:443", 503).await;
        client.write_all(b"still").await.unwrap();
        assert_eq!(read_exact(&mut server, 5).await, b"still");
        if let Some(second) = second {
            proxy.process.signal(second);
            read_all(&mut client).await;
        }
        drop((client, server));
        assert_eq!(proxy.process.ended().await, Some(0));
    }
}

/// With nginx one opens logs again and the other exchanges the binary, with HAProxy one drains.
#[tokio::test]
async fn signals_without_a_meaning_change_nothing_and_say_so() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let proxy = Alone::start(&policy(LOOPBACK), &[]).await;
    let (mut client, _) = connect(proxy.proxy, &target).await;
    let mut server = accept(&origin).await;
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        proxy.process.signal(signal);
        let line = proxy.process.says(name).await;
        assert!(line.contains("ignored: SIGTERM ends"), "{line}");
    }
    client.write_all(b"still").await.unwrap();
    assert_eq!(read_exact(&mut server, 5).await, b"still");
    answered(proxy.proxy, "other.example:443", 403).await;
}
