//! A whole app on free ports leaves: probes, new requests and open tunnels, in this order.

use std::net::SocketAddr;
use std::time::Duration;

use egressway_proxy::app::{Addresses, App};
use egressway_proxy::args::FleetArgs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::open_files;
use crate::http::{DEADLINE, Scripted, body, get, ok, raw};
use crate::mount::Mount;
use crate::support::{dial, read_head, status};

/// A whole app on free ports.
struct Running {
    addresses: Addresses,
    first: CancellationToken,
    second: CancellationToken,
    app: AbortOnDropHandle<anyhow::Result<()>>,
    _mount: Mount,
}

async fn start(drain_delay: Duration, drain: Duration) -> Running {
    let mount = Mount::with(&open_files());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let args = FleetArgs {
        listen: any,
        admin: any,
        report: any,
        acl_dir: mount.path(),
        report_key_file: mount.path().join("no.key"),
        drain_delay,
        drain,
        insecure_allow: vec!["127.0.0.0/8".parse().unwrap()],
        resolver: vec!["127.0.0.1:53".parse().unwrap()],
        ..FleetArgs::from_env().unwrap()
    };
    let app = App::bind(args).unwrap();
    let addresses = app.addresses();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let signals = (first.clone().cancelled_owned(), second.clone().cancelled_owned());
    let app = AbortOnDropHandle::new(tokio::spawn(app.run(signals.0, signals.1)));
    await_status(addresses.admin, "/readyz", 200).await;
    Running {
        addresses,
        first,
        second,
        app,
        _mount: mount,
    }
}

async fn await_status(address: SocketAddr, path: &str, expected: u16) {
    let reached = async {
        while status(&get(address, path).await) != expected {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached)
        .await
        .unwrap_or_else(|_| panic!("{path} never became {expected}"));
}

/// An open tunnel to the origin.
async fn tunnel(proxy: SocketAddr, origin: SocketAddr) -> TcpStream {
    let mut stream = dial(proxy).await;
    stream
        .write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut stream).await), 200);
    stream
}

async fn refused(proxy: SocketAddr, origin: SocketAddr) -> bool {
    let request = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    status(&raw(proxy, request.as_bytes()).await) == 503
}

#[tokio::test]
async fn an_app_serves_while_it_announces_and_open_tunnels_outlive_the_refusal() {
    let origin = Scripted::start(ok("hello")).await;
    let running = start(Duration::from_millis(1500), DEADLINE).await;
    let proxy = running.addresses.proxy;
    let mut early = tunnel(proxy, origin.address).await;
    running.first.cancel();
    await_status(running.addresses.admin, "/readyz", 503).await;
    assert!(
        !refused(proxy, origin.address).await,
        "not ready, but nodes still route here"
    );
    let until_refused = async {
        while !refused(proxy, origin.address).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, until_refused)
        .await
        .expect("refuses after the delay");
    assert_eq!(
        status(&get(running.addresses.admin, "/livez").await),
        200,
        "alive to the end"
    );
    early
        .write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, early.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body(&answer), "hello");
    drop(early);
    timeout(DEADLINE, running.app)
        .await
        .expect("ends with the last tunnel")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_app_cuts_what_is_left_at_the_limit_or_at_the_second_signal() {
    let origin = Scripted::start(vec![]).await;
    let at_limit = start(Duration::ZERO, Duration::from_millis(200)).await;
    let mut stuck = tunnel(at_limit.addresses.proxy, origin.address).await;
    at_limit.first.cancel();
    timeout(DEADLINE, at_limit.app)
        .await
        .expect("cut at the limit")
        .unwrap()
        .unwrap();
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stuck.read_to_end(&mut rest))
        .await
        .expect("cut");

    let aborted = start(Duration::from_secs(600), Duration::from_secs(600)).await;
    let mut stuck = tunnel(aborted.addresses.proxy, origin.address).await;
    aborted.first.cancel();
    await_status(aborted.addresses.admin, "/readyz", 503).await;
    aborted.second.cancel();
    timeout(DEADLINE, aborted.app)
        .await
        .expect("cut at once")
        .unwrap()
        .unwrap();
    let _ = timeout(DEADLINE, stuck.read_to_end(&mut rest))
        .await
        .expect("cut");
}
