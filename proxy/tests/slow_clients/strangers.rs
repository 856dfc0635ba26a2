//! Whoever reaches the port and is no client spends nothing that clients share, and makes room for them.

use std::net::SocketAddr;
use std::time::Duration;

use egressway_core::wire::document::Limits as PolicyLimits;
use egressway_proxy::limits::memory::Memory;
use egressway_proxy::server::Limits;
use futures::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::access::{World, passwords};
use crate::support::{
    DEADLINE, Proxy, accept, connect, dial, origin, quiet, read_all, read_exact, read_head, start,
    start_with, status,
};

/// Requests at one time; a source has a hundred a second.
const FLOOD: usize = 400;
/// `client:secret`.
const CREDENTIAL: &str = "Proxy-Authorization: Basic Y2xpZW50OnNlY3JldA==\r\n";

fn with_password(limits: PolicyLimits) -> World {
    let mut world = World::open()
        .client("client", false, Some(passwords(&["password"])))
        .password("password", "secret");
    world.content.limits = limits;
    world
}

#[expect(clippy::disallowed_methods, reason = "a client in a test")]
async fn dial_from(own: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

async fn ask(proxy: &Proxy, fields: &str) -> String {
    connect(proxy.address, "nowhere.example:443", fields).await.1
}

#[tokio::test]
async fn requests_of_strangers_take_nothing_from_the_rate_of_clients() {
    for limits in [
        PolicyLimits {
            requests_per_second: Some(20),
            ..PolicyLimits::default()
        },
        PolicyLimits {
            client_requests_per_second: Some(20),
            ..PolicyLimits::default()
        },
    ] {
        let proxy = start(with_password(limits).in_force(), Limits::default()).await;
        let mut refused = Vec::new();
        for _ in 0..40 {
            refused.push(status(&ask(&proxy, "").await));
        }
        assert!(refused.iter().all(|status| *status == 407), "{refused:?}");
        for n in 0..20 {
            let head = ask(&proxy, CREDENTIAL).await;
            assert!(head.contains("dns_not_found"), "{n}: {head}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_strangers_is_told_to_slow_down_and_a_client_beside_it_is_not() {
    let proxy = start(
        with_password(PolicyLimits::default()).in_force(),
        Limits::default(),
    )
    .await;
    // All at once: far more than a second's worth, on a slow machine too.
    let flood = join_all((0..FLOOD).map(|_| ask(&proxy, ""))).await;
    let codes: Vec<u16> = flood.iter().map(|head| status(head)).collect();
    assert!(codes.contains(&407) && codes.contains(&429), "{codes:?}");
    assert!(ask(&proxy, CREDENTIAL).await.contains("dns_not_found"));
    // Another address is another source.
    let mut other = dial_from("127.0.0.2", proxy.address).await;
    other
        .write_all(b"CONNECT nowhere.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut other).await), 407);
}

#[tokio::test]
async fn a_new_pod_does_not_starve_behind_strangers_that_wait() {
    let world = World::open().client("sender", true, None);
    let proxy = start(world.in_force(), Limits::default()).await;
    let mut strangers = Vec::new();
    for _ in 0..400 {
        let mut stranger = dial(proxy.address).await;
        stranger
            .write_all(b"CONNECT nowhere.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        strangers.push(stranger);
    }
    let began = Instant::now();
    let mut pod = dial_from("127.0.0.2", proxy.address).await;
    pod.write_all(b"CONNECT nowhere.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    // It is not refused at once; then its row comes.
    tokio::select! {
        head = read_head(&mut pod) => panic!("refused after {:?}: {head}", began.elapsed()),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    let known = world.pod("sender-1", "127.0.0.2", &["sender"]);
    proxy.state.set_in_force(known.in_force());
    let head = read_head(&mut pod).await;
    assert!(head.contains("dns_not_found"), "{head}");
}

/// Heads that have no end.
async fn silent(proxy: &Proxy, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = dial(proxy.address).await;
        stream
            .write_all(b"GET http://a.example/ HTTP/1.1\r\nA: ")
            .await
            .unwrap();
        all.push(stream);
    }
    all
}

#[tokio::test]
async fn a_place_is_made_by_ending_the_stranger_that_has_had_one_longest() {
    let limits = Limits {
        connections: 20,
        head_time: Duration::from_secs(60),
        ..Limits::default()
    };
    let (proxy, origin) = (
        start(with_password(PolicyLimits::default()).in_force(), limits).await,
        origin().await,
    );
    let target = origin.local_addr().unwrap().to_string();
    // A client's tunnel is older than all strangers, and is left alone.
    let (mut first, head) = connect(proxy.address, &target, CREDENTIAL).await;
    assert_eq!(status(&head), 200);
    let mut first_server = accept(&origin).await;
    let mut strangers = silent(&proxy, 19).await;
    let (_client, head) = connect(proxy.address, &target, CREDENTIAL).await;
    assert_eq!(status(&head), 200, "{head}");
    let told = read_all(&mut strangers[0]).await.0;
    let told = String::from_utf8(told).unwrap();
    assert!(
        status(&told) == 503 && told.contains("crowded_out") && told.contains("Retry-After: "),
        "{told}"
    );
    first.write_all(b"x").await.unwrap();
    assert_eq!(read_exact(&mut first_server, 1).await, b"x");
    assert!(quiet(&strangers[1]).await);
}

#[tokio::test]
async fn one_client_has_no_more_connections_than_it_may_and_others_have_theirs() {
    let world = with_password(PolicyLimits {
        client_connections: Some(2),
        ..PolicyLimits::default()
    });
    let (proxy, origin) = (start(world.in_force(), Limits::default()).await, origin().await);
    let target = origin.local_addr().unwrap().to_string();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((
            connect(proxy.address, &target, CREDENTIAL).await,
            accept(&origin).await,
        ));
    }
    let (_, head) = connect(proxy.address, &target, CREDENTIAL).await;
    assert!(
        status(&head) == 503 && head.contains("client_connection_limit"),
        "{head}"
    );
    let mut other = dial_from("127.0.0.2", proxy.address).await;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n{CREDENTIAL}\r\n");
    other.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut other).await), 200);
    // What ends makes room.
    drop(held);
    loop {
        let (_client, head) = connect(proxy.address, &target, CREDENTIAL).await;
        if status(&head) == 200 {
            break;
        }
        assert!(head.contains("client_connection_limit"), "{head}");
    }
}

#[tokio::test]
async fn long_heads_without_an_end_are_bounded_together_and_whoever_is_quick_is_served() {
    // Strangers may hold 512 KiB of it.
    let memory = Memory::with_budget(2 * 1024 * 1024);
    let limits = Limits {
        head_time: Duration::from_secs(60),
        ..Limits::default()
    };
    let world = with_password(PolicyLimits::default());
    let proxy = start_with(world.in_force(), limits, |server| {
        server.with_memory(memory.clone())
    })
    .await;
    let long = format!("X: {}\r\n", "x".repeat(20 * 1024));
    let mut strangers = silent(&proxy, 40).await;
    for stranger in &mut strangers {
        let _ = stranger.write_all(long.as_bytes()).await;
        assert!(memory.total() < memory.budget());
    }
    let honest = format!("{CREDENTIAL}{long}");
    for _ in 0..5 {
        let head = ask(&proxy, &honest).await;
        assert!(head.contains("dns_not_found"), "{head}");
    }
    let told = String::from_utf8(read_all(&mut strangers[0]).await.0).unwrap();
    assert!(told.contains("crowded_out"), "{told}");
    drop(strangers);
    let given_back = async {
        while memory.total() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, given_back)
        .await
        .expect("some is held for ever");
}

/// Writes for as long as somebody takes it.
async fn flood(mut to: TcpStream) {
    while to.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
}

#[tokio::test]
async fn where_memory_is_short_readers_that_take_nothing_are_given_up_and_others_go_on() {
    let memory = Memory::with_budget(64 * 1024 * 1024);
    let world = with_password(PolicyLimits::default());
    let proxy = start_with(world.in_force(), Limits::default(), |server| {
        server.with_memory(memory.clone())
    })
    .await;
    let origin = origin().await;
    let target = origin.local_addr().unwrap().to_string();
    let (mut moving, _) = connect(proxy.address, &target, CREDENTIAL).await;
    let mut moving_server = accept(&origin).await;
    let (_stuck, _) = connect(proxy.address, &target, CREDENTIAL).await;
    let writer = tokio::spawn(flood(accept(&origin).await));
    let mut asking = dial(proxy.address).await;
    let get = format!("GET http://{target}/ HTTP/1.1\r\nHost: a\r\n{CREDENTIAL}\r\n");
    asking.write_all(get.as_bytes()).await.unwrap();
    let mut server = accept(&origin).await;
    read_head(&mut server).await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
    server.write_all(answer).await.unwrap();
    let other_writer = tokio::spawn(flood(server));
    // Three quarters are in use; looked at again and again, as the process does.
    memory.observe(13, 16);
    let relief = async {
        loop {
            proxy.server.relieve();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let given_up = async {
        // Seconds, in which other tests have their turn as well.
        let ended = || {
            String::from_utf8_lossy(&proxy.log.lock().unwrap())
                .matches("crowded_out")
                .count()
        };
        while ended() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = relief => {}
        given_up = tokio::time::timeout(2 * DEADLINE, given_up) => given_up.expect("they hold on"),
    }
    moving.write_all(b"x").await.unwrap();
    assert_eq!(read_exact(&mut moving_server, 1).await, b"x");
    writer.abort();
    other_writer.abort();
}
