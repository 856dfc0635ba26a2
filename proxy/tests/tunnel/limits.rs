//! Limits of connections and of time, and what a client reads when it meets one.

use std::time::Duration;

use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{DEADLINE, Proxy, accept, dial, open_with, origin, read_all, read_head, status};

#[tokio::test]
async fn a_place_that_becomes_free_is_taken_again() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (proxy, origin) = (open_with(limits).await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (client, head) = proxy.connect(&target).await;
        assert_eq!(status(&head), 200);
        held.push((client, accept(&origin).await));
    }
    let (_, head) = proxy.connect(&target).await;
    assert!(
        status(&head) == 503 && head.contains("Retry-After: "),
        "one past the limit: {head}"
    );
    held.pop();
    proxy.logged(&["\"egress.reason\":\"completed\""]).await;
    // The line is written a moment before the place is free.
    let retried = tokio::time::timeout(DEADLINE, async {
        loop {
            let (_client, head) = proxy.connect(&target).await;
            if status(&head) == 200 {
                return;
            }
        }
    });
    retried.await.expect("the place is not given back");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_told_so_and_closed() {
    let limits = Limits {
        head_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let proxy = open_with(limits).await;
    for beginning in ["", "\r\n", "CONNECT a.example:443 HTTP/1.1\r\nHost: a"] {
        let answer = proxy.raw(beginning.as_bytes()).await;
        assert!(
            status(&answer) == 408 && answer.contains("head_timeout"),
            "{beginning:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_slow_head_does_not_get_time_for_each_byte() {
    let limits = Limits {
        head_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let proxy = open_with(limits).await;
    let mut client = dial(proxy.address).await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let drip = async {
        for byte in "CONNECT a.example:443 HTTP/1.1\r\n".bytes() {
            pace.tick().await;
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let (reader, began) = (proxy.logged(&["head_timeout"]), tokio::time::Instant::now());
    tokio::select! {
        _ = reader => {}
        () = drip => panic!("the whole head was taken"),
    }
    assert!(began.elapsed() < Duration::from_millis(1500));
}

/// RFC 9112, 2.2: they are ignored, which is not to say that they buy time.
#[tokio::test]
async fn empty_lines_are_no_head() {
    for lines in ["\r", "\r\n", "\r\n\r\n\r\n\r\n", "\r\n\r\n\r\n\r\n\r"] {
        let limits = Limits {
            head_time: Duration::from_millis(100),
            ..Limits::default()
        };
        let answer = open_with(limits).await.raw(lines.as_bytes()).await;
        assert!(
            status(&answer) == 408 && answer.contains("head_timeout"),
            "{lines:?}: {answer}"
        );
    }
}

/// A client's connection after a request and its answer.
async fn answered(proxy: &Proxy, origin: &TcpListener) -> TcpStream {
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    client
        .write_all(format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut server = accept(origin).await;
    read_head(&mut server).await;
    server
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 204);
    client
}

#[tokio::test]
async fn an_idle_connection_between_two_requests_is_closed_without_a_word() {
    let limits = Limits {
        keep_alive: Duration::from_millis(100),
        ..Limits::default()
    };
    let (proxy, origin) = (open_with(limits).await, origin().await);
    for behind in ["", "\r\n", "\r\n\r\n\r\n\r\n"] {
        let mut client = answered(&proxy, &origin).await;
        client.write_all(behind.as_bytes()).await.unwrap();
        assert_eq!(read_all(&mut client).await, (vec![], true), "{behind:?}");
    }
}

#[tokio::test]
async fn empty_lines_without_an_end_are_refused() {
    let (proxy, origin) = (open_with(Limits::default()).await, origin().await);
    let mut client = answered(&proxy, &origin).await;
    for _ in 0..5 {
        client.write_all(b"\r\n").await.unwrap();
    }
    let (answer, _) = read_all(&mut client).await;
    assert_eq!(status(&String::from_utf8(answer).unwrap()), 400);
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_the_pod_drains() {
    let (proxy, origin) = (open_with(Limits::default()).await, origin().await);
    let mut client = answered(&proxy, &origin).await;
    // Behind a body, as old clients do, it asks for nothing.
    let mut trailing = answered(&proxy, &origin).await;
    trailing.write_all(b"\r\n").await.unwrap();
    let silent = dial(proxy.address).await;
    proxy.stop.cancel();
    assert_eq!(read_all(&mut client).await, (vec![], true));
    assert_eq!(read_all(&mut trailing).await, (vec![], true));
    tokio::time::timeout(DEADLINE, proxy.task)
        .await
        .expect("a connection without a request keeps the pod")
        .unwrap();
    drop(silent);
}
