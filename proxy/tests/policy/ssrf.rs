//! Nothing on the floor is dialled, whatever a policy allows and however an address is written or reached.

use std::sync::atomic::Ordering;

use egressway_proxy::server::Limits;

use crate::support::{Proxy, accept, allow, in_force, open, origin, start, status, untouched};

/// Written as a target: address, and the status it must get.
const SPELLINGS: &[(&str, u16)] = &[
    ("127.0.0.1", 403),
    ("127.255.255.255", 403),
    ("0.0.0.0", 403),
    ("0.1.2.3", 403),
    ("10.0.0.1", 403),
    ("10.255.255.255", 403),
    ("100.64.0.1", 403),
    ("100.100.100.200", 403),
    ("169.254.169.254", 403),
    ("169.254.170.2", 403),
    ("172.16.0.1", 403),
    ("172.31.255.255", 403),
    ("192.0.0.1", 403),
    ("192.0.0.192", 403),
    ("192.0.2.1", 403),
    ("192.88.99.1", 403),
    ("192.168.0.1", 403),
    ("198.18.0.1", 403),
    ("198.51.100.1", 403),
    ("203.0.113.1", 403),
    ("224.0.0.1", 403),
    ("240.0.0.1", 403),
    ("255.255.255.255", 403),
    ("168.63.129.16", 403),
    ("[::]", 403),
    ("[::1]", 403),
    ("[0:0:0:0:0:0:0:1]", 403),
    ("[::ffff:127.0.0.1]", 403),
    ("[::ffff:7f00:1]", 403),
    ("[::ffff:10.0.0.1]", 403),
    ("[::127.0.0.1]", 403),
    ("[::ffff:0:127.0.0.1]", 403),
    ("[64:ff9b::127.0.0.1]", 403),
    ("[64:ff9b::10.0.0.1]", 403),
    ("[64:ff9b:1::7f00:1]", 403),
    ("[100::1]", 403),
    ("[100:0:0:1::1]", 403),
    ("[2001::1]", 403),
    ("[2001:2::1]", 403),
    ("[2001:db8::1]", 403),
    ("[2002:7f00:1::]", 403),
    ("[3fff::1]", 403),
    ("[5f00::1]", 403),
    ("[fc00::1]", 403),
    ("[fd00:ec2::254]", 403),
    ("[fd12:3456::1]", 403),
    ("[fe80::1]", 403),
    ("[fec0::1]", 403),
    ("[ff02::1]", 403),
    ("[2620:4f:8000::5efe:127.0.0.1]", 403),
    ("[FE80::1]", 403),
    ("2130706433", 400),
    ("0x7f000001", 400),
    ("0x7f.0.0.1", 400),
    ("0177.0.0.1", 400),
    ("127.1", 400),
    ("127.0.1", 400),
    ("127.0.0.1.", 400),
    ("127.0.0.01", 400),
    ("1.2.3.4.5", 400),
    ("[::1%25lo]", 400),
    ("[fe80::1%eth0]", 400),
    ("[127.0.0.1]", 400),
    ("[example.com]", 400),
    ("::1", 400),
    ("localhost", 403),
    ("LOCALHOST.", 403),
    ("a.localhost", 403),
    ("kubernetes", 403),
    ("kubernetes.default.svc", 403),
    ("x.svc.cluster.local", 403),
    ("X.Svc.Cluster.Local.", 403),
    ("metadata.google.internal", 403),
];

async fn strict() -> Proxy {
    start(
        in_force(allow(&["*"], &["0.0.0.0/0", "::/0"]), &[]),
        Limits::default(),
    )
    .await
}

#[tokio::test]
async fn every_spelling_is_refused_by_connect_and_by_forwarding() {
    let (proxy, origin) = (strict().await, origin().await);
    let port = origin.local_addr().unwrap().port();
    let mut wrong = Vec::new();
    for (host, expected) in SPELLINGS {
        let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: a\r\n\r\n");
        let forward = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        for request in [connect, forward] {
            let answer = proxy.raw(request.as_bytes()).await;
            if status(&answer) != *expected {
                wrong.push(format!("{request:?}: {}", answer.lines().next().unwrap_or("")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untouched(&origin).await);
    assert_eq!(
        proxy.names.1.load(Ordering::SeqCst),
        0,
        "no refused target was looked up"
    );
}

#[tokio::test]
async fn names_that_lead_to_the_floor_are_refused_without_telling_where() {
    let proxy = strict().await;
    for (host, _) in SPELLINGS.iter().filter(|(host, status)| {
        *status == 403 && !host.contains(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit())
    }) {
        let ip = host.trim_matches(['[', ']']);
        proxy.names.set("evil.example", &[&[ip]]);
        let (_, head) = proxy.connect("evil.example:443").await;
        assert_eq!(status(&head), 403, "{ip}: {head}");
        assert!(
            head.contains("destination_ip_prohibited") && !head.contains(ip),
            "{head}"
        );
    }
}

#[tokio::test]
async fn of_mixed_answers_only_vetted_ones_are_dialled() {
    let rules = allow(&["*"], &[]);
    let proxy = start(in_force(rules, &["127.0.0.1/32"]), Limits::default()).await;
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    // 127.0.0.2 is on the floor here, and a listener there would take the connection.
    for answer in [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]] {
        proxy.names.set("mixed.example", &[&answer]);
        let (_client, head) = proxy.connect(&format!("mixed.example:{port}")).await;
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(
            accept(&origin).await.local_addr().unwrap().ip().to_string(),
            "127.0.0.1"
        );
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_per_request_and_judged_each_time() {
    let proxy = start(in_force(allow(&["*"], &[]), &["127.0.0.1/32"]), Limits::default()).await;
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    proxy
        .names
        .set("rebind.example", &[&["127.0.0.1"], &["127.0.0.3"]]);
    let (_client, head) = proxy.connect(&format!("rebind.example:{port}")).await;
    assert_eq!((status(&head), proxy.names.1.load(Ordering::SeqCst)), (200, 1));
    let (_, head) = proxy.connect(&format!("rebind.example:{port}")).await;
    assert_eq!((status(&head), proxy.names.1.load(Ordering::SeqCst)), (403, 2));
}

#[tokio::test]
async fn the_proxy_does_not_dial_itself() {
    let proxy = open().await;
    proxy.names.set("self.example", &[&["127.0.0.1"]]);
    for host in ["127.0.0.1", "self.example"] {
        let (_, head) = proxy.connect(&format!("{host}:{}", proxy.address.port())).await;
        assert_eq!(status(&head), 403, "{head}");
    }
}
