//! How a forwarded exchange goes on and ends: interim answers, early answers, answers that break off or are too large.
//! Who is waited for how long is in `silence.rs`, upgrades are in `upgrades.rs`, megabytes in `large.rs`.

use egressway_proxy::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    OK, allow, dial, exchange, in_force, open, open_with, origin, quiet, read_all, read_exact, read_head,
    status, under_way, untouched,
};

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_presented_as_complete() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ] {
        let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, answer).await;
        assert!(!clean && !got.ends_with("0\r\n\r\n"), "{got:?}");
    }
}

#[tokio::test]
async fn expect_100_continue_is_passed_on() {
    let (proxy, origin) = (open().await, origin().await);
    let head = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let (mut client, mut server) = under_way(&proxy, &origin, head).await;
    assert!(
        read_head(&mut server)
            .await
            .to_ascii_lowercase()
            .contains("expect: 100-continue")
    );
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    assert_eq!(
        read_head(&mut client).await,
        "HTTP/1.1 100 Continue\r\nVia: 1.1 egressway-proxy\r\n\r\n"
    );
    client.write_all(b"body").await.unwrap();
    assert_eq!(read_exact(&mut server, 4).await, b"body");
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn a_client_need_not_wait_for_100() {
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nbody";
    let (got, answer, clean) = exchange(request, 4, OK).await;
    assert!(
        got.ends_with("\r\n\r\nbody") && status(&answer) == 200 && clean,
        "{got}"
    );
    // Without a body there is nothing to wait for, and HTTP/1.0 has no expectations.
    for request in [
        "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "POST http://ORIGIN/ HTTP/1.0\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let (got, _, _) = exchange(request, 0, OK).await;
        assert!(!got.contains("Expect"), "{got}");
    }
}

#[tokio::test]
async fn interim_answers_reach_those_who_know_them() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nProxy-Foo: a\r\nConnection: x-hop\r\nX-Hop: a\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok";
    let answer = [&interim[..], last].concat();
    let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (_, got, clean) = exchange(request, 0, &answer).await;
    let via = "Via: 1.1 egressway-proxy\r\n";
    assert!(clean);
    assert_eq!(
        got,
        format!(
            "HTTP/1.1 100 Continue\r\n{via}\r\nHTTP/1.1 102 Processing\r\n{via}\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n{via}\r\nHTTP/1.1 199 Odd\r\n{via}\r\n\
             HTTP/1.1 200 OK\r\nDate: then\r\n{via}Content-Length: 2\r\nConnection: close\r\n\r\nok"
        )
    );
    let (_, got, clean) = exchange("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", 0, &answer).await;
    assert!(
        clean && status(&got) == 200 && got.matches("HTTP/1.").count() == 1,
        "{got}"
    );
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_closes_both_connections() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let (proxy, origin) = (open().await, origin().await);
        let authority = origin.local_addr().unwrap();
        let head = format!("POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n{expect}\r\n");
        let (mut client, mut server) = under_way(&proxy, &origin, &head).await;
        read_head(&mut server).await;
        server
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 413 && head.contains("Connection: close\r\n"),
            "{head}"
        );
        assert!(
            read_all(&mut server).await.0.is_empty(),
            "the origin's connection ends"
        );
        // What would be the rest of the body is read by nobody as a request.
        client
            .write_all(format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        assert!(read_all(&mut client).await.0.is_empty());
        assert!(untouched(&origin).await);
    }
}

#[tokio::test]
async fn a_request_under_way_ends_with_its_permission_and_with_the_pod() {
    for (answer, begun) in [("", false), ("HTTP/1.1 200 OK\r\n\r\nhalf", true)] {
        for revoked in [true, false] {
            let (proxy, origin) = (open().await, origin().await);
            let request = "GET http://ORIGIN/ HTTP/1.1\r\nHost: a\r\n\r\n";
            let (mut client, mut server) = under_way(&proxy, &origin, request).await;
            read_head(&mut server).await;
            server.write_all(answer.as_bytes()).await.unwrap();
            if begun {
                assert_eq!(status(&read_head(&mut client).await), 200);
                read_exact(&mut client, 9).await;
            }
            let (insecure, reason) = (
                &["127.0.0.0/8"],
                if revoked { "policy_revoked" } else { "killed" },
            );
            if revoked {
                // Another policy that permits it changes nothing.
                proxy
                    .state
                    .set_in_force(in_force(allow(&[], &["127.0.0.0/8"]), insecure));
                assert!(quiet(&client).await);
                proxy
                    .state
                    .set_in_force(in_force(allow(&["a.example"], &[]), insecure));
            } else {
                proxy.kill.cancel();
            }
            assert_eq!(read_all(&mut client).await, (vec![], false), "{reason}");
            read_all(&mut server).await;
            proxy.logged(&[reason]).await;
        }
    }
}

#[tokio::test]
async fn an_answer_past_the_limit_is_refused_or_broken_off() {
    let limits = Limits {
        response_bytes_max: Some(5),
        ..Limits::default()
    };
    let proxy = open_with(limits).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // What comes at once, what comes once the client has read that, what the client reads, and whether it ends well.
    for (method, first, then, expected, clean) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "",
            "hello",
            true,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            "",
            "response_too_large",
            true,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            "",
            "200 OK",
            true,
        ),
        (
            "GET",
            &format!("{chunked}5\r\nhello\r\n0\r\n\r\n"),
            "",
            "hello",
            true,
        ),
        (
            "GET",
            &format!("{chunked}6\r\nhello!\r\n0\r\n\r\n"),
            "",
            "response_too_large",
            true,
        ),
        (
            "GET",
            &format!("{chunked}2\r\nhe\r\n"),
            "4\r\nllo!\r\n0\r\n\r\n",
            "2\r\nhe\r\n",
            false,
        ),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhe", "llo!", "2\r\nhe\r\n", false),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhe", "llo", "0\r\n\r\n", true),
    ] {
        let origin = origin().await;
        let request = format!("{method} http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (mut client, mut server) = under_way(&proxy, &origin, &request).await;
        read_head(&mut server).await;
        server.write_all(first.as_bytes()).await.unwrap();
        let mut got = String::new();
        if !then.is_empty() {
            got.push_str(&read_head(&mut client).await);
            got.push_str(&String::from_utf8(read_exact(&mut client, 7).await).unwrap());
            server.write_all(then.as_bytes()).await.unwrap();
        }
        drop(server);
        let (rest, ended) = read_all(&mut client).await;
        got.push_str(&String::from_utf8(rest).unwrap());
        assert!(
            got.contains(expected) && ended == clean,
            "{first:?} {then:?}: {got:?}"
        );
        assert!(clean || !got.ends_with("0\r\n\r\n"), "{got:?}");
    }
    proxy
        .logged(&["\"egress.reason\":\"response_too_large\"", "allow"])
        .await;
}

/// The origin answers at once and reads the rest; the client sends everything before it reads a word.
#[tokio::test]
async fn a_client_that_sends_on_behind_an_early_answer_reads_its_status() {
    const BODY: usize = 16 * 1024 * 1024;
    let early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let (proxy, origin) = (open().await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut server, _)) = origin.accept().await {
            connections.spawn(async move {
                read_head(&mut server).await;
                server.write_all(early).await.unwrap();
                let mut rest = vec![0; 64 * 1024];
                while server.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (address, authority) = (proxy.address, authority.clone());
        clients.spawn(async move {
            let mut client = dial(address).await;
            let head =
                format!("POST http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..BODY / piece.len() {
                client.write_all(&piece).await.expect("the status is lost");
            }
            read_head(&mut client).await
        });
    }
    for head in clients.join_all().await {
        assert_eq!(status(&head), 413, "{head}");
    }
    serving.abort();
    // The same of a refusal of the proxy's own.
    let mut client = dial(proxy.address).await;
    let head = format!("POST http://nowhere.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..BODY / piece.len() {
        client.write_all(&piece).await.expect("the refusal is lost");
    }
    assert_eq!(status(&read_head(&mut client).await), 502);
}

/// Who has its answer and ends its half of the connection reads the answer to its end.
#[tokio::test]
async fn a_client_that_ends_its_body_behind_an_early_answer_reads_it_whole() {
    let (proxy, origin) = (open().await, origin().await);
    let request = "POST http://ORIGIN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";
    let (mut client, mut server) = under_way(&proxy, &origin, request).await;
    read_head(&mut server).await;
    server
        .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nno")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 413);
    assert_eq!(read_exact(&mut client, 2).await, b"no");
    client.shutdown().await.unwrap();
    assert!(quiet(&client).await);
    server.write_all(b"pe").await.unwrap();
    assert_eq!(read_all(&mut client).await, (b"pe".to_vec(), true));
}
