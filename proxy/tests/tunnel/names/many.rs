//! Names with many addresses, of which most drop what is sent to them.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::*;
use crate::support::{origin, status};

/// Drops what comes: its queue is full.
fn silent(at: SocketAddr) -> Vec<Socket> {
    let tcp = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let listener = tcp();
    listener.bind(&at.into()).unwrap();
    listener.listen(0).unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = tcp();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&at.into());
        held.push(filler);
    }
    held
}

#[tokio::test]
async fn a_good_address_behind_eight_that_drop_packets_is_reached() {
    let proxy = crate::support::open().await;
    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    let ips: Vec<String> = (11..19).map(|n| format!("127.0.0.{n}")).collect();
    let _held: Vec<_> = ips
        .iter()
        .map(|ip| silent(SocketAddr::new(ip.parse().unwrap(), port)))
        .collect();
    let mut all: Vec<&str> = ips.iter().map(String::as_str).collect();
    all.push("127.0.0.1");
    proxy.names.set("a.example", &[&all]);
    let began = Instant::now();
    let (_stream, head) = proxy.connect(&format!("a.example:{port}")).await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
