//! Files that change while the binary runs: policy, passwords, the log's name. What is broken changes nothing.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::alone::{Alone, LOOPBACK, eventually, policy, replace};
use crate::ask::{answered, connect, connect_with, get};
use crate::support::{origin, status};

#[tokio::test]
async fn every_way_to_replace_the_file_is_noticed() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let (open, closed) = (
        policy(LOOPBACK),
        policy("- {name: other, hosts: [other.example]}"),
    );
    let proxy = Alone::start(&open, &[]).await;
    answered(proxy.proxy, &target, 200).await;
    // As editors do.
    proxy.edit(&closed);
    answered(proxy.proxy, &target, 403).await;
    // In place.
    fs::write(proxy.path("policy.yaml"), &open).unwrap();
    answered(proxy.proxy, &target, 200).await;
    // As a mounted ConfigMap: a link to a link that is swapped.
    for (version, manifest) in [("1", &closed), ("2", &open)] {
        fs::create_dir(proxy.path(version)).unwrap();
        fs::write(proxy.path(version).join("policy.yaml"), manifest).unwrap();
    }
    symlink("1", proxy.path("..data")).unwrap();
    symlink("..data/policy.yaml", proxy.path("link")).unwrap();
    fs::rename(proxy.path("link"), proxy.path("policy.yaml")).unwrap();
    answered(proxy.proxy, &target, 403).await;
    symlink("2", proxy.path("..data.new")).unwrap();
    fs::rename(proxy.path("..data.new"), proxy.path("..data")).unwrap();
    answered(proxy.proxy, &target, 200).await;
    answered(proxy.proxy, "other.example:443", 403).await;
    proxy.process.logs(&["\"egress.generation\":5"]).await;
    proxy.process.signal(Signal::HUP);
    proxy.process.says("SIGHUP").await;
    answered(proxy.proxy, &target, 200).await;
}

#[tokio::test]
async fn a_broken_edit_keeps_the_last_good_policy_and_says_so() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let proxy = Alone::start(&policy(LOOPBACK), &[]).await;
    let ready = async || get(proxy.admin, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(ready().await.ends_with("\r\n\r\nok\n"));
    proxy.edit(&policy("- {name: typo, hostz: [a.example]}"));
    let line = proxy.process.says("documents refused").await;
    assert!(line.contains("policy.yaml:6: unknown field `hostz`"), "{line}");
    let answer = ready().await;
    assert!(
        status(&answer) == 200 && answer.contains("newest documents are refused"),
        "{answer}"
    );
    let metrics = get(proxy.admin, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(metrics.contains("egressway_proxy_acl_stale 1\n"), "{metrics}");
    answered(proxy.proxy, &target, 200).await;
    proxy.edit(&policy("- {name: other, hosts: [other.example]}"));
    answered(proxy.proxy, &target, 403).await;
    assert!(ready().await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test]
async fn passwords_come_from_files_and_rotate() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("secrets/proxy-pass");
    fs::create_dir_all(&secrets).unwrap();
    fs::write(secrets.join("password"), "canary-one\n").unwrap();
    fs::write(
        dir.path().join("policy.yaml"),
        policy(&format!(
            "{LOOPBACK}\n  clients: [{{name: app, auth: {{passwordSecretRefs: [{{name: proxy-pass}}]}}}}]"
        )),
    )
    .unwrap();
    let proxy = Alone::start_in(dir, &["--secrets-dir", "secrets"]).await;
    let with = async |password: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("u:{password}"));
        status(
            &connect_with(
                proxy.proxy,
                &target,
                &format!("Proxy-Authorization: Basic {pair}\r\n"),
            )
            .await
            .1,
        )
    };
    assert_eq!(status(&connect(proxy.proxy, &target).await.1), 407);
    assert_eq!((with("canary-one").await, with("canary-two").await), (200, 407));
    replace(&proxy.path("secrets/proxy-pass/password"), "canary-two");
    eventually("the new password", async || {
        (with("canary-two").await == 200).then_some(())
    })
    .await;
    assert_eq!(with("canary-one").await, 407);
    fs::remove_file(proxy.path("secrets/proxy-pass/password")).unwrap();
    proxy.process.says("documents refused").await;
    assert_eq!(with("canary-two").await, 200, "the last good one stays");
    let said = proxy.process.stderr() + &proxy.process.stdout();
    assert!(
        !said.contains("canary-one") && !said.contains("canary-two"),
        "{said}"
    );
}

#[tokio::test]
async fn the_log_goes_to_a_file_and_follows_its_name() {
    let proxy = Alone::start(
        &policy(LOOPBACK),
        &["--log-format", "text", "--log-file", "access.log"],
    )
    .await;
    let has = async |file: &str, what: &str| {
        eventually(&format!("{what} in {file}"), async || {
            let log = fs::read_to_string(proxy.path(file)).unwrap_or_default();
            log.contains(what).then_some(log)
        })
        .await
    };
    connect(proxy.proxy, "one.example:443").await;
    let log = has("access.log", "one.example").await;
    assert!(
        log.contains(" DENY CONNECT one.example:443 403 no_rule_matches policy=payments/webhooks "),
        "{log}"
    );
    fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    proxy.process.signal(Signal::HUP);
    proxy.process.says("SIGHUP").await;
    connect(proxy.proxy, "two.example:443").await;
    has("access.log", "two.example").await;
    assert!(
        !fs::read_to_string(proxy.path("access.log.1"))
            .unwrap()
            .contains("two.example")
    );
    assert_eq!(proxy.process.stdout(), "");
}
