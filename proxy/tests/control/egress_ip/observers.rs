//! What an observer may answer, how it is reached, and what is said of it where it is not.

use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::wire::document::OnMismatch;
use egressway_core::wire::report::Phase;
use egressway_proxy::resolve::{ResolveError, Resolver};
use tokio_rustls::TlsAcceptor;

use super::{BAD, GOOD, PROMISED, Pod, confirmed, observed_by};
use crate::http::{Scripted, ok};
use crate::mount::pool;
use crate::pki::{BOTH, Ca, server};

#[tokio::test]
async fn a_slow_observer_costs_the_others_nothing() {
    let (_servers, pool) = observed_by(&[GOOD, GOOD, ""], PROMISED).await;
    let pod = Pod::start(&pool);
    pod.reaches(Phase::Serving).await;
    assert_eq!(pod.error("o3").await, "gave no answer in time");
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &pod.registry).unwrap();
    assert!(
        metrics.contains(r#"observer_errors_total{observer="o3"}"#),
        "{metrics}"
    );
    assert!(
        !metrics.contains("o1"),
        "an observer with one family only has not failed"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_named() {
    // The first one dies, so that there is never a quorum and rounds follow each other quickly.
    let (mut servers, pool) = observed_by(&[GOOD, ""], PROMISED).await;
    drop(servers.remove(0));
    let elsewhere = Scripted::start(ok(GOOD)).await;
    let pod = Pod::start(&pool);
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url()
    );
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{GOOD}", "x".repeat(9000));
    for (answer, expected) in [
        (
            ok("<html>192.31.196.10</html>"),
            "answered with something other than one address",
        ),
        (
            ok(&format!("{GOOD}, {BAD}")),
            "answered with something other than one address",
        ),
        (ok(&"x".repeat(257)), "answered with more than 256 bytes"),
        (
            ok("10.0.0.1"),
            "answered 10.0.0.1 (private use (RFC 1918)): an observer must stand outside of the network",
        ),
        (
            redirect.into_bytes(),
            "answered with status 302, and only 200 is an answer",
        ),
        (
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "answered with status 503, and only 200 is an answer",
        ),
        (b"\x00garbage\r\n\r\n".to_vec(), "failed to read the answer: "),
        (long_head.into_bytes(), "failed to read the answer: "),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{GOOD}").into_bytes(),
            "failed to read the answer: ",
        ),
    ] {
        servers[0].says(answer);
        pod.rounds(1).await;
        let error = pod.error("o2").await;
        assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
        assert!(
            pod.state
                .egress()
                .seen
                .iter()
                .all(|seen| !seen.observers.contains(&"o2".to_owned()))
        );
    }
    for answer in [
        ok(&format!("{GOOD}\r\n")),
        format!("HTTP/1.0 200 OK\r\n\r\n{GOOD}\n").into_bytes(),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{GOOD}\r\n0\r\n\r\n").into_bytes(),
        ok(&format!("{GOOD}{}", " ".repeat(256 - GOOD.len()))),
    ] {
        servers[0].says(answer);
        pod.rounds(1).await;
        assert_eq!(pod.error("o2").await, "");
    }
    assert!(elsewhere.heads().is_empty(), "a redirect is not followed");
}

#[tokio::test]
async fn an_observer_on_the_floor_is_never_dialled() {
    let (servers, pool) = observed_by(&[GOOD, GOOD], PROMISED).await;
    let resolver = Resolver::scripted(|_| async { Err(ResolveError::NotFound) });
    let pod = Pod::start_with(&pool, &[], resolver);
    let error = pod.error("o1").await;
    assert_eq!(
        error,
        "the observer leads to an address that is never reachable through this proxy"
    );
    assert!(servers[0].heads().is_empty() && pod.state.phase() == Phase::Starting);
}

#[tokio::test]
async fn names_are_looked_up_in_both_families() {
    let v4 = Scripted::start(ok(GOOD)).await;
    let port = v4.address.port();
    let v6 = Scripted::start_on(&format!("[::1]:{port}"), ok("2620:4f:8000::10"), None).await;
    let url = format!("http://seen.example:{port}/ip?x=1");
    let resolver = Resolver::scripted(|name| async move {
        assert_eq!(name, "seen.example");
        Ok(vec![
            "127.0.0.1".parse::<IpAddr>().unwrap(),
            "::1".parse().unwrap(),
        ])
    });
    let mut asked = pool(&[("o1", &url)], 1, &[]);
    asked.observation.on_mismatch = OnMismatch::Quarantine;
    let pod = Pod::start_with(&asked, &["127.0.0.0/8", "::1/128"], resolver);
    pod.reaches(Phase::Serving).await;
    assert_eq!(confirmed(&pod.state.egress()), [GOOD, "2620:4f:8000::10"]);
    let head = v6.heads()[0].clone();
    assert!(
        head.starts_with("GET /ip?x=1 ") && head.contains(&format!("seen.example:{port}")),
        "{head}"
    );
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_an_error_of_both_families() {
    let pod = Pod::start(&pool(&[("o1", "http://gone.example/")], 1, PROMISED));
    let egress = pod.rounds(1).await;
    assert_eq!(egress.observers.len(), 2);
    for health in &egress.observers {
        assert_eq!(
            health.error.as_deref(),
            Some("failed to look up the name: the name has no address")
        );
    }
}

/// A pod, and its one observer with a certificate for `cert_for`; the pool's bundle is the CA of it, another, or none.
async fn asked(cert_for: &str, bundle: Bundle) -> (Pod, Scripted) {
    let ca = Ca::new("ca");
    let acceptor = TlsAcceptor::from(Arc::new(server(&ca.issue(cert_for), None, BOTH)));
    let observer = Scripted::start_on("127.0.0.1:0", ok(GOOD), Some(acceptor)).await;
    let mut pool = pool(&[("o1", &format!("https://{}/", observer.address))], 1, PROMISED);
    pool.observation.observers[0].ca_bundle = match bundle {
        Bundle::Own => Some(ca.pem().to_owned()),
        Bundle::Other => Some(Ca::new("other").pem().to_owned()),
        Bundle::None => None,
    };
    (Pod::start(&pool), observer)
}

enum Bundle {
    Own,
    Other,
    None,
}

#[tokio::test]
async fn an_observer_is_known_by_the_bundle_of_the_pool() {
    let (pod, _server) = asked("127.0.0.1", Bundle::Own).await;
    pod.reaches(Phase::Serving).await;
}

#[tokio::test]
async fn another_ca_the_web_roots_or_another_name_are_refused() {
    for (cert_for, bundle) in [
        ("127.0.0.1", Bundle::Other),
        ("127.0.0.1", Bundle::None),
        ("127.0.0.2", Bundle::Own),
    ] {
        let (pod, server) = asked(cert_for, bundle).await;
        let error = pod.error("o1").await;
        assert!(
            error.starts_with("failed to agree on TLS: invalid peer certificate"),
            "{error}"
        );
        assert!(server.heads().is_empty() && pod.state.phase() == Phase::Starting);
    }
}
