//! Probes and metrics: ready only with a policy and a verified address, alive always, and bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::compile;
use egressway_core::wire::report::{Egress, Phase, Seen};
use egressway_proxy::admin::{Admin, LIMITS};
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::endpoint::{Endpoint, HEAD_BYTES_MAX, Limits, text};
use egressway_proxy::state::{Drain, InForce, State};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::http::{DEADLINE, body, get, raw};
use crate::mount::policies;
use crate::support::{dial, status};

struct Pod {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

async fn start() -> Pod {
    let state = State::new();
    let mut registry = Registry::default();
    let metrics = registry.sub_registry_with_prefix("egressway_proxy");
    ControlMetrics::register(metrics, Arc::clone(&state)).observer_failed("own");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Arc::new(Admin::new(Arc::clone(&state), registry));
    let task = AbortOnDropHandle::new(tokio::spawn(admin.serve(listener, CancellationToken::new())));
    Pod {
        address,
        state,
        _task: task,
    }
}

fn with_policy(state: &State) {
    state.set_in_force(InForce {
        policies: compile::policies(&policies(4, &["good.example"])).unwrap(),
        ..InForce::default()
    });
}

#[tokio::test]
async fn ready_is_serving_with_a_policy_and_alive_is_always() {
    let pod = start().await;
    let ready = async || status(&get(pod.address, "/readyz").await);
    assert_eq!(ready().await, 503);
    pod.state.set_phase(Phase::Serving);
    assert_eq!(ready().await, 503, "no policy");
    with_policy(&pod.state);
    assert_eq!(ready().await, 200);
    pod.state.set_phase(Phase::Quarantined);
    let answer = get(pod.address, "/readyz").await;
    assert_eq!(
        (status(&answer), body(&answer)),
        (503, "not ready: phase Quarantined, policy in force\n")
    );
    pod.state.set_phase(Phase::Serving);
    pod.state.drain_cell(Drain::Announced);
    assert_eq!(ready().await, 503, "drains, though it still serves");
    pod.state.drain_cell(Drain::Idle);
    assert_eq!(ready().await, 200);
    pod.state.drain_process(Drain::Announced);
    assert_eq!(ready().await, 503);
    assert_eq!(status(&get(pod.address, "/livez").await), 200);
}

#[tokio::test]
async fn metrics_are_open_metrics_and_say_what_the_state_says() {
    let pod = start().await;
    with_policy(&pod.state);
    pod.state.set_phase(Phase::Serving);
    let seen = |ip: &str, confirmed| Seen {
        ip: ip.parse().unwrap(),
        observers: vec![],
        confirmed,
        last_seen: 1,
    };
    pod.state.set_egress(Egress {
        seen: vec![seen("192.31.196.10", true), seen("192.31.196.99", false)],
        ..Egress::default()
    });
    let answer = get(pod.address, "/metrics").await;
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    assert!(answer.ends_with("# EOF\n"));
    for line in [
        r#"egressway_proxy_acl_generation{namespace="payments",policy="webhooks"} 4"#,
        r#"egressway_proxy_egress_ip_info{ip="192.31.196.10"} 1"#,
        r#"egressway_proxy_phase{phase="serving"} 1"#,
        r#"egressway_proxy_phase{phase="starting"} 0"#,
        r#"egressway_proxy_observer_errors_total{observer="own"} 1"#,
        "egressway_proxy_acl_reload_failures_total 0",
        "egressway_proxy_acl_last_reload_success_timestamp_seconds 0",
        "egressway_proxy_acl_stale 0",
        concat!(
            "egressway_proxy_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(
            answer.lines().any(|own| own.starts_with(line)),
            "{line} is missing in {answer}"
        );
    }
    assert!(
        !answer.contains("192.31.196.99"),
        "one observer's word is no egress address"
    );
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    let pod = start().await;
    assert_eq!(status(&get(pod.address, "/").await), 404);
    assert_eq!(
        status(
            &raw(
                pod.address,
                b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            )
            .await
        ),
        405
    );
    let head = raw(pod.address, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((status(&head), body(&head)), (200, ""));
}

#[tokio::test]
async fn a_head_is_bounded() {
    let pod = start().await;
    let head = |size: usize| {
        let frame = "GET /livez HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n";
        frame.replace("X: ", &format!("X: {}", "x".repeat(size - frame.len())))
    };
    assert_eq!(
        status(&raw(pod.address, head(HEAD_BYTES_MAX - 64).as_bytes()).await),
        200
    );
    assert_ne!(
        status(&raw(pod.address, head(HEAD_BYTES_MAX + 1).as_bytes()).await),
        200
    );
}

/// Strangers that say nothing hold every place for as long as they may; whoever asks takes the place of the oldest.
#[tokio::test]
async fn silent_clients_are_cut_and_never_lock_a_probe_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        connections: 2,
        exchange: Duration::from_secs(600),
    };
    let endpoint = Endpoint {
        name: "test",
        listener,
        limits,
        tls: None,
    };
    let answer = |_, _: &::http::Request<_>| text(::http::StatusCode::OK, "ok\n");
    let _task = AbortOnDropHandle::new(tokio::spawn(endpoint.serve(CancellationToken::new(), answer)));
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut stream = dial(address).await;
        stream.write_all(b"GET /").await.unwrap();
        silent.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(status(&get(address, "/livez").await), 200);
    }
    // One of two places is enough for probes that come one after the other.
    silent.pop();
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest))
            .await
            .expect("cut");
    }
    assert!(
        LIMITS.exchange < Duration::from_secs(10),
        "a kubelet gives up after its own timeout anyway"
    );
}
