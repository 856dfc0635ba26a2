//! The binary without Kubernetes: what it lets through, how it reloads, what it says, how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/alone.rs"]
mod alone;
mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use alone::{Alone, LOOPBACK, Process, binary, eventually, policy, replace, run, text};
use rustix::process::Signal;
use support::{accept, dial, origin, read_all, read_exact, read_head, status, untouched};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// CONNECT; the stream and the answer's head.
async fn connect(proxy: SocketAddr, target: &str) -> (TcpStream, String) {
    connect_with(proxy, target, "").await
}

async fn connect_with(proxy: SocketAddr, target: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = dial(proxy).await;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head)
}

async fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = dial(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    text(&read_all(&mut stream).await.0)
}

/// Waits until a CONNECT to the target is answered so.
async fn answered(proxy: SocketAddr, target: &str, expected: u16) {
    eventually(&format!("{target} is answered {expected}"), async || {
        let (_, head) = connect(proxy, target).await;
        (status(&head) == expected).then_some(())
    })
    .await;
}

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
    let version = text(&run(&["--version"]).stdout);
    assert!(
        version.contains(env!("CARGO_PKG_VERSION")) && version.contains("roots: webpki-roots "),
        "{version}"
    );
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
async fn a_signal_drains_and_a_second_one_cuts() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    for cut in [false, true] {
        let mut proxy = Alone::start(&policy(LOOPBACK), &[]).await;
        let (mut client, _) = connect(proxy.proxy, &target).await;
        let mut server = accept(&origin).await;
        proxy.process.signal(Signal::TERM);
        answered(proxy.proxy, "other.example:443", 503).await;
        client.write_all(b"still").await.unwrap();
        assert_eq!(read_exact(&mut server, 5).await, b"still");
        if cut {
            proxy.process.signal(Signal::INT);
            read_all(&mut client).await;
        }
        drop((client, server));
        assert_eq!(proxy.process.ended().await, Some(0));
    }
}

#[tokio::test]
async fn the_token_opens_the_rest_of_the_admin_port() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let request = |method: &str, path: &str, token: &str, body: &str| {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {length}\r\n\r\n{body}")
    };
    let plain = Alone::start(&policy(LOOPBACK), &[]).await;
    for path in ["/tunnels", "/policy", "/log-level"] {
        assert_eq!(
            status(&get(plain.admin, &request("GET", path, "", "")).await),
            404,
            "{path}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.yaml"), policy(LOOPBACK)).unwrap();
    fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let proxy = Alone::start_in(dir, &["--admin-token-file", "token"]).await;
    let (good, bad) = (
        "Authorization: Bearer s3cret\r\n",
        "Authorization: Bearer s3cre\r\n",
    );
    for path in ["/tunnels", "/policy", "/log-level"] {
        for token in ["", bad, "Authorization: Basic s3cret\r\n"] {
            assert_eq!(
                status(&get(proxy.admin, &request("GET", path, token, "")).await),
                401,
                "{path}"
            );
        }
    }
    let (client, _) = connect(proxy.proxy, &target).await;
    let _server = accept(&origin).await;
    let tunnels = eventually("the tunnel is listed", async || {
        let answer = get(proxy.admin, &request("GET", "/tunnels", good, "")).await;
        answer.contains(&target).then_some(answer)
    })
    .await;
    assert!(tunnels.contains("payments/webhooks"), "{tunnels}");
    drop(client);
    let answer = get(proxy.admin, &request("GET", "/policy", good, "")).await;
    assert!(
        status(&answer) == 200 && answer.contains("\"mode\": \"Enforce\"") && answer.contains("\"rules\": 1"),
        "{answer}"
    );
    for (method, body, expected) in [
        ("PUT", "debug", 200),
        ("PUT", "a=b=c", 400),
        ("PUT", "", 400),
        ("GET", "", 405),
        ("PUT", &"x".repeat(5000), 413),
    ] {
        assert_eq!(
            status(&get(proxy.admin, &request(method, "/log-level", good, body)).await),
            expected,
            "{method} {body}"
        );
    }
    proxy.process.says("the log level was changed").await;
    fs::write(proxy.path("token"), "other").unwrap();
    assert_eq!(
        status(&get(proxy.admin, &request("GET", "/policy", good, "")).await),
        401
    );
    assert_eq!(
        status(&get(proxy.admin, &request("GET", "/livez", "", "")).await),
        200
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

#[test]
fn check_explains_and_its_exit_code_says_whether() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let name = file.display().to_string();
    let rules = "- {name: partners, hosts: [api.stripe.com, \"*.example.com\"]}\n  - {name: no, action: Deny, hosts: [bad.example.com]}\n  - {name: hooks, hosts: [hooks.example], http: {methods: [POST], pathPrefixes: [/in/]}, upstreamTLS: {}}";
    fs::write(&file, policy(rules)).unwrap();
    for (args, code, said) in [
        (
            &[][..],
            0,
            &["policy ok: payments/webhooks: 3 rules, 4 hosts, 0 ranges, 0 clients, mode Enforce"][..],
        ),
        (
            &["https://api.stripe.com"],
            0,
            &[
                "ALLOW https://api.stripe.com by rule partners of payments/webhooks",
                "CONNECT api.stripe.com:443",
            ],
        ),
        (
            &["https://bad.example.com"],
            1,
            &["DENY", "denied by rule no", "denied_by_rule (status 403)"],
        ),
        (
            &["https://other.example"],
            1,
            &["DENY", "no_rule_matches", "next"],
        ),
        (
            &["api.stripe.com:443", "api.stripe.com:80"],
            1,
            &["ALLOW api.stripe.com:443", "DENY api.stripe.com:80"],
        ),
        (
            &["--method", "POST", "http://hooks.example/in/a"],
            0,
            &["ALLOW", "POST hooks.example:443", "made by the proxy"],
        ),
        (&["http://hooks.example/in/a"], 1, &["DENY"]),
        (&["10.0.0.1:443"], 1, &["address_internal"]),
        (&["127.0.0.1:443"], 1, &["address_forbidden"]),
        (
            &["-o", "json", "https://api.stripe.com"],
            0,
            &["\"verdict\": \"ALLOW\"", "\"rule\": \"partners\""],
        ),
        (
            &["--client", "nobody", "https://api.stripe.com"],
            2,
            &["no client"],
        ),
        (&["--method", "POST", "https://api.stripe.com"], 2, &["--method"]),
        (&["ftp://a.example"], 2, &["scheme ftp"]),
        (&["--name", "other"], 2, &["no EgressPolicy named other"]),
        (
            &["--resolver", "127.0.0.1:1", "https://api.stripe.com"],
            1,
            &["ERROR"],
        ),
    ] {
        let mut all = vec!["check", "--policy", &name];
        all.extend(args);
        let output = run(&all);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {printed}");
        for part in said {
            assert!(printed.contains(part), "{args:?}: {part} is missing in {printed}");
        }
    }
    fs::write(&file, policy("- {name: a, hosts: [A.example]}")).unwrap();
    let output = run(&["check", "--policy", &name]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("upper case"));
}

#[test]
fn converted_configurations_are_ones_that_check_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (source, policy) = (dir.path().join("acl.yaml"), dir.path().join("policy.yaml"));
    fs::write(&source, "version: v1\nservices:\n- {name: svc, project: p, action: enforce, allowed_domains: [api.example.com]}\nodd: 1\n").unwrap();
    let output = run(&["convert", "--from", "smokescreen-acl", source.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("odd: has no counterpart"));
    assert!(text(&output.stdout).contains("# - odd: has no counterpart"));
    fs::write(&policy, &output.stdout).unwrap();
    let name = policy.to_str().unwrap();
    let check = |args: &[&str]| run(&[&["check", "--policy", name], args].concat()).status.code();
    assert_eq!(check(&[]), Some(0));
    assert_eq!(check(&["--client", "svc", "https://api.example.com"]), Some(0));
    assert_eq!(check(&["--client", "svc", "https://other.example.com"]), Some(1));
    assert_eq!(check(&["https://api.example.com"]), Some(1));
    assert_eq!(
        run(&["convert", "--from", "mole", "/nowhere"]).status.code(),
        Some(2)
    );
}

/// The helper of a client: every request gets the credential, answers pass as they are.
#[tokio::test]
async fn forward_adds_the_credential_to_each_request() {
    let upstream = origin().await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "one\n").unwrap();
    let proxy = format!("http://localhost:{}", upstream.local_addr().unwrap().port());
    let process = Process::start(binary().args([
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        &proxy,
        "--token-file",
        token.to_str().unwrap(),
        "--user",
        "app",
    ]));
    let line = process.says("egressway-proxy forward: ").await;
    let own: SocketAddr = line.split_whitespace().nth(2).unwrap().parse().unwrap();

    // A refused CONNECT: byte for byte.
    let refusal = "HTTP/1.1 403 Egress denied by a/b: c\r\nX-Egressway-Reason: no_rule_matches\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
    let mut client = dial(own).await;
    client
        .write_all(
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic bWluZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    let head = read_head(&mut server).await;
    assert_eq!(
        head,
        "CONNECT a.example:443 HTTP/1.1\r\nProxy-Authorization: Basic YXBwOm9uZQ==\r\nHost: a\r\n\r\n"
    );
    server.write_all(refusal.as_bytes()).await.unwrap();
    drop(server);
    assert_eq!(text(&read_all(&mut client).await.0), refusal);

    // A request on a connection that the client would keep: one exchange, then the end; a new token each time.
    fs::write(&token, "two").unwrap();
    let mut client = dial(own).await;
    client
        .write_all(b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET http://b.example/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    let head = read_head(&mut server).await;
    assert!(
        head.contains("Proxy-Authorization: Basic YXBwOnR3bw==\r\n")
            && head.contains("Connection: close\r\n"),
        "{head}"
    );
    assert_eq!(read_exact(&mut server, 13).await, b"3\r\nabc\r\n0\r\n\r\n");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .await
        .unwrap();
    server.shutdown().await.unwrap();
    let answer = text(&read_all(&mut client).await.0);
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(
        read_all(&mut server).await.0,
        b"",
        "the second request never leaves without a credential"
    );

    // A tunnel, both ways.
    let mut client = dial(own).await;
    client
        .write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\nearly")
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    read_head(&mut server).await;
    assert_eq!(read_exact(&mut server, 5).await, b"early");
    server.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
    read_head(&mut client).await;
    assert_eq!(read_exact(&mut client, 5).await, b"hello");
    drop((client, server));

    fs::remove_file(&token).unwrap();
    let answer = get(own, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("credential_unreadable"),
        "{answer}"
    );
    fs::write(&token, "three").unwrap();
    drop(upstream);
    let answer = get(own, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("proxy_unreachable"),
        "{answer}"
    );
    let answer = get(own, "nonsense\r\n\r\n").await;
    assert_eq!(status(&answer), 400);
}

#[test]
fn forward_listens_on_loopback_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "t").unwrap();
    let output = run(&[
        "forward",
        "--listen",
        "0.0.0.0:0",
        "--proxy",
        "http://127.0.0.1:1",
        "--token-file",
        token.to_str().unwrap(),
    ]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("--allow-remote-clients"));
    let output = run(&[
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        "http://127.0.0.1:1",
        "--token-file",
        "/nowhere",
    ]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("/nowhere"));
}
