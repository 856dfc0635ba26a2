//! The certificate that the proxy shows: only where the rule has one, whole, and rotated without a failure.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use socket2::SockRef;

use super::{answer, ask, asked, assert_refused, get, proxy, refused, roots, tls, with_certificate};
use crate::pki::{BOTH, Ca, HOST, Identity, TlsServer, documents, rule, secret, server};
use crate::support::{OK, dial, origin, status, untouched};

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_rule_has_one() {
    let (ca, clients, strangers) = (Ca::new("ca"), Ca::new("clients"), Ca::new("strangers"));
    let identity = ca.issue(HOST);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let origin = TlsServer::new(server(&identity, Some(&clients), versions)).await;
        let good = clients.issue("client.example");
        let proxy_good = proxy(with_certificate(), &[roots(&ca), ("client", good.secret())]).await;
        let mut client = dial(proxy_good.address).await;
        let request = get(HOST, origin.port(), "");
        let serve = async {
            let mut stream = origin.accept().await;
            answer(&mut stream, OK).await;
            assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 1);
            stream
        };
        let (answered, _stream) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{answered}");

        let none = proxy(tls(), &[roots(&ca), ("client", good.secret())]).await;
        let answer = asked(&none, &origin).await;
        assert_refused(&answer, "tls_client_certificate_required", 502);
        assert!(answer.contains("error=tls_alert_received; alert-id="), "{answer}");

        let bad = strangers.issue("client.example");
        let bad = proxy(with_certificate(), &[roots(&ca), ("client", bad.secret())]).await;
        let answer = asked(&bad, &origin).await;
        assert_refused(&answer, "tls_client_certificate_refused", 502);
    }
}

#[tokio::test]
async fn what_the_rule_names_and_is_not_there_refuses_and_nobody_is_dialled() {
    const CANARY: &str = "cAnArYcAnArY";
    let ca = Ca::new("ca");
    let (one, two) = (ca.issue("one.example"), ca.issue("two.example"));
    let mixed = secret(&[("tls.crt", &one.chain), ("tls.key", &two.key)]);
    let broken_key = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    let certificate = "client_certificate_unavailable";
    for (secrets, code) in [
        (vec![roots(&ca)], certificate),
        (vec![roots(&ca), ("client", secret(&[]))], certificate),
        (
            vec![roots(&ca), ("client", secret(&[("tls.crt", &one.chain)]))],
            certificate,
        ),
        (vec![roots(&ca), ("client", mixed)], certificate),
        (
            vec![
                roots(&ca),
                (
                    "client",
                    secret(&[("tls.crt", &one.chain), ("tls.key", &broken_key)]),
                ),
            ],
            certificate,
        ),
        (
            vec![
                roots(&ca),
                ("client", secret(&[("tls.crt", CANARY), ("tls.key", &one.key)])),
            ],
            certificate,
        ),
        (vec![("client", one.secret())], "roots_unavailable"),
        (
            vec![("client", one.secret()), ("ca", secret(&[]))],
            "roots_unavailable",
        ),
        (
            vec![("client", one.secret()), ("ca", secret(&[("ca.crt", CANARY)]))],
            "roots_unavailable",
        ),
    ] {
        let listener = origin().await;
        let port = listener.local_addr().unwrap().port();
        let proxy = proxy(with_certificate(), &secrets).await;
        let answer = proxy.raw(get(HOST, port, "").as_bytes()).await;
        assert_refused(&answer, code, 500);
        assert!(untouched(&listener).await);
        let line = proxy.logged(&[code, "Secret "]).await;
        for private in [CANARY, &one.key[30..60], "PRIVATE KEY"] {
            assert!(
                !line.contains(private) && !answer.contains(private),
                "{line} {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_rotated_under_load_without_a_failed_request() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 25;
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let identities: Vec<Identity> = (0..4).map(|_| clients.issue("client.example")).collect();
    let origin = Arc::new(TlsServer::new(server(&ca.issue(HOST), Some(&clients), BOTH)).await);
    let port = origin.port();
    let seen: Arc<Mutex<HashSet<Vec<u8>>>> = Arc::default();
    let serving = tokio::spawn({
        let (origin, seen) = (Arc::clone(&origin), Arc::clone(&seen));
        async move {
            loop {
                let Ok(mut stream) = origin.try_accept().await else {
                    continue;
                };
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                    seen.lock().unwrap().insert(shown);
                    while !answer(&mut stream, OK).await.is_empty() {}
                });
            }
        }
    });
    let proxy = Arc::new(
        proxy(
            with_certificate(),
            &[roots(&ca), ("client", identities[0].secret())],
        )
        .await,
    );
    let load: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move {
                let mut client = dial(proxy.address).await;
                for _ in 0..REQUESTS {
                    let answered = ask(&mut client, &get(HOST, port, "")).await;
                    assert_eq!(status(&answered), 200, "{answered}");
                }
            })
        })
        .collect();
    for identity in &identities {
        proxy.state.set_in_force(documents(
            rule(Some(with_certificate()), None),
            &[roots(&ca), ("client", identity.secret())],
        ));
        let before = seen.lock().unwrap().len();
        let mut client = dial(proxy.address).await;
        assert_eq!(status(&ask(&mut client, &get(HOST, port, "")).await), 200);
        assert!(before <= seen.lock().unwrap().len());
    }
    for client in load {
        client.await.unwrap();
    }
    serving.abort();
    assert_eq!(
        seen.lock().unwrap().len(),
        identities.len(),
        "each certificate was shown"
    );
}

/// With TLS 1.3 the verdict comes behind the handshake, and a destination that resets its connection takes it back.
#[tokio::test]
async fn a_destination_that_asked_for_a_certificate_and_closes_without_a_word_is_told_apart() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for (asks, code) in [
        (true, "tls_client_certificate_required"),
        (false, "upstream_closed"),
    ] {
        let (chain, key) = ca.issue(HOST).parts();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(clients.store()), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let builder = if asks {
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let origin = TlsServer::new(builder.with_single_cert(chain, key).unwrap()).await;
        let proxy = proxy(tls(), &[roots(&ca)]).await;
        let serve = async {
            loop {
                let stream = origin.accept().await;
                SockRef::from(stream.get_ref().0)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        };
        let answer = refused(&proxy, origin.port(), serve).await;
        assert_refused(&answer, code, 502);
    }
}
