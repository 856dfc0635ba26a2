//! What is revoked once something was answered or sent: the rest of it stays here.

use std::time::Duration;

use egressway_core::wire::document::{Encoding, Scheme, SecretRef, Signing, Sni};
use egressway_proxy::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Change, assert_refused, world};
use crate::access::World;
use crate::auth::basic;
use crate::support::{
    DEADLINE, Proxy, accept, allow, dial, origin, quiet, read_all, read_exact, read_head, start, status,
    untouched,
};

/// A proxy, an origin, and a client that has sent this, in which ORIGIN stands for the origin.
async fn asked(world: &World, request: &str) -> (Proxy, TcpListener, TcpStream) {
    let (proxy, origin) = (start(world.in_force(), Limits::default()).await, origin().await);
    proxy.names.set("a.example", &[&["127.0.0.1"]]);
    let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
    let mut client = dial(proxy.address).await;
    let request = request.replace("ORIGIN", &authority);
    let (line, rest) = request.split_once("\r\n").unwrap();
    let request = format!("{line}\r\n{}{rest}", basic("u", "s3cret"));
    client.write_all(request.as_bytes()).await.unwrap();
    (proxy, origin, client)
}

/// All that the origin gets until its connection ends.
async fn rest(server: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _ = timeout(DEADLINE, server.read_to_end(&mut got))
        .await
        .expect("it is not cut");
    got
}

/// Those that take effect on what has begun: a wrong egress address lets it come to its end.
const CHANGES: [Change; 7] = [
    Change::Rules,
    Change::DenyRule,
    Change::Suspended,
    Change::Floor,
    Change::Caps,
    Change::Credential,
    Change::Clients,
];

#[tokio::test]
async fn a_hello_that_comes_after_the_revocation_does_not_go_out() {
    for change in CHANGES {
        let mut world = world();
        world.content.rules = allow(&["*"], &[]);
        world.content.rules[0].sni = Sni::MustMatch;
        let request = "CONNECT ORIGIN HTTP/1.1\r\nHost: x\r\n\r\n";
        let (proxy, origin, mut client) = asked(&world, request).await;
        let mut server = accept(&origin).await;
        assert_eq!(status(&read_head(&mut client).await), 200);
        change.happens(&proxy.state);
        // Whatever it is: nothing is.
        let _ = client.write_all(b"\x16\x03\x01\x00\x05hello").await;
        assert!(rest(&mut server).await.is_empty(), "{change:?}");
        assert!(!read_all(&mut client).await.1, "{change:?}: a clean end");
    }
}

#[tokio::test]
async fn a_body_that_waits_for_its_continue_does_not_go_out() {
    for change in CHANGES {
        let request =
            "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        let (proxy, origin, mut client) = asked(&world(), request).await;
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        change.happens(&proxy.state);
        let _ = server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        let _ = client.write_all(b"12345").await;
        assert!(rest(&mut server).await.is_empty(), "{change:?}");
        assert!(!read_all(&mut client).await.1, "{change:?}: a clean end");
    }
}

#[tokio::test]
async fn the_rest_of_a_body_does_not_go_out() {
    for change in CHANGES {
        for (framing, first, next) in [
            ("Content-Length: 10", "12345", "67890"),
            (
                "Transfer-Encoding: chunked",
                "5\r\n12345\r\n",
                "5\r\n67890\r\n0\r\n\r\n",
            ),
        ] {
            let request = format!("POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{first}");
            let (proxy, origin, mut client) = asked(&world(), &request).await;
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            read_exact(&mut server, first.len()).await;
            change.happens(&proxy.state);
            let _ = client.write_all(next.as_bytes()).await;
            assert!(rest(&mut server).await.is_empty(), "{change:?} {framing}");
            assert!(
                !read_all(&mut client).await.1,
                "{change:?} {framing}: a clean end"
            );
        }
    }
}

#[tokio::test]
async fn what_the_kernel_still_holds_for_an_origin_that_reads_nothing_is_taken_back() {
    const BODY: usize = 32 * 1024 * 1024;
    for request in [
        format!("POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n"),
        "CONNECT ORIGIN HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        let (proxy, origin, client) = asked(&world(), &request).await;
        let server = accept(&origin).await;
        let (mut from, mut to) = client.into_split();
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 64 * 1024];
            while to.write_all(&piece).await.is_ok() {}
        });
        // Until nothing moves any more: what the origin's own kernel took is all that it will ever get.
        let (mut before, mut held) = (0, waiting(&server));
        while held == 0 || held != before {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (before, held) = (held, waiting(&server));
        }
        Change::Rules.happens(&proxy.state);
        timeout(DEADLINE, sending)
            .await
            .expect("the client is not cut")
            .unwrap();
        let mut server = server;
        let got = rest(&mut server).await.len() as u64;
        assert!(got <= held, "{got} bytes, {held} when it was revoked");
        let _ = from.read(&mut [0]).await;
    }
}

/// Bytes that the kernel holds for the reader.
fn waiting(stream: &TcpStream) -> u64 {
    rustix::io::ioctl_fionread(stream).unwrap()
}

fn signing() -> World {
    let mut world = world().data("key", "secret", "Jefe");
    world.content.rules = allow(&["*"], &[]);
    for rule in &mut world.content.rules {
        rule.signing = Some(Signing {
            scheme: Scheme::HmacSha256,
            secrets: vec![SecretRef {
                name: "key".to_owned(),
                key: None,
            }],
            header: Some("X-Signature".to_owned()),
            encoding: Encoding::Hex,
        });
    }
    world
}

#[tokio::test]
async fn a_body_that_is_held_to_be_signed_does_not_go_out() {
    for (change, code, reason) in super::CHANGES {
        let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
        let (proxy, origin, mut client) = asked(&signing(), request).await;
        assert!(quiet(&client).await);
        change.happens(&proxy.state);
        client.write_all(b"67890").await.unwrap();
        let (answer, _) = read_all(&mut client).await;
        assert_refused(
            &String::from_utf8_lossy(&answer),
            code,
            reason,
            &format!("{change:?}"),
        );
        assert!(untouched(&origin).await, "{change:?}: dialled");
    }
}

#[tokio::test]
async fn a_quarantine_lets_what_has_begun_come_to_its_end() {
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    let (proxy, origin, mut client) = asked(&world(), request).await;
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    Change::Quarantine.happens(&proxy.state);
    client.write_all(b"67890").await.unwrap();
    assert_eq!(read_exact(&mut server, 10).await, b"1234567890");
    server.write_all(crate::support::OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}
