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
use super::sni::SniCheck;
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
            Ok(routed) => {
                let sni = routed.permit.settings().sni.into();
                self.established(server, request, routed, sni).await
            }
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
        sni: SniCheck,
    ) -> Option<Box<Tunnel>> {
        let ending = |end, status| Ending {
            end,
            status,
            sent: 0,
            received: 0,
        };
        let written = async {
            self.stream.write_all(ESTABLISHED).await?;
            self.stream.flush().await
        };
        if let Err(error) = written.await {
            request.detail = Some(error.to_string().into());
            request.served(server, ending(End::ClientReset, None));
            return None;
        }
        let (host, patience) = (routed.permit.target().host(), request.limits.head_time);
        if !sni
            .passes(&mut self.stream, &mut self.buffer, host, patience)
            .await
        {
            // A socket that is gone already cannot be reset any more.
            let _ = self.stream.set_zero_linger();
            request.served(server, ending(End::SniMismatch, Some(200)));
            return None;
        }
        Some(Box::new(Tunnel {
            client: Side::new(self.stream, &self.buffer),
            origin: Side::new(routed.stream, &[]),
            request,
            target: routed.permit.target().clone(),
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
