//! Which framing each side of a forwarded exchange gets: lengths, chunks, trailers, HTTP/1.0, and several requests on
//! one connection.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::support::{
    OK, accept, dial, exchange, open, origin, quiet, read_all, read_exact, read_head, status, untouched,
};

#[tokio::test]
async fn bodies_arrive_whole_with_length_and_with_chunks() {
    let request =
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let (got, _, _) = exchange(request, 5, OK).await;
    assert!(
        got.ends_with("\r\n\r\nhello") && got.contains("Content-Length: 5"),
        "{got}"
    );
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n";
    let (got, _, _) = exchange(request, 15, OK).await;
    assert!(
        got.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n") && !got.contains("x=y"),
        "{got}"
    );
}

#[tokio::test]
async fn a_body_in_chunks_is_not_lost_whatever_the_method() {
    for method in ["GET", "DELETE", "PUT"] {
        let request = format!(
            "{method} http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
        );
        let (got, _, _) = exchange(&request, 15, OK).await;
        assert!(
            got.to_ascii_lowercase()
                .contains("transfer-encoding: chunked\r\n")
                && got.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "{got}"
        );
    }
}

#[tokio::test]
async fn head_and_304_have_no_body() {
    let (_, got, clean) = exchange(
        "HEAD http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        0,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    assert!(
        clean && got.ends_with("\r\n\r\n") && got.contains("Content-Length: 5"),
        "{got}"
    );
    let (_, got, clean) = exchange(
        "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        0,
        b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
    )
    .await;
    assert!(clean && status(&got) == 304 && got.ends_with("\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn an_origin_hears_that_trailers_are_welcome_only_where_they_are() {
    for (version, te, expected) in [
        ("1.1", "TE: trailers\r\nConnection: TE\r\n", true),
        ("1.1", "te: gzip, Trailers\r\n", true),
        ("1.1", "TE: gzip\r\n", false),
        ("1.1", "TE: trailersx\r\n", false),
        ("1.0", "TE: trailers\r\n", false),
    ] {
        let request = format!("GET http://ORIGIN/ HTTP/{version}\r\nHost: a\r\n{te}\r\n");
        let (got, _, _) = exchange(&request, 0, OK).await;
        let said = got.contains("TE: trailers\r\nConnection: TE\r\n");
        assert_eq!(said, expected, "{te}: {got}");
        assert!(!got.contains("gzip"), "{got}");
    }
}

#[tokio::test]
async fn trailers_go_both_ways_without_those_that_would_change_the_head() {
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: a\r\nx-named: a\r\nProxy-Status: a\r\nx-sum2: 2\r\n";
    let message = format!("2;ext=\"a\"\r\nok\r\n000;b\r\n{trailers}\r\n");
    let expected = "2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum2: 2\r\n\r\n";
    let request = format!(
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Named\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{message}"
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: X-Named\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{message}"
    );
    let (got, answered, clean) = exchange(&request, expected.len(), answer.as_bytes()).await;
    for text in [&got, &answered] {
        assert!(
            text.contains("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n") && text.ends_with(expected),
            "{text}"
        );
    }
    assert!(clean);
    // HTTP/1.0 has no chunks, so no trailers either.
    let (_, answered, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, answer.as_bytes()).await;
    assert!(
        clean && answered.ends_with("\r\n\r\nok") && !answered.contains("Trailer"),
        "{answered}"
    );
}

#[tokio::test]
async fn http_1_0_clients_get_no_chunks() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, answer).await;
    assert!(
        clean && got.ends_with("\r\n\r\nok") && !got.to_ascii_lowercase().contains("chunked"),
        "{got}"
    );
}

#[tokio::test]
async fn http_1_0_clients_are_answered_and_left() {
    for wish in [
        "",
        "Connection: keep-alive\r\n",
        "Proxy-Connection: keep-alive\r\n",
    ] {
        let request = format!("GET http://ORIGIN/ HTTP/1.0\r\n{wish}\r\n");
        let (got, answer, clean) = exchange(&request, 0, OK).await;
        assert!(!got.to_ascii_lowercase().contains("keep-alive"), "{got}");
        assert!(
            clean && answer.contains("Content-Length: 2\r\nConnection: close\r\n") && answer.ends_with("ok"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_connection_carries_several_requests() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let mut kept = None;
    for n in 0..3 {
        client
            .write_all(format!("GET http://{authority}/{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut server = match kept.take() {
            Some(server) => server,
            None => accept(&origin).await,
        };
        assert!(read_head(&mut server).await.starts_with(&format!("GET /{n} ")));
        server.write_all(OK).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 200 && !head.to_ascii_lowercase().contains("connection: close"),
            "{head}"
        );
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
        kept = Some(server);
    }
    assert!(untouched(&origin).await, "one connection to the origin is enough");
    // And a CONNECT may follow.
    client
        .write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn pipelined_requests_are_served_in_turn() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    let one = format!("POST http://{authority}/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let two = format!("GET http://{authority}/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all((one + &two).as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    assert!(read_head(&mut server).await.starts_with("POST /1 "));
    assert_eq!(read_exact(&mut server, 3).await, b"abc");
    assert!(
        quiet(&server).await,
        "the second waits for the answer to the first"
    );
    server.write_all(OK).await.unwrap();
    assert!(read_head(&mut server).await.starts_with("GET /2 "));
    server.write_all(OK).await.unwrap();
    let (answers, clean) = read_all(&mut client).await;
    assert!(
        clean
            && String::from_utf8(answers)
                .unwrap()
                .matches("HTTP/1.1 200")
                .count()
                == 2
    );
}

#[tokio::test]
async fn a_body_that_is_only_announced_is_not_waited_for() {
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n",
            Some("7"),
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Some("9"),
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            None,
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
    ] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let mut client = dial(proxy.address).await;
        let request = format!("{method} http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        server.write_all(answer.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        let got = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        assert!(
            got == length && !head.contains("Transfer-Encoding"),
            "{answer:?}: {head}"
        );
        // The client's connection goes on with the next request.
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = match timeout(Duration::from_millis(50), origin.accept()).await {
            Ok(accepted) => accepted.unwrap().0,
            Err(_) => server,
        };
        assert!(read_head(&mut server).await.starts_with(method));
    }
}
