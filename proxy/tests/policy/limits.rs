//! Bounds that a policy sets: each refuses with its own code, and takes effect with the next request.

use std::time::Duration;

use egressway_core::wire::document::{Limits as PolicyLimits, Timeouts};
use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::access::World;
use crate::support::{Proxy, accept, dial, origin, read_all, read_head, start, status};

fn limited(limits: PolicyLimits, timeouts: Timeouts) -> World {
    let mut world = World::open();
    world.content.limits = limits;
    world.content.timeouts = timeouts;
    world
}

fn reason(head: &str) -> &str {
    head.lines()
        .find_map(|line| line.strip_prefix("X-Egressway-Reason: "))
        .unwrap_or("none")
}

async fn refused(proxy: &Proxy, target: &str, status_code: u16, code: &str) {
    let (_, head) = proxy.connect(target).await;
    assert!(
        status(&head) == status_code && reason(&head) == code && head.contains("Retry-After: "),
        "{code}: {head}"
    );
}

#[tokio::test]
async fn tunnels_in_all_and_to_one_destination() {
    let world = limited(
        PolicyLimits {
            tunnels: Some(3),
            tunnels_per_destination: Some(2),
            ..PolicyLimits::default()
        },
        Timeouts::default(),
    );
    let proxy = start(world.in_force(), Limits::default()).await;
    let (one, two) = (origin().await, origin().await);
    let targets = [&one, &two].map(|origin| origin.local_addr().unwrap().to_string());
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((proxy.connect(&targets[0]).await.0, accept(&one).await));
    }
    refused(&proxy, &targets[0], 503, "destination_limit").await;
    held.push((proxy.connect(&targets[1]).await.0, accept(&two).await));
    refused(&proxy, &targets[1], 503, "too_many_tunnels").await;
    // What ends makes room, and a policy that gives more room counts at once.
    held.remove(0);
    proxy.logged(&["\"egress.reason\":\"completed\""]).await;
    let (_client, head) = proxy.connect(&targets[0]).await;
    assert_eq!(status(&head), 200, "{head}");
    accept(&one).await;
    proxy.state.set_in_force(World::open().in_force());
    let (_, head) = proxy.connect(&targets[0]).await;
    assert_eq!(status(&head), 200, "{head}");
}

#[tokio::test]
async fn a_kept_connection_to_an_origin_counts_only_while_it_is_used() {
    let world = limited(
        PolicyLimits {
            tunnels_per_destination: Some(1),
            ..PolicyLimits::default()
        },
        Timeouts::default(),
    );
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let mut client = dial(proxy.address).await;
    let mut server = None;
    for _ in 0..3 {
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(accept(&origin).await),
        };
        read_head(server).await;
        refused(&proxy, &target, 503, "destination_limit").await;
        server
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(status(&read_head(&mut client).await), 204);
    }
}

#[tokio::test]
async fn requests_a_second_of_all_and_of_one_client() {
    for (limits, code) in [
        (
            PolicyLimits {
                requests_per_second: Some(5),
                ..PolicyLimits::default()
            },
            "rate_limited",
        ),
        (
            PolicyLimits {
                client_requests_per_second: Some(5),
                ..PolicyLimits::default()
            },
            "client_rate_limited",
        ),
    ] {
        let proxy = start(limited(limits, Timeouts::default()).in_force(), Limits::default()).await;
        let mut codes = Vec::new();
        for _ in 0..50 {
            let (_, head) = proxy.connect("nowhere.example:443").await;
            codes.push((status(&head), reason(&head).to_owned()));
        }
        let served = codes.iter().filter(|(_, code)| code == "dns_not_found").count();
        assert!((5..45).contains(&served), "{codes:?}");
        assert!(
            codes[..5].iter().all(|(_, code)| code == "dns_not_found"),
            "{codes:?}"
        );
        assert!(
            codes.contains(&(429, code.to_owned()))
                && codes
                    .iter()
                    .all(|(_, other)| other == code || other == "dns_not_found"),
            "{codes:?}"
        );
    }
}

#[tokio::test]
async fn heads_connections_and_times() {
    let world = limited(
        PolicyLimits {
            head_bytes: Some(200),
            connections: Some(1),
            ..PolicyLimits::default()
        },
        Timeouts {
            head_ms: Some(200),
            idle_ms: Some(300),
            ..Timeouts::default()
        },
    );
    let proxy = start(world.in_force(), Limits::default()).await;
    let long = format!(
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(300)
    );
    let answer = proxy.raw(long.as_bytes()).await;
    assert!(
        status(&answer) == 431 && answer.contains("longer than 200 bytes or has more than 100 fields"),
        "{answer}"
    );
    let free = || async {
        // The place is given back a moment after the client has read its end.
        loop {
            let answer = proxy.raw(b"\r\nCONNECT").await;
            if !answer.contains("too_many_connections") {
                return answer;
            }
        }
    };
    let answer = free().await;
    assert!(status(&answer) == 408, "{answer}");
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let (mut client, head) = loop {
        let (client, head) = proxy.connect(&target).await;
        if reason(&head) != "too_many_connections" {
            break (client, head);
        }
    };
    assert_eq!(status(&head), 200);
    let _server = accept(&origin).await;
    refused(&proxy, &target, 503, "too_many_connections").await;
    assert!(!read_all(&mut client).await.1, "an idle tunnel is reset");
    proxy.logged(&["\"egress.reason\":\"idle_timeout\""]).await;
}

#[tokio::test]
async fn a_lifetime_ends_tunnels_and_forwarded_requests_that_still_move() {
    let times = Timeouts {
        lifetime_ms: Some(400),
        ..Timeouts::default()
    };
    let world = limited(PolicyLimits::default(), times);
    let proxy = start(world.in_force(), Limits::default()).await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let get = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    for request in [connect, get] {
        let mut client = dial(proxy.address).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = accept(&origin).await;
        let drip = tokio::spawn(async move {
            let _ = server
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                .await;
            while server.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let (bytes, clean) = read_all(&mut client).await;
        assert!(!clean && bytes.len() > 10, "{request}");
        drip.abort();
        let method = request.split(' ').next().unwrap();
        proxy.logged(&["\"egress.reason\":\"lifetime\"", method]).await;
    }
}
