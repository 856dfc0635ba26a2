//! A kept connection that turns out to have been closed: it is noticed, or the request is repeated where that is safe.

use tokio::io::AsyncWriteExt as _;

use super::{pooled, request};
use crate::support::{OK, accept, dial, open, origin, read_all, read_exact, read_head, status, untouched};

#[tokio::test]
async fn a_connection_closed_while_it_waited_is_noticed() {
    for method in ["GET", "POST"] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap().to_string();
        drop(pooled(&proxy, &origin, &authority).await);
        let mut client = dial(proxy.address).await;
        client
            .write_all(request(method, &authority, "body").as_bytes())
            .await
            .unwrap();
        let mut server = accept(&origin).await;
        assert!(read_head(&mut server).await.starts_with(method));
        assert_eq!(read_exact(&mut server, 4).await, b"body");
        server.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
    }
}

/// The origin reads the request over a kept connection and closes without a word.
#[tokio::test]
async fn a_request_is_repeated_once_and_only_where_that_is_safe() {
    for (method, body, word, repeated) in [
        ("GET", "", "", true),
        ("HEAD", "", "", true),
        ("PUT", "body", "", true),
        ("DELETE", "", "", true),
        ("POST", "", "", false),
        ("POST", "body", "", false),
        ("PATCH", "body", "", false),
        ("get", "", "", false),
        // A word was said.
        ("GET", "", "HTTP/1.1 100 Continue\r\n\r\n", false),
        ("GET", "", "HTTP/1.1 2", false),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap().to_string();
        let mut old = pooled(&proxy, &origin, &authority).await;
        let mut client = dial(proxy.address).await;
        client
            .write_all(request(method, &authority, body).as_bytes())
            .await
            .unwrap();
        assert!(read_head(&mut old).await.starts_with(method), "{method}");
        read_exact(&mut old, body.len()).await;
        old.write_all(word.as_bytes()).await.unwrap();
        drop(old);
        if repeated {
            let mut server = accept(&origin).await;
            assert!(read_head(&mut server).await.starts_with(method), "{method}");
            assert_eq!(read_exact(&mut server, body.len()).await, body.as_bytes());
            // Once: the second connection is a new one, and what it does is the answer.
            drop(server);
        }
        let (got, _) = read_all(&mut client).await;
        let got = String::from_utf8(got).unwrap();
        assert!(
            got.contains("502 ") && got.contains("upstream_closed"),
            "{method}: {got}"
        );
        assert!(untouched(&origin).await, "{method}");
    }
}

#[tokio::test]
async fn a_body_that_is_gone_is_not_sent_twice() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut old = pooled(&proxy, &origin, &authority).await;
    let mut client = dial(proxy.address).await;
    let head = format!("PUT http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    read_head(&mut old).await;
    client.write_all(b"body").await.unwrap();
    assert_eq!(read_exact(&mut old, 4).await, b"body");
    drop(old);
    let (got, _) = read_all(&mut client).await;
    assert_eq!(status(&String::from_utf8(got).unwrap()), 502);
    assert!(untouched(&origin).await);
}
