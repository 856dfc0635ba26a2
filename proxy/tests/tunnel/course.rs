//! Tunnels on real sockets: idle limits, slow readers, large transfers, cuts.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{
    DEADLINE, accept, dial, idle_after, open, origin, read_all, read_exact, read_head, status,
};

#[tokio::test]
async fn an_idle_tunnel_is_cut_visibly() {
    let (proxy, origin) = (idle_after(Duration::from_millis(100)).await, origin().await);
    let (mut client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let mut server = accept(&origin).await;
    assert_eq!(read_all(&mut client).await, (vec![], false));
    assert_eq!(read_all(&mut server).await, (vec![], false));
    proxy.logged(&["idle_timeout"]).await;
}

#[tokio::test]
async fn a_half_closed_tunnel_can_be_idle_too() {
    let (proxy, origin) = (idle_after(Duration::from_millis(100)).await, origin().await);
    let (mut client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let mut server = accept(&origin).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await, (vec![], true));
    proxy.logged(&["idle_timeout"]).await;
}

#[tokio::test]
async fn a_tunnel_in_which_something_moves_is_not_idle() {
    let (proxy, origin) = (idle_after(Duration::from_secs(1)).await, origin().await);
    let (mut client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let mut server = accept(&origin).await;
    let mut pace = tokio::time::interval(Duration::from_millis(340));
    for _ in 0..6 {
        pace.tick().await;
        server.write_all(b"x").await.unwrap();
        assert_eq!(read_exact(&mut client, 1).await, b"x");
    }
}

#[tokio::test]
async fn large_transfers_arrive_whole_in_both_directions_at_once() {
    const BYTES: usize = 16 * 1024 * 1024;
    let pattern: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    let (proxy, origin) = (open().await, origin().await);
    let (client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let server = accept(&origin).await;
    let exchange = |mut stream: tokio::net::TcpStream, pattern: Vec<u8>| async move {
        let (mut reader, mut writer) = stream.split();
        let mut got = Vec::new();
        let write = async {
            writer.write_all(&pattern).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut got));
        read.unwrap();
        got == pattern
    };
    let both = async {
        tokio::join!(
            exchange(client, pattern.clone()),
            exchange(server, pattern.clone())
        )
    };
    assert_eq!(timeout(DEADLINE, both).await.unwrap(), (true, true));
    let total = format!("\"egress.bytes_sent\":{BYTES},\"egress.bytes_received\":{BYTES}");
    proxy.logged(&["completed", &total]).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_and_nothing_is_lost() {
    let (proxy, origin) = (open().await, origin().await);
    let (mut client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let mut server = accept(&origin).await;
    // Writes until nothing moves any more: every buffer on the way is full, and each is bounded.
    let (chunk, mut written) = (vec![7; 64 * 1024], 0_usize);
    while let Ok(count) = timeout(Duration::from_millis(300), server.write(&chunk)).await {
        written += count.unwrap();
        assert!(written < 64 * 1024 * 1024, "the proxy swallows everything");
    }
    server.shutdown().await.unwrap();
    let (bytes, clean) = read_all(&mut client).await;
    assert_eq!((bytes.len(), clean), (written, true));
}

#[tokio::test]
async fn the_clients_reset_reaches_the_origin() {
    let (proxy, origin) = (open().await, origin().await);
    let (client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let mut server = accept(&origin).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(read_all(&mut server).await, (vec![], false));
    proxy.logged(&["client_reset"]).await;
}

#[tokio::test]
async fn early_bytes_arrive_before_an_early_end() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let early = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n{}",
        "e".repeat(20_000)
    );
    client.write_all(early.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = accept(&origin).await;
    let (bytes, clean) = read_all(&mut server).await;
    assert_eq!((bytes.len(), clean), (20_000, true));
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(status(&read_head(&mut client).await), 200);
    assert_eq!(read_all(&mut client).await, (b"answer".to_vec(), true));
}

#[tokio::test]
async fn kill_cuts_what_is_open_and_says_so() {
    let (proxy, origin) = (open().await, origin().await);
    let (mut client, _) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    let _server = accept(&origin).await;
    proxy.kill.cancel();
    assert_eq!(read_all(&mut client).await, (vec![], false));
    proxy.logged(&["killed"]).await;
    timeout(DEADLINE, proxy.task)
        .await
        .expect("the server does not end")
        .unwrap();
}

#[tokio::test]
async fn open_tunnels_are_listed_with_what_they_did() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap();
    assert_eq!(proxy.server.tunnels(), []);
    let (mut client, _) = proxy.connect(&target.to_string()).await;
    let mut server = accept(&origin).await;
    client.write_all(b"question").await.unwrap();
    read_exact(&mut server, 8).await;
    server.write_all(b"answer").await.unwrap();
    read_exact(&mut client, 6).await;
    let (_second, _) = proxy.connect(&target.to_string()).await;
    let listed = timeout(DEADLINE, async {
        loop {
            // A tunnel notes what it moved a moment after it did.
            match proxy.server.tunnels() {
                listed if listed.len() == 2 && listed[0].bytes_received == 6 => return listed,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    let listed = listed.await.expect("the list does not show it");
    let first = &listed[0];
    assert_eq!(first.client, client.local_addr().unwrap());
    assert_eq!((&*first.target, first.address), (&*target.to_string(), target));
    assert_eq!(first.policy.as_deref(), Some("payments/webhooks"));
    assert_eq!((first.bytes_sent, listed[1].bytes_sent), (8, 0));
    drop((client, server));
    proxy.logged(&["completed", &first.id]).await;
    let gone = timeout(DEADLINE, async {
        while proxy.server.tunnels().len() != 1 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("a tunnel that has ended is still listed");
}
