//! CONNECT: a tunnel to `host:port`, or one readable refusal and the end of the connection.
//!
//! The target alone decides; a Host field is checked for form and never read (RFC 9112, 3.2.2). Bytes that came with
//! the head go to the origin first.

use egressway_core::acl::{Target, VettedAddr};
use tokio::io::AsyncWriteExt as _;

use super::Server;
use super::connection::{Connection, Tunnel};
use super::head::{Framing, Head};
use super::reason::{Fault, Reason};
use super::request::{Ending, Request};
use super::route::{Decided, Routed, What};
use super::sni::SniCheck;
use super::terms::asks_for_tls;
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
        let target = match target(head) {
            Ok(target) => target,
            Err(reason) => {
                self.refuse(server, request, reason).await;
                return None;
            }
        };
        let what = What::tunnel(&target, asks_for_tls(head));
        let routed = server
            .route(&mut request, self.certified.as_deref_mut(), &mut self.who, &what)
            .await;
        match routed {
            Ok(routed) => self.established(server, request, &what, routed).await,
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
        what: &What<'_>,
        routed: Routed,
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
        let Routed {
            stream,
            mut decided,
            address,
        } = routed;
        if let Err(end) = self
            .may_begin(server, &mut request, what, &mut decided, address)
            .await
        {
            // A socket that is gone already cannot be reset any more.
            let _ = self.stream.set_zero_linger();
            request.served(server, ending(end, Some(200)));
            return None;
        }
        Some(Box::new(Tunnel {
            client: Side::new(self.stream, &self.buffer),
            origin: Side::new(stream, &[]),
            who: self.who.of_tunnel(),
            request,
            target: what.target.clone(),
            address,
            status: 200,
        }))
    }

    /// Whether the first byte may go: the hello names the target where the rule demands it, and what was decided still
    /// holds when it does. A client takes its time for a hello.
    async fn may_begin(
        &mut self,
        server: &Server,
        request: &mut Request,
        what: &What<'_>,
        decided: &mut Decided,
        address: VettedAddr,
    ) -> Result<(), End> {
        let mut passed = SniCheck::Off;
        loop {
            let sni = SniCheck::from(decided.permit.settings().sni);
            if sni != passed {
                let patience = request.limits.head_time;
                let passes = sni.passes(
                    &mut self.stream,
                    &mut self.buffer,
                    decided.permit.target().host(),
                    patience,
                );
                if !passes.await {
                    return Err(End::SniMismatch);
                }
                passed = sni;
            }
            let certified = self.certified.as_deref_mut();
            let held = server.holds(request, certified, what, decided, address);
            held.map_err(|_| End::PolicyRevoked)?;
            if SniCheck::from(decided.permit.settings().sni) == passed {
                return Ok(());
            }
        }
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
