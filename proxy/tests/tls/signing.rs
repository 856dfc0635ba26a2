//! Requests that the proxy signs: what the origin gets, and what is refused rather than sent unsigned.

use std::time::{SystemTime, UNIX_EPOCH};

use egressway_core::wire::document::{
    Content, Encoding, Http, Limits as PolicyLimits, PortRange, Rule, Scheme, Secret, Signing, Tunnels,
};
use egressway_proxy::server::Limits;
use egressway_proxy::signing::key::HmacKey;
use egressway_proxy::signing::verify::{self, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::pki::{HOST, documents, refs, rule, secret, with_content};
use crate::support::{
    DEADLINE, OK, Proxy, accept, dial, origin, quiet, read_exact, read_head, start, status, untouched,
};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn standard(names: &[&str]) -> Signing {
    Signing {
        scheme: Scheme::StandardWebhooks,
        secrets: refs(names),
        ..Signing::default()
    }
}

fn hmac() -> Signing {
    Signing {
        scheme: Scheme::HmacSha256,
        secrets: refs(&["key"]),
        header: Some("X-Signature".to_owned()),
        encoding: Encoding::Hex,
    }
}

fn key(text: &str) -> Secret {
    secret(&[("secret", text)])
}

async fn proxy(signing: Signing, secrets: &[(&str, Secret)]) -> Proxy {
    let proxy = start(documents(rule(None, Some(signing)), secrets), Limits::default()).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    proxy
}

fn post(port: u16, fields: &str, body: &str) -> String {
    format!("POST http://{HOST}:{port}/hook HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}")
}

/// What the origin got, head and body, while the client got 200.
async fn delivered(
    proxy: &Proxy,
    origin: &TcpListener,
    fields: &str,
    body: &str,
) -> (Vec<(String, String)>, String) {
    let port = origin.local_addr().unwrap().port();
    let mut client = dial(proxy.address).await;
    client
        .write_all(post(port, fields, body).as_bytes())
        .await
        .unwrap();
    let mut stream = accept(origin).await;
    let head = read_head(&mut stream).await;
    let headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let body = String::from_utf8(read_exact(&mut stream, length).await).unwrap();
    stream.write_all(OK).await.unwrap();
    let answer = read_head(&mut client).await;
    assert_eq!(status(&answer), 200, "{answer}");
    (headers, body)
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = headers.iter().filter(|(other, _)| other == name);
    named.map(|(_, value)| value.as_str()).collect()
}

fn check(text: &str, headers: &[(String, String)], body: &str) -> Result<(), Problem> {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    verify::standard_webhooks(
        &HmacKey::standard(text).unwrap(),
        &headers,
        body.as_bytes(),
        now,
        60,
    )
}

#[tokio::test]
async fn every_framing_arrives_signed_and_with_a_length() {
    let (proxy, origin) = (
        proxy(standard(&["key"]), &[("key", key(KEY))]).await,
        origin().await,
    );
    let chunked = "3;a=b\r\n{\"a\r\n4\r\n\":1}\r\n0\r\nX-Trailer: 1\r\n\r\n";
    for (fields, sent, arrived, length) in [
        ("Content-Length: 7\r\n", "{\"a\":1}", "{\"a\":1}", Some("7")),
        (
            "Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n",
            chunked,
            "{\"a\":1}",
            Some("7"),
        ),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "", Some("0")),
        ("Content-Length: 0\r\n", "", "", Some("0")),
        ("", "", "", None),
    ] {
        let (headers, body) = delivered(&proxy, &origin, fields, sent).await;
        assert_eq!(body, arrived);
        assert_eq!(check(KEY, &headers, &body), Ok(()), "{fields} {headers:?}");
        assert_eq!(values(&headers, "content-length").first().copied(), length);
        assert!(values(&headers, "transfer-encoding").is_empty() && values(&headers, "trailer").is_empty());
        assert!(values(&headers, "webhook-id")[0].starts_with("msg_"));
    }
}

#[tokio::test]
async fn what_a_client_says_in_the_proxys_fields_never_passes() {
    let (proxy, origin) = (
        proxy(standard(&["key"]), &[("key", key(KEY))]).await,
        origin().await,
    );
    let forged = "Content-Length: 2\r\nWebhook-Signature: v1,AAAA\r\nwebhook-signature: v1,BBBB\r\nWEBHOOK-TIMESTAMP: 1\r\nWebhook_Signature: v1,CCCC\r\nwebhook_id: evt_2\r\n";
    for (more, id) in [
        ("Webhook-Id: evt_1\r\n", Some("evt_1")),
        ("webhook-id: a.b\r\n", None),
        ("webhook-id: a\r\nwebhook-id: b\r\n", None),
        // Named as its own hop's, it was for the proxy; naming what the proxy adds takes nothing away.
        (
            "webhook-id: evt_1\r\nConnection: webhook-id, webhook-signature\r\n",
            None,
        ),
    ] {
        let (headers, body) = delivered(&proxy, &origin, &format!("{forged}{more}"), "{}").await;
        assert_eq!(check(KEY, &headers, &body), Ok(()), "{headers:?}");
        for name in ["webhook-signature", "webhook-timestamp", "webhook-id"] {
            assert_eq!(values(&headers, name).len(), 1, "{name} in {headers:?}");
            let as_wsgi_has_it = name.replace('-', "_");
            assert!(values(&headers, &as_wsgi_has_it).is_empty(), "{headers:?}");
        }
        let got = values(&headers, "webhook-id")[0];
        assert!(
            id.map_or_else(|| got.starts_with("msg_"), |id| got == id),
            "{got}"
        );
    }
}

#[tokio::test]
async fn what_would_be_a_tunnel_past_the_signature_is_refused() {
    let wider = |port| Rule {
        name: "wider".to_owned(),
        ports: vec![PortRange { port, end_port: None }],
        ..rule(None, None)
    };
    let signed = |tunnels| Rule {
        hosts: vec![HOST.to_owned()],
        tunnels,
        ..rule(None, Some(standard(&["key"])))
    };
    let posts = Rule {
        http: Some(Http {
            methods: vec!["POST".to_owned()],
            ..Http::default()
        }),
        ..signed(Tunnels::Refuse)
    };
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    let tunnel = format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: x\r\n\r\nearly");
    let upgrade = post(port, "Connection: Upgrade\r\nUpgrade: websocket\r\n", "");
    for (requests, signing) in [
        (&[&tunnel, &upgrade][..], signed(Tunnels::Refuse)),
        (&[&tunnel, &upgrade], posts),
    ] {
        let content = Content {
            rules: vec![signing, wider(port)],
            ..Content::default()
        };
        let proxy = start(with_content(content, &[("key", key(KEY))]), Limits::default()).await;
        proxy.names.set(HOST, &[&["127.0.0.1"]]);
        for request in requests {
            let answer = proxy.raw(request.as_bytes()).await;
            assert_eq!(status(&answer), 403, "{answer}");
            assert!(
                answer.contains("X-Egressway-Reason: tunnel_unsigned\r\n"),
                "{answer}"
            );
            assert!(answer.contains("rule bank can sign nothing"), "{answer}");
        }
    }
    assert!(untouched(&origin).await);
    // A rule may let tunnels pass beside what it signs.
    let content = Content {
        rules: vec![signed(Tunnels::Allow)],
        ..Content::default()
    };
    let beside = start(with_content(content, &[("key", key(KEY))]), Limits::default()).await;
    beside.names.set(HOST, &[&["127.0.0.1"]]);
    let mut client = dial(beside.address).await;
    client.write_all(tunnel.as_bytes()).await.unwrap();
    let mut stream = accept(&origin).await;
    assert_eq!(status(&read_head(&mut client).await), 200);
    assert_eq!(read_exact(&mut stream, 5).await, b"early");
    let (headers, body) = delivered(&beside, &origin, "Content-Length: 2\r\n", "{}").await;
    assert_eq!(check(KEY, &headers, &body), Ok(()));
}

#[tokio::test]
async fn a_tunnel_ends_when_a_rule_begins_to_sign() {
    let plain = with_content(
        Content {
            rules: vec![rule(None, None)],
            ..Content::default()
        },
        &[],
    );
    let proxy = start(plain, Limits::default()).await;
    proxy.names.set(HOST, &[&["127.0.0.1"]]);
    let origin = origin().await;
    let mut client = dial(proxy.address).await;
    let tunnel = format!(
        "CONNECT {HOST}:{} HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.local_addr().unwrap().port()
    );
    client.write_all(tunnel.as_bytes()).await.unwrap();
    let _stream = accept(&origin).await;
    assert_eq!(status(&read_head(&mut client).await), 200);
    proxy.state.set_in_force(documents(
        rule(None, Some(standard(&["key"]))),
        &[("key", key(KEY))],
    ));
    proxy.logged(&["policy_revoked", HOST]).await;
}

#[tokio::test]
async fn a_named_header_carries_the_signature_over_the_body_alone() {
    let (proxy, origin) = (proxy(hmac(), &[("key", key("Jefe"))]).await, origin().await);
    let body = "what do ya want for nothing?";
    let (headers, _) = delivered(
        &proxy,
        &origin,
        "Content-Length: 28\r\nx-signature: forged\r\n",
        body,
    )
    .await;
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(values(&headers, "x-signature"), [expected]);
}

#[tokio::test]
async fn a_rotated_key_signs_the_next_request() {
    let (proxy, origin) = (
        proxy(standard(&["key"]), &[("key", key("old"))]).await,
        origin().await,
    );
    let (headers, body) = delivered(&proxy, &origin, "Content-Length: 2\r\n", "{}").await;
    assert_eq!(check("old", &headers, &body), Ok(()));
    let both = documents(
        rule(None, Some(standard(&["next", "key"]))),
        &[("key", key("old")), ("next", key("new"))],
    );
    proxy.state.set_in_force(both);
    let (headers, body) = delivered(&proxy, &origin, "Content-Length: 2\r\n", "{}").await;
    assert_eq!(
        (check("old", &headers, &body), check("new", &headers, &body)),
        (Ok(()), Ok(()))
    );
    proxy.state.set_in_force(documents(
        rule(None, Some(standard(&["key"]))),
        &[("key", key("new"))],
    ));
    let (headers, body) = delivered(&proxy, &origin, "Content-Length: 2\r\n", "{}").await;
    assert_eq!(check("new", &headers, &body), Ok(()));
    assert_eq!(check("old", &headers, &body), Err(Problem::Mismatch));
}

#[tokio::test]
async fn what_is_decided_while_a_body_is_held_decides_how_it_goes_out() {
    // HMAC-SHA256 of the body.
    let new = "x-signature: 777d6b92b0555cab09cd793e71ca0aee9a0b70bf9397a5e4714335b0a4fbd1f0";
    for (then, signature) in [
        (
            documents(rule(None, Some(hmac())), &[("key", key("new"))]),
            Some(new),
        ),
        (documents(rule(None, None), &[]), None),
    ] {
        let (proxy, origin) = (proxy(hmac(), &[("key", key("old"))]).await, origin().await);
        let mut client = dial(proxy.address).await;
        let port = origin.local_addr().unwrap().port();
        let request = post(port, "Content-Length: 6\r\n", "123");
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(quiet(&client).await);
        proxy.state.set_in_force(then);
        client.write_all(b"456").await.unwrap();
        let mut server = accept(&origin).await;
        let head = read_head(&mut server).await.to_ascii_lowercase();
        assert_eq!(read_exact(&mut server, 6).await, b"123456", "{head}");
        let line = head.lines().find(|line| line.starts_with("x-signature: "));
        assert_eq!(line, signature);
        server.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    const CANARY: &str = "cAnArYcAnArY";
    let bad = format!("whsec_{CANARY}*");
    for secrets in [
        vec![],
        vec![("key", secret(&[("other", CANARY)]))],
        vec![("key", key(""))],
        vec![("key", key(&bad))],
    ] {
        let (proxy, origin) = (proxy(standard(&["key"]), &secrets).await, origin().await);
        let port = origin.local_addr().unwrap().port();
        let answer = proxy
            .raw(post(port, "Content-Length: 2\r\n", "{}").as_bytes())
            .await;
        assert!(
            answer.contains("X-Egressway-Reason: signing_key_unavailable\r\n"),
            "{answer}"
        );
        assert_eq!(status(&answer), 500);
        assert!(untouched(&origin).await);
        let line = proxy.logged(&["signing_key_unavailable", "Secret key"]).await;
        assert!(!line.contains(CANARY) && !answer.contains(CANARY), "{line}");
    }
}

#[tokio::test]
async fn a_body_is_held_up_to_the_policys_limit() {
    let content = |max| Content {
        rules: vec![rule(None, Some(hmac()))],
        limits: PolicyLimits {
            signed_body_bytes: Some(max),
            ..PolicyLimits::default()
        },
        ..Content::default()
    };
    let (proxy, origin) = (proxy(hmac(), &[]).await, origin().await);
    proxy
        .state
        .set_in_force(with_content(content(4), &[("key", key("k"))]));
    let (_, body) = delivered(&proxy, &origin, "Content-Length: 4\r\n", "1234").await;
    assert_eq!(body, "1234");
    let (_, body) = delivered(
        &proxy,
        &origin,
        "Transfer-Encoding: chunked\r\n",
        "4\r\n1234\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(body, "1234");
    let port = origin.local_addr().unwrap().port();
    for request in [
        post(port, "Content-Length: 5\r\n", "12345"),
        post(
            port,
            "Transfer-Encoding: chunked\r\n",
            "4\r\n1234\r\n1\r\n5\r\n0\r\n\r\n",
        ),
        post(port, "Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
    ] {
        let answer = proxy.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(
            answer.contains("X-Egressway-Reason: signed_body_too_large\r\n"),
            "{answer}"
        );
    }
    assert!(untouched(&origin).await);
}

/// A client that was told to go on with the four bytes of its body.
async fn expecting(proxy: &Proxy, port: u16) -> TcpStream {
    let mut client = dial(proxy.address).await;
    let request = post(port, "Content-Length: 4\r\nExpect: 100-continue\r\n", "");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client
}

#[tokio::test]
async fn the_proxy_answers_the_expectation_itself_and_takes_the_next_request() {
    let (proxy, origin) = (proxy(hmac(), &[("key", key("k"))]).await, origin().await);
    let port = origin.local_addr().unwrap().port();
    let mut client = expecting(&proxy, port).await;
    assert!(
        untouched(&origin).await,
        "nothing is sent before it can be signed"
    );
    client.write_all(b"1234").await.unwrap();
    let mut stream = accept(&origin).await;
    for _ in 0..2 {
        let head = read_head(&mut stream).await;
        assert!(
            !head.contains("Expect") && head.contains("Content-Length: 4\r\n"),
            "{head}"
        );
        assert_eq!(read_exact(&mut stream, 4).await, b"1234");
        stream.write_all(OK).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        assert_eq!(read_exact(&mut client, 2).await, b"ok");
        // The second comes in one piece, over the same connections.
        let request = post(port, "Content-Length: 4\r\n", "1234");
        client.write_all(request.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_gives_up_sends_nothing_on() {
    let (proxy, origin) = (proxy(hmac(), &[("key", key("k"))]).await, origin().await);
    let port = origin.local_addr().unwrap().port();
    let mut client = dial(proxy.address).await;
    let request = post(port, "Content-Length: 10\r\n", "half");
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    timeout(DEADLINE, client.read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .ok();
    proxy.logged(&["client_reset", HOST]).await;
    assert!(untouched(&origin).await);
    // A malformed one is told so, and so is one that stops.
    let answer = proxy
        .raw(post(port, "Transfer-Encoding: chunked\r\n", "x\r\n").as_bytes())
        .await;
    assert_eq!(status(&answer), 400, "{answer}");
    let limits = Limits {
        idle: std::time::Duration::from_millis(100),
        ..Limits::default()
    };
    let hasty = start(documents(rule(None, Some(hmac())), &[("key", key("k"))]), limits).await;
    hasty.names.set(HOST, &[&["127.0.0.1"]]);
    let answer = hasty
        .raw(post(port, "Content-Length: 10\r\n", "half").as_bytes())
        .await;
    assert!(
        status(&answer) == 408 && answer.contains("body_timeout"),
        "{answer}"
    );
    assert!(untouched(&origin).await);
}

#[tokio::test]
async fn a_policy_that_changes_while_a_body_is_held_counts() {
    let (proxy, origin) = (proxy(hmac(), &[("key", key("k"))]).await, origin().await);
    let mut client = expecting(&proxy, origin.local_addr().unwrap().port()).await;
    proxy.state.set_in_force(with_content(Content::default(), &[]));
    client.write_all(b"1234").await.unwrap();
    let answer = read_head(&mut client).await;
    assert!(
        status(&answer) == 403 && answer.contains("no_rule_matches"),
        "{answer}"
    );
    proxy.logged(&["no_rule_matches", HOST]).await;
    assert!(untouched(&origin).await);
}
