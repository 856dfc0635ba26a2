//! TLS that the client asks for in a field: made where the rule offers it, and the field is for the proxy alone.

use egressway_core::wire::document::{UpstreamTls, When};
use egressway_proxy::server::Limits;

use super::{OK_CLOSE, answer, ask, get, proxy, roots, tls};
use crate::pki::{BOTH, Ca, HOST, TlsServer, documents, rule, server};
use crate::support::{Proxy, accept, dial, origin, start, status};

#[tokio::test]
async fn tls_on_request_is_made_for_those_who_ask_and_never_left_away() {
    let ca = Ca::new("ca");
    let on_request = UpstreamTls {
        when: When::OnRequest,
        ..tls()
    };
    let proxy = proxy(on_request, &[roots(&ca)]).await;
    let secure = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    for field in [
        "X-Egressway-TLS: true\r\n",
        "x-egressway-tls: TRUE\r\n",
        "X-Egressway-TLS: 1\r\n",
        "X-Egressway-TLS: yes\r\n",
        "X-Egressway-TLS: false\r\nX-Egressway-TLS: true\r\n",
        "X-WhSentry-TLS: yes\r\n",
        "X-WhSentry-TLS: 1\r\n",
    ] {
        let mut client = dial(proxy.address).await;
        let request = get(HOST, secure.port(), &format!("{field}Connection: close\r\n"));
        let serve = async { answer(&mut secure.accept().await, OK_CLOSE).await };
        let (answered, head) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{field}: {answered}");
        assert!(!head.to_ascii_lowercase().contains("-tls"), "{head}");
    }
    for field in [
        "",
        "X-Egressway-TLS: false\r\n",
        "X-Egressway-TLS: 0\r\n",
        "X-Egressway-TLS:\r\n",
        "X-WhSentry-TLS: 0\r\n",
        "X-WhSentry-TLS: False\r\n",
    ] {
        assert_plain(&proxy, field).await;
    }
}

#[tokio::test]
async fn asking_for_tls_changes_nothing_that_no_rule_offers() {
    let proxy = start(documents(rule(None, None), &[]), Limits::default()).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    for field in ["X-Egressway-TLS: true\r\n", "X-WhSentry-TLS: 1\r\n"] {
        assert_plain(&proxy, field).await;
    }
}

/// Asks with a field, and is answered by an origin without TLS, which sees nothing of the field.
async fn assert_plain(proxy: &Proxy, field: &str) {
    let listener = origin().await;
    let port = listener.local_addr().unwrap().port();
    let mut client = dial(proxy.address).await;
    let request = get(HOST, port, &format!("{field}Connection: close\r\n"));
    let serve = async { answer(&mut accept(&listener).await, OK_CLOSE).await };
    let (answered, head) = tokio::join!(ask(&mut client, &request), serve);
    assert_eq!(status(&answered), 200, "{field}: {answered}");
    assert!(
        head.starts_with("GET /hook ") && !head.to_ascii_lowercase().contains("-tls"),
        "{head}"
    );
}
