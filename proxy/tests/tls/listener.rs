//! The TLS listener: certificates that rotate, certificates of clients, and never a word in plain text.

use std::sync::Arc;

use egressway_proxy::server::Limits;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::access::{Ca, Leaf, World, certificate, handshake};
use crate::support::{Proxy, accept, dial, origin, read_all, read_exact, read_head, start, status};

async fn connect(proxy: &Proxy, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(config, dial(proxy.address).await).await
}

/// The head of the answer; empty where the connection ends before one.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    if stream.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    read_head(stream).await
}

#[tokio::test]
async fn tunnels_and_requests_pass_and_plain_text_does_not() {
    let ca = Ca::new("proxies");
    let world = World::open().tls(&ca.leaf(&["proxy.example"], 1));
    let proxy = start(world.in_force(), Limits::default()).await;
    let config = ca.client(None);
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let mut client = connect(&proxy, &config).await.unwrap();
    assert_eq!(
        status(
            &ask(
                &mut client,
                &format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            )
            .await
        ),
        200
    );
    let mut server = accept(&origin).await;
    // More than one record and more than a socket takes at once, both ways, then the end as an end.
    let data = vec![7; 3 * 1024 * 1024];
    let (mut reader, mut writer) = tokio::io::split(client);
    let (sent, received) = (data.clone(), data.clone());
    let up = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    assert_eq!(read_exact(&mut server, data.len()).await, data);
    assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    let down = tokio::spawn(async move {
        server.write_all(&received).await.unwrap();
        server.shutdown().await.unwrap();
    });
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), data.len());
    down.await.unwrap();
    drop(up.await.unwrap());
    proxy
        .logged(&["\"egress.reason\":\"completed\"", "CONNECT"])
        .await;

    let mut client = connect(&proxy, &config).await.unwrap();
    for _ in 0..2 {
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        let answered = async {
            let mut server = accept(&origin).await;
            read_head(&mut server).await;
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            server.write_all(answer).await.unwrap();
        };
        let (head, ()) = tokio::join!(ask(&mut client, &request), answered);
        assert_eq!(status(&head), 204);
    }

    let mut plain = dial(proxy.address).await;
    plain
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let (answer, _) = read_all(&mut plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    proxy
        .logged(&["\"egress.reason\":\"tls_handshake_failed\""])
        .await;
}

#[tokio::test]
async fn a_certificate_rotates_and_open_connections_go_on() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let world = World::open().tls(&old.leaf(&["proxy.example"], 1));
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let mut client = connect(&proxy, &old.client(None)).await.unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&ask(&mut client, &request).await), 200);
    let mut server = accept(&origin).await;
    let rotated = world.clone().tls(&new.leaf(&["proxy.example"], 2));
    proxy.state.set_in_force(rotated.in_force());
    assert!(connect(&proxy, &old.client(None)).await.is_err());
    assert!(connect(&proxy, &new.client(None)).await.is_ok());
    client.write_all(b"on").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(read_exact(&mut server, 2).await, b"on");

    // A broken one closes, for everybody, and says why in the log; never plain.
    let broken = rotated.data("listener", "tls.key", "-----BEGIN PRIVATE KEY-----\ncanary");
    let in_force = broken.in_force();
    assert!(
        in_force.secrets.problems()[0].contains("listener: Secret listener: tls.key"),
        "{:?}",
        in_force.secrets.problems()
    );
    proxy.state.set_in_force(in_force);
    let mut plain = dial(proxy.address).await;
    let _ = plain.write_all(request.as_bytes()).await;
    assert_eq!(read_all(&mut plain).await.0, b"");
    let line = proxy.logged(&["\"egress.reason\":\"tls_unavailable\""]).await;
    assert!(
        line.contains("Secret listener") && !line.contains("canary"),
        "{line}"
    );
    client.write_all(b"on").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(read_exact(&mut server, 2).await, b"on");

    // The policy no longer wants TLS: the next connection is plain.
    proxy.state.set_in_force(World::open().in_force());
    assert_eq!(status(&proxy.connect(&target.to_string()).await.1), 200);
}

struct Certificates {
    proxies: Ca,
    corp: Ca,
    other: Ca,
    world: World,
}

fn certificates() -> Certificates {
    let (proxies, corp, other) = (Ca::new("proxies"), Ca::new("corp"), Ca::new("other"));
    let world = World::open()
        .tls(&proxies.leaf(&["proxy.example"], 1))
        .client(
            "batch",
            false,
            Some(certificate("corp", &["spiffe://corp/batch", "CN=old batch"])),
        )
        .client(
            "partner",
            false,
            Some(certificate("other", &["sender.partner.example"])),
        )
        .data("corp", "ca.crt", &corp.pem())
        .data("other", "ca.crt", &other.pem());
    Certificates {
        proxies,
        corp,
        other,
        world,
    }
}

/// Which clients a certificate is, or what becomes of it.
async fn outcome(proxy: &Proxy, proxies: &Ca, leaf: Option<&Leaf>) -> String {
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let Ok(mut client) = connect(proxy, &proxies.client(leaf)).await else {
        return "closed".to_owned();
    };
    let head = ask(
        &mut client,
        &format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
    )
    .await;
    match status(&head) {
        0 => "closed".to_owned(),
        200 => {
            drop((client, accept(&origin).await));
            let line = proxy
                .logged(&[&format!("\"server.port\":{}", target.port())])
                .await;
            let client = line.split("\"egress.client\":\"").nth(1).unwrap();
            client.split('"').next().unwrap().to_owned()
        }
        _ => head
            .lines()
            .find_map(|line| line.strip_prefix("X-Egressway-Reason: "))
            .unwrap()
            .to_owned(),
    }
}

#[tokio::test]
async fn a_client_is_what_its_own_authority_says() {
    let Certificates {
        proxies,
        corp,
        other,
        world,
    } = certificates();
    let proxy = start(world.in_force(), Limits::default()).await;
    for (ca, names, expected) in [
        (&corp, &["spiffe://corp/batch"][..], "batch"),
        (&corp, &["CN=old batch"], "batch"),
        (&corp, &["CN=OLD batch"], "client_unknown"),
        (&corp, &["spiffe://corp/batch/more"], "client_unknown"),
        (&corp, &["a.example", "spiffe://corp/batch"], "batch"),
        (&other, &["SENDER.partner.example"], "partner"),
        // The right name by the wrong authority.
        (&other, &["spiffe://corp/batch"], "client_unknown"),
        (&corp, &["sender.partner.example"], "client_unknown"),
        (&proxies, &["spiffe://corp/batch"], "closed"),
    ] {
        let leaf = ca.leaf(names, 7);
        assert_eq!(
            outcome(&proxy, &proxies, Some(&leaf)).await,
            expected,
            "{names:?}"
        );
    }
    // Without a certificate there is nobody to be asked for one in a request.
    assert_eq!(outcome(&proxy, &proxies, None).await, "client_unknown");
}

#[tokio::test]
async fn revoked_expired_and_broken_lists_refuse() {
    let Certificates {
        proxies,
        corp,
        other,
        world,
    } = certificates();
    let proxy = start(world.in_force(), Limits::default()).await;
    let (good, bad) = (
        corp.leaf(&["spiffe://corp/batch"], 7),
        corp.leaf(&["spiffe://corp/batch"], 8),
    );
    let partner = other.leaf(&["sender.partner.example"], 9);
    for (crl, expected_good, expected_bad) in [
        (None, "batch", "batch"),
        (Some(corp.crl(&[8], 2999)), "batch", "closed"),
        (Some(corp.crl(&[], 2999)), "batch", "batch"),
        // Nobody knows what was revoked since.
        (Some(corp.crl(&[], 2021)), "closed", "closed"),
        // Another authority's says nothing about these.
        (Some(other.crl(&[], 2999)), "closed", "closed"),
        (Some("canary".to_owned()), "closed", "closed"),
    ] {
        let world = match &crl {
            Some(crl) => world.clone().data("corp", "ca.crl", crl),
            None => world.clone(),
        };
        proxy.state.set_in_force(world.in_force());
        assert_eq!(
            outcome(&proxy, &proxies, Some(&good)).await,
            expected_good,
            "{crl:?}"
        );
        assert_eq!(
            outcome(&proxy, &proxies, Some(&bad)).await,
            expected_bad,
            "{crl:?}"
        );
        assert_eq!(
            outcome(&proxy, &proxies, Some(&partner)).await,
            "partner",
            "{crl:?}"
        );
    }
}

#[tokio::test]
async fn a_kept_connection_is_asked_again_when_secrets_change() {
    let Certificates {
        proxies, corp, world, ..
    } = certificates();
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap();
    let leaf = corp.leaf(&["spiffe://corp/batch"], 7);
    let mut client = connect(&proxy, &proxies.client(Some(&leaf))).await.unwrap();
    let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut server = None;
    for revoked in [false, false, true] {
        if revoked {
            let crl = corp.crl(&[7], 2999);
            proxy
                .state
                .set_in_force(world.clone().data("corp", "ca.crl", &crl).in_force());
            assert_eq!(status(&ask(&mut client, &request).await), 403);
            continue;
        }
        let answered = async {
            let mut stream = match server.take() {
                Some(stream) => stream,
                None => accept(&origin).await,
            };
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            stream
        };
        let (head, stream) = tokio::join!(ask(&mut client, &request), answered);
        server = Some(stream);
        assert_eq!(status(&head), 204);
    }
}
