//! The admin port: all of it is for whoever has the token.

use std::fs;

use crate::alone::{Alone, LOOPBACK, eventually, policy};
use crate::ask::{connect, get};
use crate::support::{accept, origin, status};

#[tokio::test]
async fn the_token_opens_the_rest_of_the_admin_port() {
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let request = |method: &str, path: &str, token: &str, body: &str| {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {length}\r\n\r\n{body}")
    };
    let plain = Alone::start(&policy(LOOPBACK), &[]).await;
    for path in ["/tunnels", "/policy", "/log-level"] {
        assert_eq!(
            status(&get(plain.admin, &request("GET", path, "", "")).await),
            404,
            "{path}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.yaml"), policy(LOOPBACK)).unwrap();
    fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let proxy = Alone::start_in(dir, &["--admin-token-file", "token"]).await;
    let (good, bad) = (
        "Authorization: Bearer s3cret\r\n",
        "Authorization: Bearer s3cre\r\n",
    );
    for path in ["/tunnels", "/policy", "/log-level"] {
        for token in ["", bad, "Authorization: Basic s3cret\r\n"] {
            assert_eq!(
                status(&get(proxy.admin, &request("GET", path, token, "")).await),
                401,
                "{path}"
            );
        }
    }
    let (client, _) = connect(proxy.proxy, &target).await;
    let _server = accept(&origin).await;
    let tunnels = eventually("the tunnel is listed", async || {
        let answer = get(proxy.admin, &request("GET", "/tunnels", good, "")).await;
        answer.contains(&target).then_some(answer)
    })
    .await;
    assert!(tunnels.contains("payments/webhooks"), "{tunnels}");
    drop(client);
    let answer = get(proxy.admin, &request("GET", "/policy", good, "")).await;
    assert!(
        status(&answer) == 200 && answer.contains("\"mode\": \"Enforce\"") && answer.contains("\"rules\": 1"),
        "{answer}"
    );
    for (method, body, expected) in [
        ("PUT", "debug", 200),
        ("PUT", "a=b=c", 400),
        ("PUT", "", 400),
        ("GET", "", 405),
        ("PUT", &"x".repeat(5000), 413),
    ] {
        assert_eq!(
            status(&get(proxy.admin, &request(method, "/log-level", good, body)).await),
            expected,
            "{method} {body}"
        );
    }
    proxy.process.says("the log level was changed").await;
    fs::write(proxy.path("token"), "other").unwrap();
    assert_eq!(
        status(&get(proxy.admin, &request("GET", "/policy", good, "")).await),
        401
    );
    assert_eq!(
        status(&get(proxy.admin, &request("GET", "/livez", "", "")).await),
        200
    );
}
