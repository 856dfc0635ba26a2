//! Who gets the report, what stands in it, and that nobody else learns anything.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use egressway_core::wire::auth::{self, Message};
use egressway_core::wire::report::{Egress, PATH, Phase, Report};
use egressway_proxy::args::Identity;
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::documents::Documents;
use egressway_proxy::report::Reporter;
use egressway_proxy::state::State;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::http::{body, get, raw};
use crate::mount::{Files, Mount, policies, pool};
use crate::support::status;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER_KEY: &[u8] = b"fedcba9876543210fedcba9876543210";
const UID: &str = "11111111-2222-3333-4444-555555555555";
const NONCE: &str = "00112233445566778899aabbccddeeff";

struct Pod {
    address: SocketAddr,
    state: Arc<State>,
    key_file: PathBuf,
    _dir: TempDir,
    _task: AbortOnDropHandle<()>,
}

impl Pod {
    async fn start(key: Option<&[u8]>, uid: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let key_file = dir.path().join("report.key");
        if let Some(key) = key {
            fs::write(&key_file, key).unwrap();
        }
        let identity = Identity {
            pod_name: "webhooks-0".to_owned(),
            pod_uid: uid.to_owned(),
            node_name: "node-1".to_owned(),
            cell: "a".to_owned(),
        };
        let state = State::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reporter = Reporter::new(identity, key_file.clone(), Arc::clone(&state));
        let task = AbortOnDropHandle::new(tokio::spawn(reporter.serve(listener, CancellationToken::new())));
        Self {
            address,
            state,
            key_file,
            _dir: dir,
            _task: task,
        }
    }

    /// Asks with these values; `signature` as given.
    async fn ask(&self, nonce: &str, uid: &str, signature: &str) -> String {
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: x\r\n{}: {nonce}\r\n{}: {uid}\r\n{}: {signature}\r\n\r\n",
            auth::NONCE_HEADER,
            auth::POD_HEADER,
            auth::SIGNATURE_HEADER
        );
        raw(self.address, request.as_bytes()).await
    }

    /// Asks as the operator does.
    async fn ask_signed(&self, key: &[u8], nonce: &str, uid: &str) -> String {
        self.ask(nonce, uid, &auth::sign(key, nonce, uid, Message::Request))
            .await
    }
}

fn signature(answer: &str) -> &str {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{}: ", auth::SIGNATURE_HEADER)))
        .unwrap_or_default()
}

#[tokio::test]
async fn the_operator_gets_a_signed_report_of_what_is_in_force() {
    let pod = Pod::start(Some(KEY), UID).await;
    let mount = Mount::with(&Files::allowing(7, &["good.example"]));
    let metrics = ControlMetrics::register(&mut Registry::default(), Arc::clone(&pod.state));
    let mut documents = Documents::new(
        mount.path(),
        "a".to_owned(),
        vec![],
        Arc::clone(&pod.state),
        metrics,
    );
    documents.load();
    pod.state.set_phase(Phase::Serving);
    pod.state.set_egress(Egress {
        rounds: 3,
        ..Egress::default()
    });
    let _one = pod.state.track();

    let answer = pod.ask_signed(KEY, NONCE, UID).await;
    assert_eq!(status(&answer), 200);
    let answered = Message::Answer(body(&answer).as_bytes());
    assert!(auth::verify(KEY, NONCE, UID, answered, signature(&answer)));
    let report: Report = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(
        (report.pod.as_str(), report.uid.as_str(), report.cell.as_str()),
        ("webhooks-0", UID, "a")
    );
    assert_eq!(
        (report.phase, report.active, report.egress.rounds),
        (Phase::Serving, 1, 3)
    );
    assert_eq!(
        report.policies[0].hash,
        policies(7, &["good.example"]).policies[0].hash
    );
    assert_eq!(
        (report.policies[0].name.as_str(), report.policies[0].generation),
        ("webhooks", 7)
    );
    assert_eq!(
        report.pool_hash,
        egressway_core::wire::document::digest(&pool(&[], 0, &[]))
    );
    assert!(report.floor_hash.starts_with("sha256:") && report.load_error.is_none());

    let mut bad = Files::allowing(8, &["next.example"]);
    bad.pool = "{".to_owned();
    mount.swap(&bad);
    documents.load();
    let answer = pod.ask_signed(KEY, &NONCE.replace('0', "1"), UID).await;
    let report: Report = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(report.policies[0].generation, 7);
    assert!(report.load_error.unwrap().contains("pool.json"));
}

#[tokio::test]
async fn everybody_else_gets_the_same_refusal() {
    let pod = Pod::start(Some(KEY), UID).await;
    let other = "99999999-2222-3333-4444-555555555555";
    let short = "0011";
    let right = auth::sign(KEY, NONCE, UID, Message::Request);
    let answers = [
        pod.ask_signed(OTHER_KEY, NONCE, UID).await,
        pod.ask_signed(KEY, NONCE, other).await,
        pod.ask(NONCE, UID, &auth::sign(KEY, NONCE, other, Message::Request))
            .await,
        pod.ask(NONCE, UID, &auth::sign(KEY, NONCE, UID, Message::Answer(b"")))
            .await,
        pod.ask(&NONCE.replace('0', "1"), UID, &right).await,
        pod.ask(short, UID, &auth::sign(KEY, short, UID, Message::Request))
            .await,
        pod.ask(NONCE, UID, "").await,
        get(pod.address, PATH).await,
        get(pod.address, "/").await,
    ];
    for answer in &answers {
        assert_eq!(
            (status(answer), body(answer)),
            (401, "not authenticated\n"),
            "{answer}"
        );
        assert!(signature(answer).is_empty());
    }
    assert_eq!(
        status(&pod.ask(NONCE, UID, &right).await),
        200,
        "none of them used the nonce up"
    );
}

#[tokio::test]
async fn a_question_cannot_be_asked_twice() {
    let pod = Pod::start(Some(KEY), UID).await;
    assert_eq!(status(&pod.ask_signed(KEY, NONCE, UID).await), 200);
    assert_eq!(status(&pod.ask_signed(KEY, NONCE, UID).await), 401);
}

#[tokio::test]
async fn a_field_that_stands_twice_is_refused() {
    let pod = Pod::start(Some(KEY), UID).await;
    let signed = auth::sign(KEY, NONCE, UID, Message::Request);
    let twice = format!("{NONCE}\r\n{}: {NONCE}", auth::NONCE_HEADER);
    assert_eq!(status(&pod.ask(&twice, UID, &signed).await), 401);
}

#[tokio::test]
async fn without_a_key_there_is_no_report_and_a_new_key_counts_at_once() {
    let pod = Pod::start(None, UID).await;
    assert_eq!(status(&pod.ask_signed(KEY, NONCE, UID).await), 503);
    fs::write(&pod.key_file, &KEY[..31]).unwrap();
    assert_eq!(
        status(&pod.ask_signed(&KEY[..31], NONCE, UID).await),
        503,
        "too short"
    );
    fs::write(&pod.key_file, KEY).unwrap();
    assert_eq!(status(&pod.ask_signed(KEY, NONCE, UID).await), 200);
    fs::write(&pod.key_file, OTHER_KEY).unwrap();
    let next = NONCE.replace('0', "1");
    assert_eq!(status(&pod.ask_signed(KEY, &next, UID).await), 401);
    assert_eq!(status(&pod.ask_signed(OTHER_KEY, &next, UID).await), 200);
}

#[tokio::test]
async fn without_a_uid_nobody_can_mean_this_pod() {
    let pod = Pod::start(Some(KEY), "").await;
    assert_eq!(status(&pod.ask_signed(KEY, NONCE, "").await), 401);
}
