//! The same question to every server, whatever the others say: for people who look for the broken one.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::LOOKUP_TIMEOUT;
use super::exchange::{self, Patience};
use super::look_up::question;
use super::question::{Family, Flaw, Meaning};
use super::servers::Servers;

/// What one server said about one family.
#[derive(Clone, Debug)]
pub struct ServerAnswer {
    /// Which server.
    pub server: SocketAddr,
    /// Which family.
    pub family: Family,
    /// What it said.
    pub outcome: Result<Meaning, Flaw>,
    /// How long that took.
    pub took: Duration,
}

/// Asks all of them at once.
pub(super) async fn ask_each(servers: &Servers, name: &str) -> Vec<ServerAnswer> {
    let asked = servers.list.iter().flat_map(|server| {
        let (address, options) = (server.address, servers.options);
        Family::ALL.map(|family| async move {
            let since = Instant::now();
            let patience = Patience {
                sends: options.attempts,
                interval: options.timeout,
                until: since + LOOKUP_TIMEOUT,
                transport: options.transport,
            };
            let outcome = match question(name, family) {
                Ok(question) => exchange::ask(address, &question, patience).await,
                Err(flaw) => Err(flaw),
            };
            ServerAnswer {
                server: address,
                family,
                outcome,
                took: since.elapsed(),
            }
        })
    });
    join_all(asked).await
}
