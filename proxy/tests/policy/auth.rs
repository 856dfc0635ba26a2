//! Clients by password and by token, over real sockets: what they may do, what they are told, what changes under
//! them. Those by pod are in `auth/pods.rs`, rules for single requests in `auth/requests.rs`.

mod pods;
mod requests;

use std::time::Duration;

use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::access::{Signer, World, accounts, passwords};
use crate::support::{accept, connect, dial, origin, read_exact, read_head, start, status, untouched};

pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {text}\r\n")
}

fn by_password() -> World {
    World::open()
        .client("legacy", false, Some(passwords(&["old", "new"])))
        .password("old", "s3cret")
        .password("new", "n3xt:with colon")
}

async fn origin_and_target() -> (TcpListener, String) {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    (origin, target)
}

#[tokio::test]
async fn a_password_opens_and_its_absence_is_a_challenge() {
    let proxy = start(by_password().in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    for (user, password) in [("", "s3cret"), ("any body", "s3cret"), ("u", "n3xt:with colon")] {
        let (_, head) = connect(proxy.address, &target, &basic(user, password)).await;
        assert_eq!(status(&head), 200, "{user} {password}: {head}");
    }
    for _ in 0..3 {
        accept(&origin).await;
    }
    proxy
        .logged(&["\"egress.client\":\"legacy\"", "\"egress.decision\":\"allow\""])
        .await;
    for (field, code) in [
        (String::new(), "credentials_missing"),
        (basic("u", "wrong"), "credentials_invalid"),
        (basic("u", ""), "credentials_invalid"),
        (basic("s3cret", "u"), "credentials_invalid"),
        (
            "Proxy-Authorization: Basic !!\r\n".to_owned(),
            "credentials_invalid",
        ),
        (
            "Proxy-Authorization: Negotiate abc\r\n".to_owned(),
            "credentials_invalid",
        ),
        (
            "Proxy-Authorization: Bearer s3cret\r\n".to_owned(),
            "credentials_invalid",
        ),
    ] {
        let (_, head) = connect(proxy.address, &target, &field).await;
        assert!(
            status(&head) == 407
                && head.contains(&format!("X-Egressway-Reason: {code}\r\n"))
                && head.contains(
                    "Proxy-Authenticate: Basic realm=\"egressway payments/webhooks\", charset=\"UTF-8\"\r\n"
                )
                && !head.contains("Bearer"),
            "{field}: {head}"
        );
        proxy
            .logged(&[
                &format!("\"egress.reason\":\"{code}\""),
                "\"egress.decision\":\"deny\"",
            ])
            .await;
    }
    for field in [
        format!("{}{}", basic("u", "s3cret"), basic("u", "s3cret")),
        format!("Proxy-Authorization: Basic {}\r\n", "a".repeat(9000)),
    ] {
        let (_, head) = connect(proxy.address, &target, &field).await;
        assert!(
            status(&head) == 400 && head.contains("malformed_request"),
            "{head}"
        );
    }
    assert!(untouched(&origin).await);
}

#[tokio::test]
async fn beside_clients_by_pod_a_credential_is_asked_for_wherever_it_could_change_the_verdict() {
    let mut world = by_password()
        .client("sender", true, None)
        .pod("sender-1", "127.0.0.1", &["sender"]);
    // Names are for everybody, addresses for the client with the password.
    world.content.rules[1].clients = vec!["legacy".to_owned()];
    let proxy = start(world.in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    for (field, expected, code) in [
        (String::new(), 407, "credentials_missing"),
        (basic("u", "wrong"), 407, "credentials_invalid"),
    ] {
        let (_, head) = connect(proxy.address, &target, &field).await;
        assert!(
            status(&head) == expected && head.contains(code) && head.contains("Proxy-Authenticate: Basic "),
            "{field}: {head}"
        );
    }
    assert!(untouched(&origin).await);
    let (_, head) = connect(proxy.address, &target, &basic("u", "s3cret")).await;
    assert_eq!(status(&head), 200, "{head}");
    accept(&origin).await;
    // What no credential opens is refused for what it is, with one or without.
    for field in [String::new(), basic("u", "wrong"), basic("u", "s3cret")] {
        let (_, head) = connect(proxy.address, "192.175.48.1:443", &field).await;
        assert!(
            status(&head) == 403 && head.contains("no_rule_matches") && !head.contains("Proxy-Authenticate"),
            "{field}: {head}"
        );
    }
    // Whom the table leaves out is a stranger, and may have a password.
    world.pods.clear();
    proxy.state.set_in_force(world.in_force());
    let (_, head) = connect(proxy.address, &target, "").await;
    assert!(
        status(&head) == 407 && head.contains("credentials_missing"),
        "{head}"
    );
}

#[tokio::test]
async fn a_forwarded_request_is_asked_for_its_credential_each_time_and_the_origin_never_sees_it() {
    let proxy = start(by_password().in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    let mut client = dial(proxy.address).await;
    let field = basic("u", "s3cret");
    let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    let seen = read_head(&mut server).await;
    assert!(!seen.to_ascii_lowercase().contains("proxy-"), "{seen}");
    server
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 204);
    // The same connection, and no credential.
    let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 407);
}

#[tokio::test]
async fn what_the_proxy_answers_itself_is_not_for_strangers() {
    let ask = |field: &str| {
        format!("OPTIONS http://a.example/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n{field}\r\n")
    };
    let proxy = start(by_password().in_force(), Limits::default()).await;
    for (field, expected) in [
        (String::new(), 407),
        (basic("u", "wrong"), 407),
        (basic("u", "s3cret"), 200),
    ] {
        let answer = proxy.raw(ask(&field).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{field}: {answer}");
    }
    proxy
        .logged(&[
            "OPTIONS",
            "\"egress.client\":\"legacy\"",
            "\"egress.decision\":\"allow\"",
        ])
        .await;
    let pods = World::open()
        .client("sender", true, None)
        .pod("other", "127.0.0.1", &[]);
    let proxy = start(pods.in_force(), Limits::default()).await;
    let answer = proxy.raw(ask("").as_bytes()).await;
    assert!(
        status(&answer) == 403 && answer.contains("client_unknown"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_token_of_a_service_account_is_taken_as_password_and_by_itself() {
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let audience = "egressway.dev/payments/webhooks";
    let mut world = World::open().client("token", false, Some(accounts(&["payments/sender"])));
    world.issuer = Some(Signer::issuer(&[&one]));
    let proxy = start(world.in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    let good = one.token("payments/sender", audience);
    let bearer = |token: &str| format!("Proxy-Authorization: Bearer {token}\r\n");
    for field in [basic("payments/webhooks", &good), basic("", &good), bearer(&good)] {
        let (_, head) = connect(proxy.address, &target, &field).await;
        assert_eq!(status(&head), 200, "{head}");
        accept(&origin).await;
    }
    for (field, why) in [
        (bearer(&one.token("payments/other", audience)), ""),
        (
            bearer(&one.token("payments/sender", "egressway.dev/payments/other")),
            "another audience",
        ),
        (
            bearer(&two.token("payments/sender", audience)),
            "none of the issuer's",
        ),
        (basic("payments/webhooks", "no-token"), ""),
    ] {
        let (_, head) = connect(proxy.address, &target, &field).await;
        assert!(
            status(&head) == 407
                && head.contains("credentials_invalid")
                && head.contains("Proxy-Authenticate: Basic realm=")
                && head.contains("Proxy-Authenticate: Bearer realm=\"egressway payments/webhooks\"\r\n"),
            "{head}"
        );
        proxy.logged(&["credentials_invalid", why]).await;
    }
    // Keys rotate: both are known for a while, then the old one is forgotten, and what it signed with it.
    world.issuer = Some(Signer::issuer(&[&one, &two]));
    proxy.state.set_in_force(world.in_force());
    let next = two.token("payments/sender", audience);
    for token in [&good, &next] {
        assert_eq!(
            status(&connect(proxy.address, &target, &bearer(token)).await.1),
            200
        );
        accept(&origin).await;
    }
    world.issuer = Some(Signer::issuer(&[&two]));
    proxy.state.set_in_force(world.in_force());
    assert_eq!(
        status(&connect(proxy.address, &target, &bearer(&good)).await.1),
        407
    );
    assert_eq!(
        status(&connect(proxy.address, &target, &bearer(&next)).await.1),
        200
    );
    accept(&origin).await;
}

#[tokio::test]
async fn passwords_rotate_under_load_and_no_valid_one_is_refused() {
    let world = |secrets: &[(&str, &str)]| {
        let names: Vec<&str> = secrets.iter().map(|(name, _)| *name).collect();
        let world = World::open().client("legacy", false, Some(passwords(&names)));
        secrets
            .iter()
            .fold(world, |world, (name, password)| world.password(name, password))
    };
    let proxy = start(world(&[("a", "p0")]).in_force(), Limits::default()).await;
    let (origin, target) = origin_and_target().await;
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = origin.accept().await {
            tokio::spawn(async move {
                loop {
                    if !read_head(&mut stream).await.starts_with("GET ") {
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let current = std::sync::Arc::new(std::sync::Mutex::new("p0".to_owned()));
    let mut clients = tokio::task::JoinSet::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for _ in 0..4 {
        let (current, target, stop, address) = (current.clone(), target.clone(), stop.clone(), proxy.address);
        clients.spawn(async move {
            let mut stream = dial(address).await;
            let mut served = 0;
            while !stop.is_cancelled() {
                let password = current.lock().unwrap().clone();
                let field = basic("u", &password);
                let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n{field}\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let head = read_head(&mut stream).await;
                assert_eq!(status(&head), 200, "{head}");
                read_exact(&mut stream, 2).await;
                served += 1;
            }
            served
        });
    }
    for n in 0..20 {
        let (old, new) = (format!("p{n}"), format!("p{}", n + 1));
        // Both are valid, clients move on, the old one goes once nobody is under way with it.
        proxy
            .state
            .set_in_force(world(&[("a", &old), ("b", &new)]).in_force());
        *current.lock().unwrap() = new.clone();
        tokio::time::sleep(Duration::from_millis(30)).await;
        proxy
            .state
            .set_in_force(world(&[("b", &new), ("a", &new)]).in_force());
        proxy.state.set_in_force(world(&[("a", &new)]).in_force());
    }
    stop.cancel();
    let served: usize = clients.join_all().await.into_iter().sum();
    assert!(served > 100, "{served}");
    accepting.abort();
}
