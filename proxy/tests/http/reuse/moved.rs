//! Kept connections of a name that leads elsewhere by now.

use std::time::Duration;

use egressway_proxy::resolve::Resolver;
use egressway_proxy::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::{pooled, request, send};
use crate::name_server::{NXDOMAIN, NameServer, REFUSED, Reply, SERVFAIL};
use crate::support::{
    OK, Proxy, accept, allow, dial, in_force, read_all, read_head, start_resolving, status,
};

/// Good for the shortest time.
fn at(ip: &str) -> Reply {
    Reply::Addresses(vec![ip.parse().unwrap()], 1)
}

/// A proxy that asks a name server; both of two origins have the same port.
async fn parts() -> (Proxy, NameServer, [TcpListener; 2], String) {
    let names = NameServer::start(|_, _| at("127.0.0.1")).await;
    let resolver = Resolver::with_nameservers(vec![names.address]).unwrap();
    let rules = allow(&["*"], &[]);
    let proxy = start_resolving(
        in_force(rules, &["127.0.0.0/8"]),
        Limits::default(),
        resolver,
        |server| server,
    )
    .await;
    let origins = loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
            break [first, second];
        }
    };
    let authority = format!("a.example:{}", origins[0].local_addr().unwrap().port());
    (proxy, names, origins, authority)
}

async fn expire() {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
}

async fn served_by(proxy: &Proxy, server: &mut TcpStream, authority: &str) {
    let mut client = dial(proxy.address).await;
    client
        .write_all(request("GET", authority, "").as_bytes())
        .await
        .unwrap();
    read_head(server).await;
    server.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
}

#[tokio::test]
async fn a_kept_connection_is_let_go_once_its_name_leads_elsewhere() {
    let (proxy, names, origins, authority) = parts().await;
    let mut old = pooled(&proxy, &origins[0], &authority).await;
    names.set(|_, _| at("127.0.0.2"));
    expire().await;
    let mut client = dial(proxy.address).await;
    send(&mut client, &request("GET", &authority, "")).await;
    let mut new = accept(&origins[1]).await;
    read_head(&mut new).await;
    new.write_all(OK).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await), 200);
    assert!(
        read_all(&mut old).await.0.is_empty(),
        "nothing more came over the old one"
    );
}

#[tokio::test]
async fn a_kept_connection_stays_while_its_name_leads_there_or_nobody_can_say() {
    for later in [
        at("127.0.0.1"),
        Reply::Addresses(
            vec!["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()],
            1,
        ),
        SERVFAIL,
        REFUSED,
        Reply::Silence,
    ] {
        let (proxy, names, origins, authority) = parts().await;
        let mut server = pooled(&proxy, &origins[0], &authority).await;
        names.set(move |_, _| later.clone());
        expire().await;
        served_by(&proxy, &mut server, &authority).await;
    }
}

#[tokio::test]
async fn a_kept_connection_of_a_name_that_is_gone_serves_nobody() {
    let (proxy, names, origins, authority) = parts().await;
    let mut old = pooled(&proxy, &origins[0], &authority).await;
    names.set(|_, _| NXDOMAIN);
    expire().await;
    let mut client = dial(proxy.address).await;
    send(&mut client, &request("GET", &authority, "")).await;
    let (answer, _) = read_all(&mut client).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        status(&answer) == 502 && answer.contains("dns_not_found"),
        "{answer}"
    );
    assert!(read_all(&mut old).await.0.is_empty());
}
