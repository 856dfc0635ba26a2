//! A destination that wants to shake hands once more behind the request (TLS 1.2), as servers do that demand a client
//! certificate for some paths only. The library never does, so the record that asks for it is sealed by hand.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
use rustls::version::TLS12;
use rustls::{ConnectionTrafficSecrets, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{assert_refused, proxy, refused, roots, tls};
use crate::pki::{Ca, HOST, TlsServer};
use crate::support::read_head;

/// Types of records (RFC 5246, 6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// A handshake message of type 0 with nothing in it (RFC 5246, 7.4.1.1).
const HELLO_REQUEST: [u8; 4] = [0; 4];

/// A record of TLS 1.2 with AES-GCM (RFC 5288, 3).
fn record(kind: u8, message: &[u8], sequence: u64, key: &[u8], iv: &[u8]) -> Vec<u8> {
    let mut nonce: [u8; 12] = iv.try_into().unwrap();
    for (byte, other) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= other;
    }
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let head = [kind, 3, 3];
    let additional = [&sequence.to_be_bytes()[..], &head, &length].concat();
    let mut sealed = message.to_vec();
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).unwrap())
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(additional),
            &mut sealed,
        )
        .unwrap();
    let length = u16::try_from(8 + sealed.len()).unwrap().to_be_bytes();
    [&head[..], &length, &nonce[4..], &sealed].concat()
}

#[tokio::test]
async fn a_destination_that_wants_another_handshake_is_named_and_not_waited_for() {
    let ca = Ca::new("ca");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let (chain, key) = ca.issue(HOST).parts();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.enable_secret_extraction = true;
    let origin = TlsServer::new(config).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    let serve = async {
        let mut stream = origin.accept().await;
        read_head(&mut stream).await;
        let (mut tcp, connection) = stream.into_inner();
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            panic!("another cipher");
        };
        let ask = record(HANDSHAKE, &HELLO_REQUEST, sequence, key.as_ref(), iv.as_ref());
        tcp.write_all(&ask).await.unwrap();
        // It is refused by an alert, and a server that cannot do without gives up.
        assert_eq!(tcp.read_u8().await.unwrap(), ALERT);
    };
    let answer = refused(&proxy, origin.port(), serve).await;
    assert_refused(&answer, "tls_renegotiation_asked", 502);
    proxy
        .logged(&["tls_renegotiation_asked", "TLS 1.2 renegotiation"])
        .await;
}
