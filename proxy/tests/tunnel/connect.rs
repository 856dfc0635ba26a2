//! CONNECT on real sockets: bytes arrive whole, ends and resets pass, refusals are readable and close.

use egressway_core::wire::report::Phase;
use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::support::{
    DEADLINE, accept, allow, dial, in_force, open, origin, read_all, read_exact, read_head, start, status,
};

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    let (mut client, head) = proxy.connect(&target).await;
    assert_eq!(head, "HTTP/1.1 200 Connection established\r\n\r\n");
    let mut server = accept(&origin).await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_exact(&mut server, 4).await, b"ping");
    server.write_all(b"pong").await.unwrap();
    assert_eq!(read_exact(&mut client, 4).await, b"pong");
    drop((client, server));
    let line = proxy
        .logged(&["\"egress.decision\":\"allow\"", "\"egress.reason\":\"completed\""])
        .await;
    assert!(
        line.contains("\"egress.bytes_sent\":4") && line.contains("\"egress.policy\":\"payments/webhooks\""),
        "{line}"
    );
}

#[tokio::test]
async fn bytes_sent_with_connect_are_delivered() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    client
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly").as_bytes())
        .await
        .unwrap();
    let mut server = accept(&origin).await;
    assert_eq!(read_exact(&mut server, 5).await, b"early");
}

#[tokio::test]
async fn http_1_0_clients_get_a_tunnel() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap();
    let mut client = dial(proxy.address).await;
    client
        .write_all(format!("CONNECT {target} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn half_closes_pass_each_way() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    for client_first in [true, false] {
        let (mut client, _) = proxy.connect(&target).await;
        let mut server = accept(&origin).await;
        let (first, second) = if client_first {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(read_all(second).await, (b"question".to_vec(), true));
        second.write_all(b"answer").await.unwrap();
        second.shutdown().await.unwrap();
        assert_eq!(read_all(first).await, (b"answer".to_vec(), true));
    }
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    let (mut client, _) = proxy.connect(&target).await;
    let mut server = accept(&origin).await;
    server.write_all(b"half an ans").await.unwrap();
    assert_eq!(read_exact(&mut client, 11).await, b"half an ans");
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(
        read_all(&mut client).await,
        (vec![], false),
        "the client must not see a clean end"
    );
    proxy.logged(&["origin_reset"]).await;
}

#[tokio::test]
async fn refusals_are_readable_and_close() {
    let proxy = start(in_force(allow(&["*.example"], &[]), &[]), Limits::default()).await;
    let answer = proxy
        .raw(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let line = answer.lines().next().unwrap();
    assert!(
        line.starts_with(
            "HTTP/1.1 403 Egress denied by payments/webhooks: evil.test:443 matches no Allow rule (id "
        ),
        "{line}"
    );
    for field in [
        "Proxy-Status: egressway-proxy; error=http_request_denied",
        "X-Egressway-Reason: no_rule_matches",
        "Connection: close",
    ] {
        assert!(answer.contains(field), "{field} in {answer}");
    }
    assert_eq!(
        answer.matches("HTTP/1.1").count(),
        1,
        "nothing behind a refused CONNECT is processed: {answer}"
    );
    let id = answer
        .lines()
        .find_map(|l| l.strip_prefix("X-Egressway-Id: "))
        .unwrap()
        .to_owned();
    proxy.logged(&[&id, "\"egress.decision\":\"deny\""]).await;
}

#[tokio::test]
async fn faults_on_the_way_are_told_apart() {
    let proxy = open().await;
    let closed = {
        let gone = origin().await;
        gone.local_addr().unwrap()
    };
    for (target, expected, code) in [
        (closed.to_string(), 502, "connection_refused"),
        ("nosuch.example:443".to_owned(), 502, "dns_not_found"),
        ("a.example".to_owned(), 400, "malformed_target"),
        ("a.example:0".to_owned(), 400, "malformed_target"),
        ("user@a.example:443".to_owned(), 400, "malformed_target"),
        ("http://a.example:443".to_owned(), 400, "malformed_target"),
    ] {
        let (_, head) = proxy.connect(&target).await;
        assert_eq!(status(&head), expected, "{target}: {head}");
        assert!(
            head.contains(&format!("X-Egressway-Reason: {code}\r\n")),
            "{target}: {head}"
        );
    }
}

#[tokio::test]
async fn connect_with_a_body_is_refused() {
    let proxy = open().await;
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let answer = proxy
            .raw(format!("CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\nhello").as_bytes())
            .await;
        assert_eq!(status(&answer), 400, "{field}: {answer}");
    }
}

#[tokio::test]
async fn a_pod_that_does_not_serve_refuses_with_503() {
    let proxy = open().await;
    for (phase, code) in [
        (Phase::Quarantined, "quarantined"),
        (Phase::Starting, "not_ready"),
        (Phase::Draining, "draining"),
    ] {
        proxy.state.set_phase(phase);
        let (_, head) = proxy.connect("127.0.0.1:9").await;
        assert_eq!(status(&head), 503, "{head}");
        assert!(head.contains(code) && head.contains("Retry-After"), "{head}");
    }
}

#[tokio::test]
async fn a_new_policy_cuts_tunnels_that_it_forbids_and_no_others() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap();
    let (mut client, _) = proxy.connect(&target.to_string()).await;
    let mut server = accept(&origin).await;
    proxy
        .state
        .set_in_force(in_force(allow(&[], &["127.0.0.0/8"]), &["127.0.0.0/8"]));
    client.write_all(b"still").await.unwrap();
    assert_eq!(read_exact(&mut server, 5).await, b"still");
    proxy
        .state
        .set_in_force(in_force(allow(&["*"], &[]), &["127.0.0.0/8"]));
    assert_eq!(read_all(&mut client).await, (vec![], false));
    proxy.logged(&["policy_revoked"]).await;
}

#[tokio::test]
async fn stop_refuses_new_requests_and_lets_tunnels_end() {
    let (proxy, origin) = (open().await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    let (mut client, _) = proxy.connect(&target).await;
    let mut server = accept(&origin).await;
    proxy.state.set_phase(Phase::Draining);
    proxy.stop.cancel();
    let (_, head) = proxy.connect(&target).await;
    assert_eq!(status(&head), 503, "{head}");
    client.write_all(b"goes on").await.unwrap();
    assert_eq!(read_exact(&mut server, 7).await, b"goes on");
    drop((client, server));
    timeout(DEADLINE, proxy.task)
        .await
        .expect("the server does not end")
        .unwrap();
}

#[tokio::test]
async fn past_the_limit_of_connections_a_client_reads_why() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let proxy = start(in_force(allow(&["*"], &["0.0.0.0/0"]), &["127.0.0.0/8"]), limits).await;
    let origin = origin().await;
    let (_held, head) = proxy.connect(&origin.local_addr().unwrap().to_string()).await;
    assert_eq!(status(&head), 200);
    let (_, head) = proxy.connect("a.example:443").await;
    assert!(
        status(&head) == 503 && head.contains("too_many_connections"),
        "{head}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off() {
    let proxy = open().await;
    let mut client = dial(proxy.address).await;
    client.write_all(b"CONNECT a.exa").await.unwrap();
    let (answer, _) = read_all_slowly(&mut client).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        status(&answer) == 408 && answer.contains("head_timeout"),
        "{answer}"
    );
}

/// Without a deadline of its own, which a paused clock would reach at once.
async fn read_all_slowly(stream: &mut tokio::net::TcpStream) -> (Vec<u8>, bool) {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    let clean = stream.read_to_end(&mut bytes).await.is_ok();
    (bytes, clean)
}
