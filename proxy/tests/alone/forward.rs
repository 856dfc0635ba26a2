//! `forward`, the helper of a client: every request gets the credential, answers pass as they are.

use std::fs;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;

use crate::alone::{Process, binary, run, text};
use crate::ask::get;
use crate::support::{accept, dial, origin, read_all, read_exact, read_head, status};

#[tokio::test]
async fn forward_adds_the_credential_to_each_request() {
    let upstream = origin().await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "one\n").unwrap();
    let proxy = format!("http://localhost:{}", upstream.local_addr().unwrap().port());
    let process = Process::start(binary().args([
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        &proxy,
        "--token-file",
        token.to_str().unwrap(),
        "--user",
        "app",
    ]));
    let line = process.says("egressway-proxy forward: ").await;
    let own: SocketAddr = line.split_whitespace().nth(2).unwrap().parse().unwrap();

    // A refused CONNECT: byte for byte.
    let refusal = "HTTP/1.1 403 Egress denied by a/b: c\r\nX-Egressway-Reason: no_rule_matches\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
    let mut client = dial(own).await;
    client
        .write_all(
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic bWluZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    let head = read_head(&mut server).await;
    assert_eq!(
        head,
        "CONNECT a.example:443 HTTP/1.1\r\nProxy-Authorization: Basic YXBwOm9uZQ==\r\nHost: a\r\n\r\n"
    );
    server.write_all(refusal.as_bytes()).await.unwrap();
    drop(server);
    assert_eq!(text(&read_all(&mut client).await.0), refusal);

    // An empty line before the request is a habit of old clients, as the proxy itself knows.
    let mut client = dial(own).await;
    client
        .write_all(b"\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut accept(&upstream).await).await;
    assert!(
        head.starts_with("GET http://a.example/ HTTP/1.1\r\nProxy-Authorization: Basic YXBwOm9uZQ==\r\n"),
        "{head}"
    );
    drop(client);

    // A request on a connection that the client would keep: one exchange, then the end; a new token each time.
    fs::write(&token, "two").unwrap();
    let mut client = dial(own).await;
    client
        .write_all(b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET http://b.example/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    let head = read_head(&mut server).await;
    assert!(
        head.contains("Proxy-Authorization: Basic YXBwOnR3bw==\r\n")
            && head.contains("Connection: close\r\n"),
        "{head}"
    );
    assert_eq!(read_exact(&mut server, 13).await, b"3\r\nabc\r\n0\r\n\r\n");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .await
        .unwrap();
    server.shutdown().await.unwrap();
    let answer = text(&read_all(&mut client).await.0);
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(
        read_all(&mut server).await.0,
        b"",
        "the second request never leaves without a credential"
    );

    // A tunnel, both ways.
    let mut client = dial(own).await;
    client
        .write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\nearly")
        .await
        .unwrap();
    let mut server = accept(&upstream).await;
    read_head(&mut server).await;
    assert_eq!(read_exact(&mut server, 5).await, b"early");
    server.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
    read_head(&mut client).await;
    assert_eq!(read_exact(&mut client, 5).await, b"hello");
    drop((client, server));

    fs::remove_file(&token).unwrap();
    let answer = get(own, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("credential_unreadable"),
        "{answer}"
    );
    fs::write(&token, "three").unwrap();
    drop(upstream);
    let answer = get(own, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("proxy_unreachable"),
        "{answer}"
    );
    let answer = get(own, "nonsense\r\n\r\n").await;
    assert_eq!(status(&answer), 400);
}

#[test]
fn forward_listens_on_loopback_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "t").unwrap();
    let output = run(&[
        "forward",
        "--listen",
        "0.0.0.0:0",
        "--proxy",
        "http://127.0.0.1:1",
        "--token-file",
        token.to_str().unwrap(),
    ]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("--allow-remote-clients"));
    let output = run(&[
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        "http://127.0.0.1:1",
        "--token-file",
        "/nowhere",
    ]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("/nowhere"));
}

#[tokio::test]
async fn what_forward_asked_for_and_did_not_get_is_an_answer_and_the_end() {
    let upstream = origin().await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "one").unwrap();
    let proxy = format!("http://localhost:{}", upstream.local_addr().unwrap().port());
    let process = Process::start(binary().args([
        "forward",
        "--listen",
        "127.0.0.1:0",
        "--proxy",
        &proxy,
        "--token-file",
        token.to_str().unwrap(),
    ]));
    let line = process.says("egressway-proxy forward: ").await;
    let own: SocketAddr = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    let upgrade =
        "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let next = b"GET http://b.example/ HTTP/1.1\r\nHost: b\r\n\r\n";
    // None of them ends its connection, so that the client would use it again.
    for (request, answer) in [
        (upgrade, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (
            upgrade,
            "HTTP/1.1 426 Upgrade Required\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            upgrade,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
        ),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        let mut client = dial(own).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&upstream).await;
        let head = read_head(&mut server).await;
        assert!(head.contains("Proxy-Authorization: Basic "), "{head}");
        server.write_all(answer.as_bytes()).await.unwrap();
        let got = read_exact(&mut client, answer.len()).await;
        assert_eq!(text(&got), answer);
        client.write_all(next).await.unwrap();
        assert_eq!(read_all(&mut client).await.0, b"", "{answer}");
        assert_eq!(
            read_all(&mut server).await.0,
            b"",
            "sent without a credential: {answer}"
        );
    }
    // What is granted is the client's, both ways, early bytes included.
    let mut client = dial(own).await;
    client.write_all(upgrade.as_bytes()).await.unwrap();
    client.write_all(b"early").await.unwrap();
    let mut server = accept(&upstream).await;
    read_head(&mut server).await;
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        )
        .await
        .unwrap();
    assert_eq!(read_exact(&mut server, 5).await, b"early");
    assert_eq!(status(&read_head(&mut client).await), 101);
    assert_eq!(read_exact(&mut client, 5).await, b"hello");
    client.write_all(b"more").await.unwrap();
    assert_eq!(read_exact(&mut server, 4).await, b"more");
}
