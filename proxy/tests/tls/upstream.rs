//! TLS that the proxy makes towards origins: what passes over it, and how it ends. Who is believed is in `believed.rs`,
//! what is shown in `shown.rs`, what is kept in `kept.rs`; revocation lists are in `revocation.rs`, TLS that the client
//! asks for in `on_request.rs`, documents that change meanwhile in `revoke_race.rs`, the port that a refusal names in `port.rs`, how a connection ends in `farewell.rs`.

mod believed;
mod farewell;
mod kept;
mod on_request;
mod port;
mod renegotiation;
mod revocation;
mod revoke_race;
mod shown;

use std::time::Duration;

use egressway_core::wire::document::{Encoding, Scheme, Secret, Signing, UpstreamTls};
use egressway_proxy::server::Limits;
use egressway_proxy::signing::key::HmacKey;
use egressway_proxy::signing::verify;
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::pki::{BOTH, Ca, HOST, TlsServer, documents, refs, rule, secret, server};
use crate::support::{OK, Proxy, dial, read_all, read_exact, read_head, start, status};

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

/// The answer to a request while an origin is served so.
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

/// The answer to one request; the origin answers it with 200 if it gets that far.
async fn asked(proxy: &Proxy, origin: &TlsServer) -> String {
    let serve = async {
        loop {
            if let Ok(mut stream) = origin.try_accept().await {
                answer(&mut stream, OK_CLOSE).await;
                let _ = stream.shutdown().await;
            }
        }
    };
    refused(proxy, origin.port(), serve).await
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
        let cipher = tls.negotiated_cipher_suite().map(|cipher| cipher.suite());
        assert_eq!(
            cipher,
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256),
            "the first that is offered"
        );
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
async fn a_megabyte_goes_both_ways_signed_and_over_tls() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let signing = Signing {
        scheme: Scheme::HmacSha256,
        secrets: refs(&["key"]),
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
