//! Messages that two parsers could read differently are refused, the connection is closed, and nothing reaches an
//! origin.

mod connect;
mod framing;
mod head;

use tokio::io::AsyncWriteExt as _;

use crate::support::{accept, dial, open, origin, read_all, read_exact, read_head, status, untouched};

/// Messages, by the status that refuses them; `http://O/` stands for an origin.
type Hostile = &'static [(u16, &'static [&'static str])];

/// Each message gets its one answer, nothing behind it is read as another, and no origin hears of it.
async fn assert_refused(hostile: Hostile) {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let mut wrong = Vec::new();
    let messages = hostile
        .iter()
        .flat_map(|(expected, messages)| messages.iter().map(|message| (*message, *expected)));
    for (message, expected) in messages {
        let message = message.replace("http://O/", &format!("http://{authority}/"));
        // Whoever refuses one message must not read what stands behind it as another.
        let message = format!("{message}GET http://{authority}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = proxy.raw(message.as_bytes()).await;
        if status(&answer) != expected
            || answer.lines().filter(|line| line.starts_with("HTTP/1.")).count() != 1
        {
            wrong.push(format!(
                "{message:?}: expected {expected}, got {:?}",
                answer.lines().next().unwrap_or("")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await, "nothing may reach the origin");
}

#[tokio::test]
async fn what_is_odd_but_clear_passes_and_is_framed_anew() {
    let proxy = open().await;
    for (message, expected) in [
        (
            "GET HTTP://O/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "\r\nGET http://O/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "\r\n\r\n\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        // RFC 9112, 2.2: old clients end a body with a line end that is not part of it.
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 4\r\n\r\nbody",
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 4\r\n\r\nbody",
        ),
        // RFC 9110, 2.5: a minor version above ours is taken for ours.
        (
            "GET http://O/ HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "POST http://O/ HTTP/1.9\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        // RFC 9112, 3.2.2: a proxy ignores the Host that it received, if it is one: an empty one is.
        (
            "GET http://O/ HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "GET http://O/ HTTP/1.1\r\nHost: evil.example:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "get http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\n\r\n",
        ),
        (
            "QUERY http://O/a/../b//c;d?e=/f HTTP/1.1\r\nHost: a\r\nContent-Length:\t 5 \t\r\n\r\nhello",
            "QUERY /a/../b//c;d?e=/f HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "GET http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
            "GET / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t CHUNKED \r\n\r\n2;a=b;c=\"d\\\"\"\r\nab\r\n00003\r\ncde\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: O\r\nVia: 1.1 egressway-proxy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        ),
        // Servers behind CGI and WSGI read an underscore as a hyphen.
        (
            "POST http://O/ HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\nProxy_Authorization: a\r\nX_A: b\r\nContent-Length: 2\r\n\r\nok",
            "POST / HTTP/1.1\r\nHost: O\r\nX_A: b\r\nVia: 1.1 egressway-proxy\r\nContent-Length: 2\r\n\r\nok",
        ),
    ] {
        let origin = origin().await;
        let authority = origin.local_addr().unwrap().to_string();
        let spelled = message.replace("//O/", &format!("//{authority}/"));
        let mut client = dial(proxy.address).await;
        // And another behind it, which begins exactly where the first ends.
        let second = format!("GET http://{authority}/second HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all((spelled + &second).as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        let expected = expected.replace("Host: O", &format!("Host: {authority}"));
        let got = read_exact(&mut server, expected.len()).await;
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{message:?}");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_head(&mut server).await.starts_with("GET /second "),
            "{message:?}"
        );
        assert_eq!(status(&read_head(&mut client).await), 200);
    }
}

#[tokio::test]
async fn what_follows_a_good_request_is_judged_as_strictly() {
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    for second in [
        "GET http://O/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT evil HTTP/1.1\r\nHost: a\r\n\r\n",
        "garbage behind the body\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n\r\nGET http://O/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "bodyPOST http://O/ HTTP/1.1\r\n\r\n",
        "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = dial(proxy.address).await;
        let first = "POST http://O/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        let third = "GET http://O/third HTTP/1.1\r\nHost: a\r\n\r\n";
        let messages =
            format!("{first}{second}{third}").replace("http://O/", &format!("http://{authority}/"));
        client.write_all(messages.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        read_head(&mut server).await;
        assert_eq!(read_exact(&mut server, 4).await, b"body");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200, "{second:?}");
        let (rest, clean) = read_all(&mut client).await;
        let rest = String::from_utf8(rest).unwrap();
        let answers = rest.lines().filter(|line| line.starts_with("HTTP/1.")).count();
        assert!(
            status(&rest) == 400 && answers == 1 && clean,
            "{second:?}: {rest}"
        );
        assert!(untouched(&origin).await, "{second:?}");
    }
}
