//! TLS that the client asks for in a field: made where the rule offers it, and the field is for the proxy alone.

use egressway_core::wire::document::{Action, Content, Mode, PortRange, Rule, UpstreamTls, When};
use egressway_proxy::server::Limits;

use super::{OK_CLOSE, answer, ask, get, proxy, roots, tls};
use crate::pki::{BOTH, Ca, HOST, TlsServer, documents, rule, server, with_content};
use crate::support::{Proxy, accept, dial, origin, start, status, untouched};

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
async fn who_asks_for_tls_that_no_rule_offers_sends_nothing_in_the_clear() {
    let denied = Rule {
        action: Action::Deny,
        hosts: vec!["bad.example".to_owned()],
        ..rule(None, None)
    };
    for (mode, rules, named) in [
        (Mode::Enforce, vec![rule(None, None)], "rule bank does not offer"),
        (Mode::Report, vec![rule(None, None)], "rule bank does not offer"),
        (Mode::Report, vec![denied.clone()], "no rule offers"),
        (Mode::Open, vec![denied], "no rule offers"),
    ] {
        let content = Content {
            mode,
            rules,
            ..Content::default()
        };
        let proxy = start(with_content(content, &[]), Limits::default()).await;
        proxy.names.set(HOST, &[&["127.0.0.1"]]);
        let listener = origin().await;
        let port = listener.local_addr().unwrap().port();
        for field in ["X-Egressway-TLS: true\r\n", "X-WhSentry-TLS: 1\r\n"] {
            for request in [
                get(HOST, port, field),
                format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: x\r\n{field}\r\n"),
            ] {
                let answer = proxy.raw(request.as_bytes()).await;
                assert_eq!(status(&answer), 403, "{mode:?}: {answer}");
                assert!(
                    answer.contains("X-Egressway-Reason: tls_not_offered\r\n") && answer.contains(named),
                    "{mode:?}: {answer}"
                );
            }
        }
        assert!(untouched(&listener).await, "{mode:?}");
        assert_plain(&proxy, "X-Egressway-TLS: false\r\n").await;
    }
}

#[tokio::test]
async fn who_asks_for_tls_and_names_no_port_is_not_told_to_open_port_80() {
    let secure = Rule {
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        ..rule(None, None)
    };
    let proxy = start(documents(secure, &[]), Limits::default()).await;
    let request = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: x\r\nX-Egressway-TLS: true\r\n\r\n");
    let answer = proxy.raw(request.as_bytes()).await;
    assert!(answer.contains("rule bank does not offer"), "{answer}");
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
