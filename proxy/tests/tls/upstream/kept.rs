//! What is kept of one connection for the next: sessions and connections, as long as name, certificate and roots are
//! the same.

use std::sync::Arc;

use egressway_core::wire::document::Secret;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::AsyncWriteExt as _;

use super::{answer, ask, get, once, proxy, roots, tls, with_certificate};
use crate::pki::{BOTH, Ca, HOST, Identity, TlsServer, documents, rule, secret, server};
use crate::support::{OK, Proxy, dial, status};

/// A ticket is good for one handshake: there must be as many as there are handshakes at one time.
#[tokio::test]
async fn sessions_are_resumed_by_many_connections_at_one_time() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, &[&TLS13])).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let wave = || futures::future::join_all((0..16).map(|_| once(&proxy, &origin)));
    wave().await;
    assert_eq!(wave().await, [HandshakeKind::Resumed; 16]);
    let line = proxy.logged(&["\"tls.resumed\":true"]).await;
    assert!(!line.contains("egress.signature"), "{line}");
}

#[tokio::test]
async fn sessions_are_resumed_until_the_certificate_or_the_roots_change() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let (old, new) = (clients.issue("old.example"), clients.issue("new.example"));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let origin = TlsServer::new(server(&ca.issue(HOST), Some(&clients), versions)).await;
        let put = |proxy: &Proxy, identity: &Identity, roots: Secret| {
            let secrets = [("ca", roots), ("client", identity.secret())];
            proxy
                .state
                .set_in_force(documents(rule(Some(with_certificate()), None), &secrets));
        };
        let proxy = proxy(with_certificate(), &[roots(&ca), ("client", old.secret())]).await;
        assert_eq!(once(&proxy, &origin).await, HandshakeKind::Full);
        assert_eq!(once(&proxy, &origin).await, HandshakeKind::Resumed);
        put(&proxy, &old, roots(&ca).1);
        assert_eq!(
            once(&proxy, &origin).await,
            HandshakeKind::Resumed,
            "documents with the same Secrets"
        );
        put(&proxy, &new, roots(&ca).1);
        assert_eq!(
            once(&proxy, &origin).await,
            HandshakeKind::Full,
            "another certificate"
        );
        let more = format!("{}{}", ca.pem(), clients.pem());
        put(&proxy, &new, secret(&[("ca.crt", &more)]));
        assert_eq!(once(&proxy, &origin).await, HandshakeKind::Full, "other roots");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_by_the_same_name_certificate_and_roots_only() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let (identity, other) = (ca.issue(HOST), ca.issue("other.example"));
    let config = two_names(&identity, &other, &clients);
    let origin = TlsServer::new(config).await;
    let client_identity = clients.issue("old.example");
    let proxy = proxy(
        with_certificate(),
        &[roots(&ca), ("client", client_identity.secret())],
    )
    .await;
    proxy.names.set("other.example", &[&["127.0.0.1"]]);
    let mut client = dial(proxy.address).await;
    let port = origin.port();
    // The first two share a connection.
    let serve = async {
        let mut stream = origin.accept().await;
        answer(&mut stream, OK).await;
        answer(&mut stream, OK).await;
        stream
    };
    let twice = async {
        let first = ask(&mut client, &get(HOST, port, "")).await;
        let second = ask(&mut client, &get(HOST, port, "")).await;
        (status(&first), status(&second))
    };
    let (statuses, _kept) = tokio::join!(twice, serve);
    assert_eq!(statuses, (200, 200));
    // Each of these needs one of its own, though one waits.
    let next = clients.issue("new.example");
    let more = secret(&[("ca.crt", &format!("{}{}", ca.pem(), clients.pem()))]);
    let changes: [(&str, Vec<(&str, Secret)>); 3] = [
        (
            "other.example",
            vec![roots(&ca), ("client", client_identity.secret())],
        ),
        (HOST, vec![roots(&ca), ("client", next.secret())]),
        (HOST, vec![("ca", more), ("client", client_identity.secret())]),
    ];
    let mut kept = Vec::new();
    for (host, secrets) in changes {
        proxy
            .state
            .set_in_force(documents(rule(Some(with_certificate()), None), &secrets));
        let request = get(host, port, "");
        let serve = async {
            let mut stream = origin.accept().await;
            answer(&mut stream, OK).await;
            stream
        };
        let (answered, stream) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{host}");
        kept.push(stream);
    }
}

/// A server with a certificate for each of two names.
fn two_names(one: &Identity, two: &Identity, clients: &Ca) -> ServerConfig {
    use rustls::server::ResolvesServerCertUsingSni;
    let mut resolver = ResolvesServerCertUsingSni::new();
    for (name, identity) in [(HOST, one), ("other.example", two)] {
        resolver.add(name, identity.certified()).unwrap();
    }
    let mut config = server(one, Some(clients), BOTH);
    config.cert_resolver = Arc::new(resolver);
    config
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_meanwhile_costs_nobody_a_request() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let mut client = dial(proxy.address).await;
    for _ in 0..3 {
        let request = get(HOST, origin.port(), "");
        let serve = async {
            let mut stream = origin.accept().await;
            answer(&mut stream, OK).await;
            // It said nothing of an end, and ends all the same.
            stream.shutdown().await.unwrap();
        };
        let (answered, ()) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{answered}");
    }
}
