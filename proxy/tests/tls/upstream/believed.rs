//! Who is believed: roots, certificates, versions; and what each failure is called.

use std::time::Duration;

use egressway_core::wire::document::{TlsVersion, UpstreamTls};
use egressway_proxy::server::Limits;
use egressway_proxy::upstream_tls::Roots;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use rustls::version::TLS12;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{OK_CLOSE, answer, ask, asked, assert_refused, get, once, proxy, refused, roots, tls};
use crate::pki::{BOTH, Ca, HOST, Identity, TlsServer, documents, rule, secret, self_signed, server};
use crate::support::{OK, accept, dial, origin, read_exact, start, start_with, status};

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
        let answer = asked(&proxy, &origin).await;
        assert_refused(&answer, code, 502);
        assert!(answer.contains("; error=tls_certificate_error; "), "{answer}");
    }
    proxy
        .logged(&["tls_certificate_wrong_name", "other.example"])
        .await;
}

/// Where the code is the same, the sentence is not.
#[tokio::test]
async fn what_else_is_wrong_with_a_certificate_is_told() {
    let ca = Ca::new("ca");
    let table: &[(Identity, &str)] = &[
        (
            ca.issue_with(HOST, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            "certificate is not for servers",
        ),
        (
            ca.issue_with(HOST, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            "certificate of a CA",
        ),
    ];
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    for (identity, part) in table {
        let origin = TlsServer::new(server(identity, None, BOTH)).await;
        let answer = asked(&proxy, &origin).await;
        assert_refused(&answer, "tls_certificate_invalid", 502);
        let (line, rest) = answer.split_once("\r\n").unwrap();
        let (_, body) = rest.split_once("\r\n\r\n").unwrap();
        for told in [line, body] {
            assert!(told.contains(part), "{part}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_public_roots_do_not_vouch_for_a_private_ca_and_a_private_ca_replaces_them() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(UpstreamTls::default(), &[roots(&ca)]).await;
    let answer = asked(&proxy, &origin).await;
    assert_refused(&answer, "tls_certificate_unknown_issuer", 502);
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
    let answer = asked(&proxy, &stranger).await;
    assert_refused(&answer, "tls_certificate_unknown_issuer", 502);
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
    let refusal = asked(&strict, &old).await;
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
