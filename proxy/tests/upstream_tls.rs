//! TLS that the proxy makes towards origins: who is believed, what is shown, what is kept, and what each failure is called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egressway_core::wire::document::{Encoding, Scheme, Secret, Signing, TlsVersion, UpstreamTls, When};
use egressway_proxy::server::Limits;
use egressway_proxy::signing::key::HmacKey;
use egressway_proxy::signing::verify;
use egressway_proxy::upstream_tls::Roots;
use pki::{BOTH, Ca, HOST, Identity, TlsServer, documents, rule, secret, self_signed, server};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use support::{Proxy, accept, dial, origin, read_all, read_exact, read_head, start, start_with, status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// TLS with the roots of Secret `ca`.
fn tls() -> UpstreamTls {
    UpstreamTls {
        ca: Some("ca".to_owned()),
        ..UpstreamTls::default()
    }
}

fn with_certificate() -> UpstreamTls {
    UpstreamTls {
        client_certificate: Some("client".to_owned()),
        ..tls()
    }
}

fn roots(ca: &Ca) -> (&'static str, Secret) {
    ("ca", secret(&[("ca.crt", ca.pem())]))
}

async fn proxy(tls: UpstreamTls, secrets: &[(&str, Secret)]) -> Proxy {
    let limits = Limits {
        connect: Duration::from_secs(5),
        ..Limits::default()
    };
    let proxy = start(documents(rule(Some(tls), None), secrets), limits).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    proxy
}

fn get(host: &str, port: u16, fields: &str) -> String {
    format!("GET http://{host}:{port}/hook HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

/// Serves requests with one answer each, until the connection ends.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, with: &[u8]) -> String {
    let head = read_head(stream).await;
    if !head.is_empty() {
        let _ = stream.write_all(with).await;
        let _ = stream.flush().await;
    }
    head
}

async fn ask(client: &mut TcpStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = read_head(client).await;
    if let Some(length) = head.split("Content-Length: ").nth(1) {
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        head.push_str(&String::from_utf8(read_exact(client, length).await).unwrap());
    }
    head
}

#[tokio::test]
async fn a_plain_request_reaches_an_origin_over_verified_tls() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let request = get(
        HOST,
        origin.port(),
        "X-Egressway-TLS: true\r\nX-WhSentry-TLS: 1\r\nX-WhSentry-ClientCert: a\r\n",
    );
    let mut client = dial(proxy.address).await;
    let serve = async {
        let mut stream = origin.accept().await;
        let head = answer(&mut stream, OK).await;
        let (_, tls) = stream.get_ref();
        assert_eq!(tls.server_name(), Some(HOST));
        assert_eq!(tls.alpn_protocol(), None, "the server offered none");
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = tls.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
        (head, stream)
    };
    let (answered, (head, _stream)) = tokio::join!(ask(&mut client, &request), serve);
    assert!(answered.ends_with("\r\n\r\nok"), "{answered}");
    assert!(
        head.starts_with("GET /hook HTTP/1.1\r\nHost: good.example:"),
        "{head}"
    );
    assert!(
        !head.to_ascii_lowercase().contains("whsentry") && !head.contains("X-Egressway"),
        "{head}"
    );
}

async fn refused(proxy: &Proxy, port: u16, serve: impl Future<Output = ()>) -> String {
    let request = get(HOST, port, "Connection: close\r\n");
    let asked = async { proxy.raw(request.as_bytes()).await };
    let mut serve = std::pin::pin!(serve);
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        () = &mut serve => asked.await,
    }
}

#[track_caller]
fn assert_refused(answer: &str, code: &str, expected: u16) {
    let reason = format!("X-Egressway-Reason: {code}\r\n");
    assert!(
        answer.contains(&reason) && status(answer) == expected,
        "{code}: {answer}"
    );
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_name() {
    let (ca, other, namesake) = (Ca::new("ca"), Ca::new("other"), Ca::new("ca"));
    let revoked = ca.issue(HOST);
    let list = ca.revoke(&revoked);
    let table: &[(Identity, &str)] = &[
        (ca.issue_between(HOST, 2020, 2021), "tls_certificate_expired"),
        (
            ca.issue_between(HOST, 2090, 2091),
            "tls_certificate_not_yet_valid",
        ),
        (ca.issue("other.example"), "tls_certificate_wrong_name"),
        (other.issue(HOST), "tls_certificate_unknown_issuer"),
        (self_signed(HOST, false), "tls_certificate_self_signed"),
        (self_signed(HOST, true), "tls_certificate_self_signed"),
        (revoked, "tls_certificate_revoked"),
        (namesake.issue(HOST), "tls_certificate_bad_signature"),
    ];
    let trusted = ("ca", secret(&[("ca.crt", ca.pem()), ("ca.crl", &list)]));
    let proxy = proxy(tls(), &[trusted]).await;
    for (identity, code) in table {
        let origin = TlsServer::new(server(identity, None, BOTH)).await;
        let serve = async { drop(origin.try_accept().await) };
        let answer = refused(&proxy, origin.port(), serve).await;
        assert_refused(&answer, code, 502);
        assert!(answer.contains("; error=tls_certificate_error; "), "{answer}");
    }
    proxy
        .logged(&["tls_certificate_wrong_name", "other.example"])
        .await;
}

#[tokio::test]
async fn a_revocation_list_past_its_end_refuses_all() {
    let ca = Ca::new("ca");
    let (good, revoked) = (ca.issue(HOST), ca.issue("other.example"));
    let origin = TlsServer::new(server(&good, None, BOTH)).await;
    for (end, code) in [(2099, None), (2021, Some("roots_unavailable"))] {
        let list = ca.revoke_until(&revoked, end);
        let trusted = ("ca", secret(&[("ca.crt", ca.pem()), ("ca.crl", &list)]));
        let proxy = proxy(tls(), &[trusted]).await;
        match code {
            None => assert_eq!(once(&proxy, &origin).await, HandshakeKind::Full),
            Some(code) => {
                let answer = refused(&proxy, origin.port(), async { drop(origin.try_accept().await) }).await;
                assert_refused(&answer, code, 500);
            }
        }
    }
}

#[tokio::test]
async fn the_public_roots_do_not_vouch_for_a_private_ca_and_a_private_ca_replaces_them() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(UpstreamTls::default(), &[roots(&ca)]).await;
    let answer = refused(&proxy, origin.port(), async { drop(origin.try_accept().await) }).await;
    assert_refused(&answer, "tls_certificate_unknown_issuer", 502);
}

#[tokio::test]
async fn whatever_does_not_speak_our_tls_has_its_name() {
    let old_hello: &[u8] = &[
        22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0x2f, 0,
    ];
    let table: &[(&[u8], &str, u16, &str)] = &[
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "tls_not_spoken",
            502,
            "tls_protocol_error",
        ),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            "tls_not_spoken",
            502,
            "tls_protocol_error",
        ),
        (b"", "tls_closed", 502, "connection_terminated"),
        (
            &[21, 3, 1, 0, 2, 2, 70],
            "tls_version_unsupported",
            502,
            "tls_alert_received; alert-id=70; alert-message=protocol_version",
        ),
        (old_hello, "tls_version_unsupported", 502, "tls_protocol_error"),
        (
            &[21, 3, 3, 0, 2, 2, 40],
            "tls_no_common_cipher",
            502,
            "tls_alert_received; alert-id=40; alert-message=handshake_failure",
        ),
        (
            &[21, 3, 3, 0, 2, 2, 112],
            "tls_alert_received",
            502,
            "tls_alert_received; alert-id=112; alert-message=unrecognized_name",
        ),
    ];
    let ca = Ca::new("ca");
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    for (bytes, code, expected, error) in table {
        let listener = origin().await;
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let mut stream = accept(&listener).await;
            let hello = read_exact(&mut stream, 5).await;
            assert_eq!(hello[0], 22, "a TLS handshake");
            let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            read_exact(&mut stream, length).await;
            stream.write_all(bytes).await.unwrap();
            if bytes.is_empty() {
                return;
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let answer = refused(&proxy, port, serve).await;
        assert_refused(&answer, code, *expected);
        assert!(answer.contains(&format!("; error={error}; details=")), "{answer}");
    }
}

#[tokio::test]
async fn a_handshake_has_what_is_left_of_the_time_to_connect() {
    let ca = Ca::new("ca");
    let limits = Limits {
        connect: Duration::from_millis(200),
        ..Limits::default()
    };
    let proxy = start(documents(rule(Some(tls()), None), &[roots(&ca)]), limits).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    let listener = origin().await;
    let port = listener.local_addr().unwrap().port();
    let serve = async {
        let mut stream = accept(&listener).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    assert_refused(&refused(&proxy, port, serve).await, "tls_timeout", 504);
}

#[tokio::test]
async fn versions_below_the_rules_lowest_are_not_spoken() {
    let ca = Ca::new("ca");
    let identity = ca.issue(HOST);
    let strict = UpstreamTls {
        min_version: TlsVersion::V13,
        ..tls()
    };
    let old = TlsServer::new(server(&identity, None, &[&TLS12])).await;
    let strict = proxy(strict, &[roots(&ca)]).await;
    let refusal = refused(&strict, old.port(), async { drop(old.try_accept().await) }).await;
    assert_refused(&refusal, "tls_version_unsupported", 502);
    let lenient = proxy(tls(), &[roots(&ca)]).await;
    let mut client = dial(lenient.address).await;
    let request = get(HOST, old.port(), "");
    let serve = async {
        let mut stream = old.accept().await;
        answer(&mut stream, OK).await;
        assert_eq!(
            stream.get_ref().1.protocol_version(),
            Some(ProtocolVersion::TLSv1_2)
        );
        stream
    };
    let (answered, _stream) = tokio::join!(ask(&mut client, &request), serve);
    assert_eq!(status(&answered), 200);
}

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
        let answer = refused(&none, origin.port(), async { drop(origin.try_accept().await) }).await;
        assert_refused(&answer, "tls_client_certificate_required", 502);
        assert!(answer.contains("error=tls_alert_received; alert-id="), "{answer}");

        let bad = strangers.issue("client.example");
        let bad = proxy(with_certificate(), &[roots(&ca), ("client", bad.secret())]).await;
        let answer = refused(&bad, origin.port(), async { drop(origin.try_accept().await) }).await;
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
        assert!(support::untouched(&listener).await);
        let line = proxy.logged(&[code, "Secret "]).await;
        for private in [CANARY, &one.key[30..60], "PRIVATE KEY"] {
            assert!(
                !line.contains(private) && !answer.contains(private),
                "{line} {answer}"
            );
        }
    }
}

#[tokio::test]
async fn broken_roots_leave_the_last_good_ones_and_missing_ones_do_not() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    for (secrets, expected) in [
        (vec![roots(&ca)], 200),
        (vec![("ca", secret(&[("ca.crt", "nonsense")]))], 200),
        (vec![("ca", secret(&[]))], 500),
        (vec![], 500),
    ] {
        proxy
            .state
            .set_in_force(documents(rule(Some(tls()), None), &secrets));
        let serve = async {
            let mut stream = origin.accept().await;
            answer(&mut stream, OK_CLOSE).await;
        };
        let answer = refused(&proxy, origin.port(), serve).await;
        assert_eq!(status(&answer), expected, "{answer}");
    }
}

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
        "X-Egressway-TLS: true",
        "x-egressway-tls: TRUE",
        "X-Egressway-TLS: 1",
        "X-Egressway-TLS: yes",
        "X-Egressway-TLS: false\r\nX-Egressway-TLS: true",
        "X-WhSentry-TLS: yes",
        "X-WhSentry-TLS: 1",
    ] {
        let mut client = dial(proxy.address).await;
        let request = get(HOST, secure.port(), &format!("{field}\r\nConnection: close\r\n"));
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
        let listener = origin().await;
        let port = listener.local_addr().unwrap().port();
        let mut client = dial(proxy.address).await;
        let request = get(HOST, port, &format!("{field}Connection: close\r\n"));
        let serve = async { answer(&mut accept(&listener).await, OK_CLOSE).await };
        let (answered, head) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{field}: {answered}");
        assert!(!head.to_ascii_lowercase().contains("-tls"), "{head}");
    }
}

#[tokio::test]
async fn asking_for_tls_changes_nothing_that_no_rule_offers() {
    let proxy = start(documents(rule(None, None), &[]), Limits::default()).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    for field in ["X-Egressway-TLS: true\r\n", "X-WhSentry-TLS: 1\r\n"] {
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
}

/// Answers one request on a new connection; how the handshake went.
async fn once(proxy: &Proxy, origin: &TlsServer) -> HandshakeKind {
    let mut client = dial(proxy.address).await;
    let request = get(HOST, origin.port(), "Connection: close\r\n");
    let serve = async {
        let mut stream = origin.accept().await;
        answer(&mut stream, OK_CLOSE).await;
        stream.shutdown().await.unwrap();
        stream.get_ref().1.handshake_kind().unwrap()
    };
    let (answered, kind) = tokio::join!(ask(&mut client, &request), serve);
    assert_eq!(status(&answered), 200, "{answered}");
    kind
}

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

#[tokio::test]
async fn an_answer_that_tls_did_not_end_is_never_complete() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it";
    for ended in [true, false] {
        let mut client = dial(proxy.address).await;
        let request = get(HOST, origin.port(), "Connection: close\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut stream = origin.accept().await;
        answer(&mut stream, head).await;
        if ended {
            stream.shutdown().await.unwrap();
        }
        // Without close_notify the socket's end says nothing: anybody on the way could have made it.
        drop(stream);
        let (bytes, clean) = read_all(&mut client).await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("all of it"), "{text}");
        assert_eq!((text.ends_with("0\r\n\r\n"), clean), (ended, ended), "{text}");
        let end = if ended { "completed" } else { "origin_reset" };
        proxy.logged(&[end, "\"allow\""]).await;
    }
}

#[tokio::test]
async fn a_protocol_can_be_changed_behind_tls() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let mut client = dial(proxy.address).await;
    let request = get(HOST, origin.port(), "Connection: upgrade\r\nUpgrade: echo\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut stream = origin.accept().await;
    let switch: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly";
    answer(&mut stream, switch).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(read_exact(&mut client, 5).await, b"early");
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_exact(&mut stream, 4).await, b"ping");
    stream.write_all(b"pong").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(read_exact(&mut client, 4).await, b"pong");
}

#[tokio::test]
async fn roots_in_a_file_count_for_rules_that_name_none() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("roots.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let in_force = documents(rule(Some(UpstreamTls::default()), None), &[]);
    let roots = Roots::from_file(file).unwrap();
    let proxy = start_with(in_force, Limits::default(), |server| server.with_roots(roots)).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    assert_eq!(once(&proxy, &origin).await, HandshakeKind::Full);
    let stranger = TlsServer::new(server(&other.issue(HOST), None, BOTH)).await;
    let answer = refused(&proxy, stranger.port(), async {
        drop(stranger.try_accept().await)
    })
    .await;
    assert_refused(&answer, "tls_certificate_unknown_issuer", 502);
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

#[tokio::test]
async fn a_megabyte_goes_both_ways_signed_and_over_tls() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let signing = Signing {
        scheme: Scheme::HmacSha256,
        secrets: pki::refs(&["key"]),
        header: Some("X-Signature".to_owned()),
        encoding: Encoding::Hex,
    };
    let secrets = [roots(&ca), ("key", secret(&[("secret", "k")]))];
    let proxy = start(
        documents(rule(Some(tls()), Some(signing)), &secrets),
        Limits::default(),
    )
    .await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    let body: Vec<u8> = (0..1024 * 1024_u32)
        .map(|at| at.to_le_bytes()[usize::from(at % 2 == 0)])
        .collect();
    let head = format!(
        "POST http://{HOST}:{}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        origin.port(),
        body.len()
    );
    let mut client = dial(proxy.address).await;
    let send = async {
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.unwrap();
        let _ = read_head(&mut client).await;
        read_exact(&mut client, body.len()).await
    };
    let echo = async {
        let mut stream = origin.accept().await;
        let head = read_head(&mut stream).await;
        let got = read_exact(&mut stream, body.len()).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&got).await.unwrap();
        stream.flush().await.unwrap();
        (head, got, stream)
    };
    let (back, (head, got, _stream)) = tokio::join!(send, echo);
    assert!(back == body && got == body, "every byte arrives");
    let (_, signature) = head
        .lines()
        .find_map(|line| line.split_once("X-Signature: "))
        .unwrap();
    let headers = [("X-Signature", signature)];
    assert_eq!(
        verify::hmac_sha256(&HmacKey::raw("k").unwrap(), &headers, Encoding::Hex, &body),
        Ok(())
    );
    proxy
        .logged(&[
            "\"completed\"",
            "1048576",
            "\"tls.protocol.name\":\"tls\",\"tls.protocol.version\":\"1.3\",\"tls.resumed\":false",
            "\"egress.signature\":\"HMAC-SHA256\"",
        ])
        .await;
}

#[tokio::test]
async fn without_a_port_it_is_443_and_host_does_not_say_so() {
    let ca = Ca::new("ca");
    // An address of its own: port 443 of the usual one may be somebody's.
    let origin = match TlsServer::at("127.44.3.1:443", server(&ca.issue(HOST), None, BOTH)).await {
        Ok(origin) => origin,
        Err(error) => {
            eprintln!("not tested, port 443 is out of reach: {error}");
            return;
        }
    };
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    proxy.names.set(HOST, &[&["127.44.3.1"]]);
    for authority in [HOST, "good.example:443"] {
        let mut client = dial(proxy.address).await;
        let request =
            format!("GET http://{authority}/hook?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let serve = async { answer(&mut origin.accept().await, OK_CLOSE).await };
        let (answered, head) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&answered), 200, "{answered}");
        assert!(
            head.starts_with("GET /hook?a HTTP/1.1\r\nHost: good.example\r\n"),
            "{head}"
        );
    }
}
