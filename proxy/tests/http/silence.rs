//! Exchanges in which nothing moves end, and whoever is silent is to blame; those in which something moves go on.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::{OK, idle_after, origin, read_all, read_exact, read_head, status, under_way};

#[tokio::test]
async fn an_upload_that_moves_is_not_idle() {
    let (proxy, origin) = (idle_after(Duration::from_secs(1)).await, origin().await);
    let head = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
    let (mut client, mut server) = under_way(&proxy, &origin, head).await;
    read_head(&mut server).await;
    // Twice the idle limit in all, a third of it between two bytes.
    let mut pace = tokio::time::interval(Duration::from_millis(340));
    for _ in 0..6 {
        pace.tick().await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_exact(&mut server, 1).await, b"x");
    }
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_given_up() {
    let (proxy, origin) = (idle_after(Duration::from_millis(100)).await, origin().await);
    let authority = origin.local_addr().unwrap();
    let answer = proxy
        .raw(format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    assert!(
        status(&answer) == 504 && answer.contains("upstream_timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn whoever_says_nothing_is_to_blame() {
    let proxy = idle_after(Duration::from_millis(100)).await;
    for (fields, answer, reason) in [
        ("", "", "upstream_timeout"),
        (
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "",
            "upstream_timeout",
        ),
        ("Content-Length: 5\r\n", "", "body_timeout"),
        (
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "body_timeout",
        ),
        ("", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "idle_timeout"),
    ] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap();
        let request = format!("PUT http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut client, mut server) = under_way(&proxy, &origin, &request).await;
        read_head(&mut server).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        let (got, clean) = read_all(&mut client).await;
        let got = String::from_utf8(got).unwrap();
        // Whoever was shown nothing of an answer is told.
        let told = got.contains(&format!("X-Egressway-Reason: {reason}\r\n"));
        assert_eq!(
            (clean, told),
            (reason != "idle_timeout", clean),
            "{fields:?} {answer:?}: {got}"
        );
        // Half of a request is never presented as a whole one: only its length tells.
        assert_eq!(read_all(&mut server).await.0, b"", "{fields:?} {answer:?}");
        proxy
            .logged(&[reason, &format!("\"server.port\":{}", authority.port())])
            .await;
    }
}

#[tokio::test]
async fn whoever_reads_nothing_is_to_blame() {
    let proxy = idle_after(Duration::from_millis(200)).await;
    let body = vec![b'x'; 64 << 20];
    for (upload, reason) in [(true, "upstream_timeout"), (false, "client_reset")] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap();
        let length = if upload { body.len() } else { 0 };
        let request = format!("PUT http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let (mut client, mut server) = under_way(&proxy, &origin, &request).await;
        read_head(&mut server).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let sent = if upload {
            client.write_all(&body).await
        } else {
            server.write_all(answer.as_bytes()).await.unwrap();
            server.write_all(&body).await
        };
        assert!(sent.is_err(), "nobody reads 64 MiB");
        proxy
            .logged(&[reason, &format!("\"server.port\":{}", authority.port())])
            .await;
    }
}
