//! Names with broken, slow, silent and changing name servers on real sockets.

#[path = "../support/name_server.rs"]
mod name_server;

mod list;
mod load;
mod many;
mod order;
mod outage;
mod seen;
mod vetted;

use std::net::IpAddr;
use std::time::Duration;

use egressway_proxy::resolve::{ResolveError, Resolver};
use tokio::time::{Instant, timeout};

use self::name_server::{A, NameServer, addresses};

/// Past every limit of a look-up.
const HANGS: Duration = Duration::from_secs(10);

/// Sorted addresses, or why there are none; and the time.
async fn resolve(resolver: &Resolver, name: &str) -> (Result<Vec<String>, ResolveError>, Duration) {
    let began = Instant::now();
    let found = timeout(HANGS, resolver.resolve(name))
        .await
        .expect("the look-up hangs");
    let found = found.map(|addresses| {
        let mut addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        addresses.sort();
        addresses
    });
    (found, began.elapsed())
}

/// Waits for something to become true.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANGS, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
