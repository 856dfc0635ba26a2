//! CONNECT: a tunnel to `host:port`, or one readable refusal and the end of the connection.
//!
//! The target alone decides; a Host field is checked for form and never read (RFC 9112, 3.2.2). Bytes that came with
//! the head go to the origin first.

use egressway_core::acl::Target;
use tokio::io::AsyncWriteExt as _;

use super::Server;
use super::connection::{Connection, Tunnel};
use super::head::{Framing, Head};
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::route::Routed;
use crate::tunnel::{End, Side};

/// The answer to a CONNECT that succeeded; neither length nor coding may stand in it (RFC 9110, 9.3.6).
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Connection {
    /// Answers a CONNECT; refused, the connection has ended with it.
    pub(super) async fn connect(
        mut self,
        server: &Server,
        mut request: Request,
        head: &Head,
    ) -> Option<Box<Tunnel>> {
        let routed = match target(head) {
            Ok(target) => {
                server
                    .route(&mut request, self.certified.as_deref_mut(), target)
                    .await
            }
            Err(reason) => Err(reason),
        };
        match routed {
            Ok(routed) => self.established(server, request, routed).await,
            Err(reason) => {
                self.refuse(server, request, reason).await;
                None
            }
        }
    }

    async fn established(
        mut self,
        server: &Server,
        mut request: Request,
        routed: Routed,
    ) -> Option<Box<Tunnel>> {
        if let Err(error) = self.stream.write_all(ESTABLISHED).await {
            request.detail = Some(error.to_string().into());
            let ending = Ending {
                end: End::ClientReset,
                status: None,
                sent: 0,
                received: 0,
            };
            request.served(server, ending);
            return None;
        }
        Some(Box::new(Tunnel {
            client: Side::new(self.stream, &self.buffer),
            origin: Side::new(routed.stream, &[]),
            request,
            target: routed.target,
            address: routed.address,
            status: 200,
        }))
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
