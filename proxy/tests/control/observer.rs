//! The observer as users run it: a process that answers with the peer's address, whatever the request claims.

use std::net::SocketAddr;
use std::sync::Arc;

use egressway_proxy::args::ObserverArgs;
use egressway_proxy::observer::{self, Observer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::http::{body, get, raw};
use crate::support::{dial, status};

fn args(listen: &[&str]) -> ObserverArgs {
    ObserverArgs {
        listen: listen.iter().map(|addr| addr.parse().unwrap()).collect(),
        tls_cert: None,
        tls_key: None,
    }
}

fn start(args: &ObserverArgs) -> (Vec<SocketAddr>, AbortOnDropHandle<std::io::Result<()>>) {
    let observer = Observer::bind(args).unwrap();
    let addresses = observer.addresses().unwrap();
    (
        addresses,
        AbortOnDropHandle::new(tokio::spawn(observer.run(CancellationToken::new()))),
    )
}

#[tokio::test]
async fn it_answers_with_the_peer_and_nothing_that_the_request_says() {
    let (addresses, _task) = start(&args(&["127.0.0.1:0"]));
    let answer = raw(
        addresses[0],
        b"GET /any?x HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.31.196.1\r\nForwarded: for=192.31.196.1\r\n\
          X-Real-IP: 192.31.196.1\r\nTrue-Client-IP: 192.31.196.1\r\n\r\n",
    )
    .await;
    assert_eq!((status(&answer), body(&answer)), (200, "127.0.0.1\n"));
    let head = answer.to_ascii_lowercase();
    for field in [
        "content-type: text/plain",
        "cache-control: no-store",
        "connection: close",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
}

#[tokio::test]
async fn several_addresses_and_both_families_and_ipv4_stays_ipv4_on_a_shared_socket() {
    let (addresses, _task) = start(&args(&["127.0.0.2:0", "[::1]:0", "[::]:0"]));
    assert_eq!(body(&get(addresses[0], "/").await), "127.0.0.1\n");
    assert_eq!(body(&get(addresses[1], "/").await), "::1\n");
    let shared = addresses[2].port();
    assert_eq!(
        body(&get(SocketAddr::from(([127, 0, 0, 1], shared)), "/").await),
        "127.0.0.1\n"
    );
    assert_eq!(
        body(&get(format!("[::1]:{shared}").parse().unwrap(), "/").await),
        "::1\n"
    );
}

#[tokio::test]
async fn only_reading_methods_are_answered() {
    let (addresses, _task) = start(&args(&["127.0.0.1:0"]));
    let head = raw(addresses[0], b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((status(&head), body(&head)), (200, ""));
    let post = raw(
        addresses[0],
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(status(&post), 405);
    let connect = raw(addresses[0], b"CONNECT a:1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(status(&connect), 405);
}

#[tokio::test]
async fn a_listener_can_be_embedded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _task = AbortOnDropHandle::new(tokio::spawn(observer::serve(listener, CancellationToken::new())));
    assert_eq!(body(&get(address, "/").await), "127.0.0.1\n");
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["seen.example".to_owned()]).unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let (addresses, _task) = start(&ObserverArgs {
        tls_cert: Some(cert_file.clone()),
        tls_key: Some(key_file),
        ..args(&["127.0.0.1:0"])
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = dial(addresses[0]).await;
    let name = ServerName::try_from("seen.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: seen.example\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(body(&answer), "127.0.0.1\n");

    let mismatched = ObserverArgs {
        tls_cert: Some(cert_file.clone()),
        tls_key: Some(cert_file),
        ..args(&["127.0.0.1:0"])
    };
    assert!(Observer::bind(&mismatched).is_err());
}
