//! No password, token, key or query is ever told: not in the log, metrics, report, replies, errors or the process's
//! own lines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod access;
#[path = "control/mount.rs"]
mod mount;
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::{Ca, Signer, World, accounts, handshake, passwords};
use egressway_core::wire::document;
use egressway_core::wire::names::{CLIENTS_KEY, SECRETS_KEY};
use egressway_proxy::access_log::{AccessLog, Place};
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::documents::Documents;
use egressway_proxy::metrics::Metrics;
use egressway_proxy::report::Reporter;
use egressway_proxy::resolve::{ResolveError, Resolver};
use egressway_proxy::server::{Limits, Server};
use egressway_proxy::state::State;
use mount::{Files, Mount};
use prometheus_client::registry::Registry;
use support::{accept, dial, origin, read_all, read_head, status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
async fn nothing_that_is_secret_is_told() {
    use base64::Engine as _;
    let lines = Memory::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let (ca, signer) = (Ca::new("proxies"), Signer::new("one"));
    let leaf = ca.leaf(&["proxy.example"], 1);
    let token = signer.token("payments/sender", "egressway.dev/payments/webhooks");
    let mut world = World::open()
        .tls(&leaf)
        .client("legacy", false, Some(passwords(&["pass"])))
        .client("token", false, Some(accounts(&["payments/sender"])))
        .password("pass", "canary-password")
        .data("signing", "key", "canary-signing-key");
    world.issuer = Some(Signer::issuer(&[&signer]));
    let key_body = leaf.key.lines().nth(1).unwrap().to_owned();
    let salt_and_digest = world.secrets["pass"].passwords["password"].clone();

    let state = State::new();
    state.set_in_force(world.in_force());
    state.set_phase(egressway_core::wire::report::Phase::Serving);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let control = ControlMetrics::register(&mut registry, Arc::clone(&state));
    let log = Memory::default();
    let access_log = AccessLog::to_writer(Box::new(log.clone()), Place::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server::new(
        Arc::clone(&state),
        Resolver::scripted(|_| async { Err(ResolveError::NotFound) }),
        metrics,
        access_log.clone(),
        Limits::default(),
        "egressway-proxy".to_owned(),
        vec![],
    ));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(Arc::clone(&server).serve(listener, stop.clone(), stop.clone()));

    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let basic = |password: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("canary-user:{password}"));
        format!("Basic {text}")
    };
    let mut told = String::new();
    for (credential, expected) in [
        (basic("canary-password"), 200),
        (basic(&token), 200),
        (format!("Bearer {token}"), 200),
        (basic("canary-wrong"), 407),
        (format!("Bearer {token}canary"), 407),
        ("Digest canary-digest".to_owned(), 407),
        ("canary".to_owned(), 407),
    ] {
        for request in [
            format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {credential}\r\n\r\n"),
            format!(
                "GET http://{target}/canary-path?canary-query HTTP/1.1\r\nHost: canary-host\r\nCookie: canary-cookie\r\n\
                 Proxy-Authorization: {credential}\r\n\r\n"
            ),
        ] {
            let mut client = handshake(&ca.client(None), dial(address).await).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            if expected == 200 {
                let mut server = accept(&origin).await;
                if request.starts_with("GET") {
                    read_head(&mut server).await;
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    server.write_all(answer).await.unwrap();
                }
            }
            let mut head = vec![0; 12];
            client.read_exact(&mut head).await.unwrap();
            assert_eq!(status(&String::from_utf8_lossy(&head)), expected, "{request}");
            if expected != 200 {
                let _ = client.read_to_end(&mut head).await;
            }
            told.push_str(&String::from_utf8_lossy(&head));
        }
    }
    let mut plain = dial(address).await;
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\nProxy-Authorization: {}\r\n\r\n",
        basic("canary-password")
    );
    plain.write_all(request.as_bytes()).await.unwrap();
    told.push_str(&String::from_utf8_lossy(&read_all(&mut plain).await.0));

    // Secrets that cannot be read, in files, with the report and the metrics that follow.
    let mount = Mount::empty();
    mount.write_plain(&Files::allowing(1, &["good.example"]));
    let mut documents = Documents::new(mount.path(), "a".to_owned(), vec![], Arc::clone(&state), control);
    for broken in [
        r#"{"version":1,"policies":"canary-text"}"#.to_owned(),
        r#"{"version":1,"policies":[{"namespace":"a","name":"b","secrets":{"s":{"data":{"k":"canary"},"canary-field":1}}}]}"#
            .to_owned(),
        "canary".to_owned(),
        r#"{"version":"canary"}"#.to_owned(),
    ] {
        std::fs::write(mount.path().join(SECRETS_KEY), &broken).unwrap();
        documents.load();
        let error = state.load_error().unwrap();
        assert!(error.starts_with("failed to parse secrets.json at line 1"), "{error}");
        told.push_str(&error);
    }
    let secrets = document::Secrets {
        version: 1,
        policies: vec![document::PolicySecrets {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            secrets: world.secrets.clone(),
        }],
    };
    std::fs::write(mount.path().join(SECRETS_KEY), document::to_json(&secrets)).unwrap();
    std::fs::write(mount.path().join(CLIENTS_KEY), r#"{"version":1,"policies":[]}"#).unwrap();
    documents.load();
    assert_eq!(state.load_error(), None);
    world
        .secrets
        .get_mut("listener")
        .unwrap()
        .data
        .insert("tls.key".to_owned(), "canary".to_owned());
    state.set_in_force(world.in_force());
    let in_force = state.in_force();
    assert!(!in_force.secrets.problems().is_empty());
    told.push_str(&format!("{in_force:?}{documents:?}{server:?}"));
    prometheus_client::encoding::text::encode(&mut told, &registry).unwrap();
    told.push_str(&report(&state).await);

    stop.cancel();
    serving.await.unwrap();
    drop(server);
    access_log.flush(Duration::from_secs(10));
    let logged = log.text();
    assert!(logged.lines().count() >= 14, "{logged}");
    told.push_str(&logged);
    let lines = lines.text();
    assert!(
        lines.contains("documents refused"),
        "the process's lines are here"
    );
    let key_body = key_body.as_str();
    for (what, text) in [("told", &told), ("lines", &lines)] {
        for secret in [
            "canary",
            key_body,
            &token,
            token.rsplit('.').next().unwrap(),
            &basic("canary-password")[6..],
            &salt_and_digest.digest,
            &salt_and_digest.salt,
        ] {
            let at = text.find(secret);
            let near = at.map(|at| &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
            assert_eq!(near, None, "{what} {secret}");
        }
    }
}

/// The report, as the operator gets it.
async fn report(state: &Arc<State>) -> String {
    use egressway_core::wire::auth::{self, Message};
    let (key, nonce) = (
        b"0123456789abcdef0123456789abcdef",
        "00112233445566778899aabbccddeeff",
    );
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("report.key");
    std::fs::write(&file, key).unwrap();
    let identity = egressway_proxy::args::Identity {
        pod_uid: "uid".to_owned(),
        ..egressway_proxy::args::Identity::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let reporter = Reporter::new(identity, file, Arc::clone(state));
    let serving = tokio::spawn(reporter.serve(listener, stop.clone()));
    let signature = auth::sign(key, nonce, "uid", Message::Request);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}: {nonce}\r\n{}: uid\r\n{}: {signature}\r\n\r\n",
        egressway_core::wire::report::PATH,
        auth::NONCE_HEADER,
        auth::POD_HEADER,
        auth::SIGNATURE_HEADER
    );
    let mut client = dial(address).await;
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut client).await.0).unwrap();
    assert!(
        status(&answer) == 200 && answer.contains("secretsHash\":\"sha256:"),
        "{answer}"
    );
    assert!(
        answer.contains("loadError\":\"policy payments/webhooks: listener: Secret listener: tls.key"),
        "{answer}"
    );
    stop.cancel();
    serving.await.unwrap();
    answer
}
