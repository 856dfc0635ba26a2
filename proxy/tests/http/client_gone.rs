//! A client that goes away while it waits: the exchange with the origin ends with it, and whoever only has no more to
//! say is served.

use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::access::{Ca, World, handshake};
use crate::support::{OK, Proxy, accept, dial, open, origin, read_all, read_exact, read_head, start, status};

const GONE: &str = "\"egress.reason\":\"client_reset\"";

/// The client and the origin of a GET that waits for its answer; behind the request stand these bytes.
async fn waiting(proxy: &Proxy, origin: &TcpListener, behind: &str) -> (TcpStream, TcpStream) {
    let mut client = dial(proxy.address).await;
    let request = format!("{}{behind}", get(origin));
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(origin).await;
    assert!(read_head(&mut server).await.starts_with("GET / HTTP/1.1\r\n"));
    (client, server)
}

/// The same with TLS to the proxy.
async fn waiting_over_tls(ca: &Ca, proxy: &Proxy, origin: &TcpListener) -> (TlsStream<TcpStream>, TcpStream) {
    let mut client = handshake(&ca.client(None), dial(proxy.address).await)
        .await
        .unwrap();
    client.write_all(get(origin).as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    let mut server = accept(origin).await;
    read_head(&mut server).await;
    (client, server)
}

fn get(origin: &TcpListener) -> String {
    let authority = origin.local_addr().unwrap();
    format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn reset(client: TcpStream) {
    client.set_zero_linger().unwrap();
    drop(client);
}

#[tokio::test]
async fn a_reset_ends_a_request_that_waits_for_its_answer() {
    let (proxy, origin) = (open().await, origin().await);
    // Requests to come stand before the reset, and more of them than are read at once.
    for behind in [String::new(), get(&origin), get(&origin).repeat(200)] {
        let (client, mut server) = waiting(&proxy, &origin, &behind).await;
        reset(client);
        assert_eq!(read_all(&mut server).await.0, b"", "{} bytes", behind.len());
        proxy.logged(&[GONE]).await;
        proxy.log.lock().unwrap().clear();
    }
    // None of the three was kept: the next request has a connection of its own.
    let (mut client, mut server) = waiting(&proxy, &origin, "").await;
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn a_reset_ends_an_answer_that_pauses() {
    let (proxy, origin) = (open().await, origin().await);
    let (mut client, mut server) = waiting(&proxy, &origin, "").await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    assert_eq!(read_exact(&mut client, 4).await, b"half");
    reset(client);
    assert_eq!(read_all(&mut server).await.0, b"");
    proxy.logged(&[GONE, "\"http.response.status_code\":200"]).await;
}

#[tokio::test]
async fn an_end_without_a_reset_leaves_somebody_who_reads() {
    let (proxy, origin) = (open().await, origin().await);
    let (mut client, mut server) = waiting(&proxy, &origin, &get(&origin)).await;
    client.shutdown().await.unwrap();
    server.write_all(OK).await.unwrap();
    // The request that had come behind the first one, over the same connection.
    assert!(read_head(&mut server).await.starts_with("GET / HTTP/1.1\r\n"));
    server.write_all(OK).await.unwrap();
    for _ in 0..2 {
        assert_eq!(status(&read_head(&mut client).await), 200);
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
    }
    assert_eq!(read_all(&mut client).await, (Vec::new(), true));
}

#[tokio::test]
async fn what_was_read_ahead_belongs_to_the_protocol_that_follows() {
    let (proxy, origin) = (open().await, origin().await);
    let mut client = dial(proxy.address).await;
    let request = get(&origin).replace(
        "\r\n\r\n",
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    // By the time of the interim answer the proxy has looked at the client again.
    client.write_all(b" and late").await.unwrap();
    server
        .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 102);
    server
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 101);
    assert_eq!(read_exact(&mut server, 14).await, b"early and late");
}

#[tokio::test]
async fn tls_that_ends_leaves_somebody_who_reads_with_or_without_its_form() {
    let ca = Ca::new("proxies");
    let world = World::open().tls(&ca.leaf(&["proxy.example"], 1));
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    for in_form in [true, false] {
        let (mut client, mut server) = waiting_over_tls(&ca, &proxy, &origin).await;
        if in_form {
            client.shutdown().await.unwrap();
        } else {
            client.get_mut().0.shutdown().await.unwrap();
        }
        server.write_all(OK).await.unwrap();
        let answer = read_head(&mut client).await;
        assert_eq!(status(&answer), 200, "{in_form}: {answer:?}");
        drop(server);
    }
}

#[tokio::test]
async fn a_reset_below_tls_is_one_as_well() {
    let ca = Ca::new("proxies");
    let world = World::open().tls(&ca.leaf(&["proxy.example"], 1));
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let (client, mut server) = waiting_over_tls(&ca, &proxy, &origin).await;
    let (stream, _) = client.into_inner();
    reset(stream);
    assert_eq!(read_all(&mut server).await.0, b"");
    proxy.logged(&[GONE]).await;
}
