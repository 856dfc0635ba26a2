//! CONNECT: a tunnel to `host:port`, or one readable refusal and the end of the connection.
//!
//! The target alone decides; a Host field is checked for form and never read (RFC 9112, 3.2.2). Bytes that came with
//! the head go to the origin first.

use std::sync::Arc;

use egressway_core::acl::Target;
use tokio::io::AsyncWriteExt as _;

use super::Server;
use super::connection::Connection;
use super::head::{Framing, Head};
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::route::Routed;
use crate::state::InForce;
use crate::tunnel::{self, Counters, Cuts, Side};

/// The answer to a CONNECT that succeeded; neither length nor coding may stand in it (RFC 9110, 9.3.6).
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Connection {
    /// Serves a CONNECT to its end.
    pub(super) async fn connect(self, server: &Server, mut request: Request, head: &Head) {
        let routed = match target(head) {
            Ok(target) => server.route(&mut request, target).await,
            Err(reason) => Err(reason),
        };
        match routed {
            Ok(routed) => self.tunnel(server, request, routed).await,
            Err(reason) => self.refuse(server, request, reason).await,
        }
    }

    async fn tunnel(mut self, server: &Server, request: Request, routed: Routed) {
        if let Err(error) = self.stream.write_all(ESTABLISHED).await {
            let mut request = request;
            request.detail = Some(error.to_string().into());
            let ending = Ending {
                end: tunnel::End::ClientReset,
                status: None,
                sent: 0,
                received: 0,
            };
            return request.served(server, ending);
        }
        let origin = Side {
            stream: routed.stream,
            early: bytes::Bytes::new(),
        };
        let client = Side {
            stream: self.stream,
            early: self.buffer.freeze(),
        };
        let still_permitted = still_permitted(&routed.permit, routed.address);
        let (_tunnel, _active) = (server.metrics.tunnel(), server.state.track());
        let cuts = Cuts {
            idle: server.limits.idle,
            deadline: None,
            in_force: server.state.watch_in_force(),
            kill: self.kill,
        };
        let counters = Counters {
            sent: server.metrics.bytes_sent.clone(),
            received: server.metrics.bytes_received.clone(),
        };
        let outcome = tunnel::run(client, origin, cuts, counters, still_permitted).await;
        let ending = Ending {
            end: outcome.end,
            status: Some(200),
            sent: outcome.sent,
            received: outcome.received,
        };
        request.served(server, ending);
    }
}

/// Whether new documents let a tunnel go on: its target and the very address it leads to are asked again.
pub(super) fn still_permitted(
    permit: &egressway_core::acl::Permit,
    address: egressway_core::acl::VettedAddr,
) -> impl Fn(&InForce) -> bool + use<> {
    let (target, ip) = (permit.target().clone(), address.socket_addr().ip());
    move |in_force| {
        in_force.policy().is_some_and(|policy| {
            let permit = Arc::clone(policy).permit(&in_force.floor, target.clone());
            permit.is_ok_and(|permit| permit.vet(ip).is_ok())
        })
    }
}

fn target(head: &Head) -> Result<Target, Reason> {
    match head.framing {
        Framing::None | Framing::Length(0) => {}
        Framing::Length(_) | Framing::Chunked | Framing::Close => {
            return Err(Fault::MalformedRequest("CONNECT has a body").into());
        }
    }
    Target::parse(&head.target).map_err(|malformed| Fault::MalformedTarget(malformed).into())
}
