//! What the binary takes at its start, what it refuses, and what it says of what has no effect.

use std::fs;

use rustix::process::Signal;

use crate::alone::{Alone, LOOPBACK, binary, policy, run, text};
use crate::ask::answered;

#[test]
fn a_policy_that_cannot_be_enforced_is_refused_at_the_start_with_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let name = file.display().to_string();
    let pool = "apiVersion: egressway.dev/v1alpha1\nkind: EgressPool\nmetadata: {name: pool}\nspec:\n";
    for (manifest, problems) in [
        (String::new(), &["holds no EgressPolicy"][..]),
        (
            policy("- {name: a, hosts: [A.example]}\n  - {name: a, cidrs: [10.0.0.1/8], ports: [{port: 0}]}"),
            &[
                ":1: policy payments/webhooks rule a: host \"A.example\"",
                "stands twice",
                "host bits set",
                "port 0",
            ],
        ),
        (
            policy("- {name: a, hostz: [a.example]}"),
            &[":6: unknown field `hostz`"],
        ),
        (
            policy("- {name: a, hosts: [a.example]}\n  mode: Enforced\n  timeouts: {connect: 5}"),
            &["spec.mode: \"Enforced\"", "spec.timeouts.connect"],
        ),
        (
            format!(
                "{}---\n{}",
                policy("- {name: a, hosts: [a.example]}"),
                policy("- {name: a, hosts: [a.example]}")
            ),
            &[":7: a second EgressPolicy"],
        ),
        (
            format!(
                "{}---\n{pool}  caps: {{ports: [{{port: 0}}]}}\n",
                policy("- {name: a, hosts: [a.example]}\n  poolRef: {name: other}")
            ),
            &[":1: spec.poolRef: names \"other\"", ":8: caps.ports: port 0"],
        ),
        (
            policy("- {name: a, hosts: [a.example]}").replace("v1alpha1", "v1"),
            &["apiVersion \"egressway.dev/v1\""],
        ),
        (
            policy("- {name: a, hosts: [a.example]}").replace("kind: EgressPolicy", "kind: Pod"),
            &["kind \"Pod\" is neither"],
        ),
        (
            policy("- {name: a, hosts: [a.example]}")
                .replace("metadata: {name: webhooks", "metadata: {name: Web_hooks"),
            &["metadata.name \"Web_hooks\" is no name"],
        ),
        (
            policy("- {name: a, hosts: [a.example]}\n  clients: [{name: a, from: {podSelector: {}}}]"),
            &["from names pods"],
        ),
        (
            policy("- {name: a, hosts: [a.example]}\n  clients: [{name: a, auth: {serviceAccounts: [b]}}]"),
            &["serviceAccounts are a cluster's"],
        ),
        (
            policy(
                "- {name: a, hosts: [a.example]}\n  clients: [{name: a, auth: {passwordSecretRefs: [{name: p}]}}]",
            ),
            &["Secret p key password: give --secrets-dir"],
        ),
        ("a: [".to_owned(), &[":"]),
    ] {
        fs::write(&file, &manifest).unwrap();
        let output = run(&[
            "--policy",
            &name,
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{manifest}\n{said}");
        for problem in problems {
            assert!(
                said.lines()
                    .any(|line| line.contains(problem) && line.starts_with(&name))
                    || said.contains(problem),
                "{problem}: {said}"
            );
        }
    }
    let output = run(&["--policy", "/nowhere/p.yaml"]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("/nowhere/p.yaml: "));
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    for args in [
        &["--policy"][..],
        &["--policy", "p", "--acl-dir", "d"],
        &["--secrets-dir", "d"],
        &["--log-format", "xml"],
        &["check"],
        &["check", "--policy", "p", "-o", "xml"],
        &["convert", "f"],
        &["convert", "--from", "squid", "f"],
        &["forward", "--proxy", "http://p:1"],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_binary_says_its_version_and_refuses_what_it_does_not_know() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    let own = concat!(
        "egressway-proxy ",
        env!("CARGO_PKG_VERSION"),
        " (roots: webpki-roots "
    );
    let said = text(&version.stdout);
    assert!(said.starts_with(own), "{said}");
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}

#[tokio::test]
async fn what_only_a_cluster_acts_on_is_named_once() {
    let manifest = policy(&format!(
        "{LOOPBACK}\n  fleet: {{replicasPerCell: 2}}\n  poolRef: {{name: pool}}"
    ));
    let proxy = Alone::start(&manifest, &[]).await;
    let line = proxy.process.says("without any effect").await;
    assert!(line.contains("spec.poolRef, spec.fleet"), "{line}");
    proxy.process.signal(Signal::HUP);
    proxy.process.says("SIGHUP").await;
    answered(proxy.proxy, "other.example:443", 403).await;
    assert_eq!(proxy.process.stderr().matches("without any effect").count(), 1);
}

#[test]
fn without_a_policy_it_says_what_is_missing_and_ends() {
    let output = binary().env_remove("EGRESSWAY_POD_UID").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("there is nothing to enforce") && said.contains("--policy FILE"),
        "{said}"
    );
}
