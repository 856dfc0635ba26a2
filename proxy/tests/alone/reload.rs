//! Files that change while the binary runs: policy, passwords, the log's name. What is broken changes nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::alone::{Alone, LOOPBACK, eventually, policy, replace};
use crate::ask::{answered, connect, get};
use crate::support::{self, origin, status};

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
            &support::connect(
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

#[tokio::test]
async fn a_policy_that_is_half_written_is_not_enforced() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let refused = "- {name: secret, action: Deny, hosts: [secret.example]}";
    let closed = policy(&format!("{LOOPBACK}\n  {refused}"));
    let proxy = Alone::start(&closed, &[]).await;
    let by = async |host: &str, reason: &str| {
        let (_, answer) = connect(proxy.proxy, host).await;
        let reason = format!("X-Egressway-Reason: {reason}\r\n");
        assert!(status(&answer) == 403 && answer.contains(&reason), "{answer}");
    };
    by("secret.example:443", "denied_by_rule").await;
    // Open now is what the last line will close again.
    let half = policy(&format!("{LOOPBACK}\n  - {{name: all, hosts: ['*.example']}}"));
    let mut writer = fs::File::create(proxy.path("policy.yaml")).unwrap();
    writer.write_all(half.as_bytes()).unwrap();
    proxy.process.signal(Signal::HUP);
    proxy.process.says("SIGHUP").await;
    let held = Instant::now();
    while held.elapsed() < Duration::from_secs(3) {
        by("secret.example:443", "denied_by_rule").await;
        by("other.example:443", "no_rule_matches").await;
    }
    writer.write_all(format!("  {refused}\n").as_bytes()).unwrap();
    drop(writer);
    eventually("the whole policy", async || {
        let (_, answer) = connect(proxy.proxy, "other.example:443").await;
        (status(&answer) != 403).then_some(())
    })
    .await;
    by("secret.example:443", "denied_by_rule").await;
    answered(proxy.proxy, &target, 200).await;
}

#[tokio::test]
async fn a_restriction_does_not_wait_for_the_writer_of_another_file() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("secrets/pass")).unwrap();
    fs::write(dir.path().join("secrets/pass/password"), "one").unwrap();
    let with = |rules: &str| {
        let clients = "clients: [{name: app, auth: {passwordSecretRefs: [{name: pass}]}}]";
        policy(&format!("{rules}\n  {clients}"))
    };
    fs::write(dir.path().join("policy.yaml"), with(LOOPBACK)).unwrap();
    let proxy = Alone::start_in(dir, &["--secrets-dir", "secrets"]).await;
    let ask = async |password: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("u:{password}"));
        let field = format!("Proxy-Authorization: Basic {pair}\r\n");
        status(&support::connect(proxy.proxy, &target, &field).await.1)
    };
    let mut writer = fs::File::create(proxy.path("secrets/pass/password")).unwrap();
    writer.write_all(b"t").unwrap();
    proxy.edit(&with("- {name: other, hosts: [other.example]}"));
    eventually("the restriction", async || {
        (ask("one").await == 403).then_some(())
    })
    .await;
    assert_eq!(
        (ask("one").await, ask("t").await),
        (403, 407),
        "the last whole password stands"
    );
    writer.write_all(b"wo").unwrap();
    drop(writer);
    eventually("the new password", async || {
        (ask("two").await == 403).then_some(())
    })
    .await;
    assert_eq!((ask("one").await, ask("t").await), (407, 407));
}
