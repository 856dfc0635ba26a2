//! A connection that has become a tunnel: what it is held to, and its line in the log when it is over.
//!
//! How bytes move is [`crate::tunnel`]'s.

use std::sync::Arc;

use egressway_core::acl::{Target, VettedAddr};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Credential;
use crate::server::Server;
use crate::server::request::{Ending, Request};
use crate::server::who::Who;
use crate::state::InForce;
use crate::tunnel::live::{Meter, Open};
use crate::tunnel::{self, Cuts, Means, Side};

/// A connection that has become a tunnel, and what is still to be known about it.
#[derive(Debug)]
pub(in crate::server) struct Tunnel {
    pub(in crate::server) client: Side,
    pub(in crate::server) origin: Side,
    /// Whose it is; its place.
    pub(in crate::server) who: Who,
    pub(in crate::server) request: Request,
    pub(in crate::server) target: Target,
    pub(in crate::server) address: VettedAddr,
    /// What the client was told.
    pub(in crate::server) status: u16,
}

impl Tunnel {
    pub(super) async fn run(self: Box<Self>, server: &Server, kill: CancellationToken) {
        let Self {
            client,
            origin,
            who: _who,
            mut request,
            target,
            address,
            status,
        } = unboxed(self);
        let mut in_force = server.state.watch_in_force();
        if !server.state.is_current(&request.documents) {
            // They changed since it was decided: asked before the first byte.
            in_force.mark_changed();
        }
        // What was proved is not proved again, and a tunnel is open for hours.
        request.credential = Credential::None;
        let (_tunnel, _active) = (server.metrics.tunnel(), server.state.track());
        let listed = server.live.list(Open {
            id: request.id,
            client: request.client,
            policy: request.policy.clone(),
            target,
            address,
            meter: Meter::new(Instant::now()),
        });
        let open = listed.open();
        let cuts = Cuts {
            idle: request.limits.idle,
            deadline: request.deadline(),
            in_force,
            kill,
        };
        let means = Means {
            counters: &server.counters,
            meter: &open.meter,
            pipes: &server.pipes,
        };
        // It keeps the newest documents alive, never old ones.
        let permitted = |documents: &Arc<InForce>| request.goes_on(documents, open.address);
        let outcome = tunnel::run(client, origin, cuts, means, permitted).await;
        let ending = Ending {
            end: outcome.end,
            status: Some(status),
            sent: outcome.sent,
            received: outcome.received,
        };
        request.served(server, ending);
    }
}

/// The content of a box, which is given back here: moved out of in place it would live as long as what moved it.
#[expect(clippy::boxed_local, reason = "giving the box back is what it is for")]
fn unboxed<T>(content: Box<T>) -> T {
    *content
}
