//! Bodies that are held to be signed: who stalls holds them for moments, and everybody else is served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use egressway_core::wire::document::{Encoding, Scheme, Signing};
use egressway_proxy::limits::memory::{Memory, Use};
use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::pki::{HOST, documents, refs, rule, secret};
use crate::support::{OK, accept, dial, origin, read_all, read_exact, read_head, start_with, status};

const KIB: usize = 1024;

fn hmac() -> Signing {
    Signing {
        scheme: Scheme::HmacSha256,
        secrets: refs(&["key"]),
        header: Some("X-Signature".to_owned()),
        encoding: Encoding::Hex,
    }
}

/// A request of which so many bytes of the body are sent.
async fn post(mut client: TcpStream, port: u16, length: usize, sent: usize) -> TcpStream {
    let head = format!("POST http://{HOST}:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; sent]).await.unwrap();
    client
}

#[expect(clippy::disallowed_methods, reason = "a client in a test")]
async fn dial_from(own: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn bodies_that_stall_leave_room_for_others_and_end_soon() {
    // Half of it is for signed bodies.
    let memory = Memory::with_budget(4 * KIB * KIB);
    let limits = Limits {
        signed_window: Duration::from_millis(500),
        ..Limits::default()
    };
    let in_force = documents(
        rule(None, Some(hmac())),
        &[("key", secret(&[("secret", "sesame")]))],
    );
    let proxy = start_with(in_force, limits, |server| server.with_memory(memory.clone())).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(post(dial(proxy.address).await, port, 200 * KIB, 200 * KIB - 1).await);
    }
    // Another client, while they stand.
    let client = dial_from("127.0.0.2", proxy.address).await;
    let mut client = post(client, port, 400 * KIB, 400 * KIB).await;
    let mut server = accept(&origin).await;
    assert!(read_head(&mut server).await.contains("X-Signature: "));
    assert!(memory.held(Use::Signed) <= 2 * KIB * KIB);
    assert!(
        read_exact(&mut server, 400 * KIB)
            .await
            .iter()
            .all(|byte| *byte == b'x')
    );
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    let mut codes = Vec::new();
    for mut client in stalled {
        let answer = String::from_utf8(read_all(&mut client).await.0).unwrap();
        let code = answer
            .lines()
            .find_map(|line| line.strip_prefix("X-Egressway-Reason: "));
        codes.push(code.unwrap_or_default().to_owned());
    }
    let of = |code: &str| codes.iter().filter(|other| *other == code).count();
    assert_eq!(of("body_too_slow") + of("signing_busy"), 20, "{codes:?}");
    assert!(of("body_too_slow") >= 3 && of("signing_busy") >= 3, "{codes:?}");
    assert_eq!(memory.held(Use::Signed), 0);
}
