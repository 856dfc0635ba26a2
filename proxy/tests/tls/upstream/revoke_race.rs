//! Documents that change while a request waits for a TLS handshake: what they do not permit any more is not sent, and what
//! they permit on other terms is sent on those.

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{OK_CLOSE, answer, ask, get, proxy, roots, tls, with_certificate};
use crate::pki::{BOTH, Ca, HOST, TlsServer, documents, rule, server};
use crate::support::{DEADLINE, dial, status};

#[tokio::test]
async fn what_is_revoked_during_the_handshake_gets_no_byte() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let mut client = dial(proxy.address).await;
    let mut other = rule(Some(tls()), None);
    other.hosts = vec!["other.example".to_owned()];
    let revoked = documents(other, &[roots(&ca)]);
    let serve = async {
        let mut stream = origin
            .try_accept_after(|| proxy.state.set_in_force(revoked))
            .await
            .unwrap();
        let mut got = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut got)).await.unwrap();
        got
    };
    let request = get(HOST, origin.port(), "");
    let (got, sent) = tokio::join!(ask(&mut client, &request), serve);
    assert!(status(&got) == 403 && got.contains("no_rule_matches"), "{got}");
    assert!(sent.is_empty(), "{sent:?}");
}

#[tokio::test]
async fn other_terms_during_the_handshake_are_those_that_it_goes_out_on() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let mut client = dial(proxy.address).await;
    let certificate = ("client", clients.issue("new.example").secret());
    let changed = documents(rule(Some(with_certificate()), None), &[roots(&ca), certificate]);
    let serve = async {
        let mut first = origin
            .try_accept_after(|| proxy.state.set_in_force(changed))
            .await
            .unwrap();
        let mut got = Vec::new();
        let _ = timeout(DEADLINE, first.read_to_end(&mut got)).await.unwrap();
        assert!(got.is_empty(), "sent on the old terms");
        answer(&mut origin.accept().await, OK_CLOSE).await
    };
    let request = get(HOST, origin.port(), "");
    let (got, sent) = tokio::join!(ask(&mut client, &request), serve);
    assert_eq!(status(&got), 200, "{got}");
    assert!(sent.starts_with("GET /hook HTTP/1.1"), "{sent}");
}
