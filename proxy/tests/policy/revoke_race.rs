//! Documents that change while a tunnel is being opened: the tunnel is held to them, not to those it was decided by.

use std::sync::Arc;

use egressway_core::wire::report::Phase;
use egressway_proxy::access_log::{AccessLog, Place};
use egressway_proxy::metrics::Metrics;
use egressway_proxy::resolve::Resolver;
use egressway_proxy::server::{Limits, Server};
use egressway_proxy::state::State;
use prometheus_client::registry::Registry;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::World;
use crate::support::{DEADLINE, accept, allow, dial, origin, read_all, read_head, status};

#[tokio::test]
async fn a_policy_that_changes_during_the_look_up_cuts_the_tunnel() {
    let state = State::new();
    state.set_in_force(World::open().in_force());
    state.set_phase(Phase::Serving);
    let (asked, answer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (seen, gate) = (Arc::clone(&asked), Arc::clone(&answer));
    let resolver = Resolver::scripted(move |_| {
        let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        async move {
            seen.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Ok(vec!["127.0.0.1".parse().unwrap()])
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(
        Arc::clone(&state),
        resolver,
        Metrics::register(&mut Registry::default()),
        AccessLog::to_writer(Box::new(std::io::sink()), Place::default()).unwrap(),
        Limits::default(),
        "egressway-proxy".to_owned(),
        vec![],
    );
    let stop = CancellationToken::new();
    let serving = Arc::new(server).serve(listener, stop.clone(), stop.clone());
    let _serving = AbortOnDropHandle::new(tokio::spawn(serving));

    let origin = origin().await;
    let port = origin.local_addr().unwrap().port();
    let mut client = dial(address).await;
    let request = format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let looked_up = tokio::time::timeout(DEADLINE, asked.acquire()).await;
    looked_up.expect("nobody looks it up").unwrap().forget();
    let mut closed = World::open();
    closed.content.rules = allow(&["other.example"], &[]);
    state.set_in_force(closed.in_force());
    answer.add_permits(1);
    // Established or refused, nothing passes any more.
    let head = read_head(&mut client).await;
    if status(&head) == 200 {
        let _origin = accept(&origin).await;
        assert!(!read_all(&mut client).await.1, "the tunnel is reset");
    }
}
