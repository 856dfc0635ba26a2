//! `http://` in absolute form: who decides, over which connection a request goes, and what follows.
//!
//! What the origin gets is [`outgoing`]'s, the exchange of bytes [`super::relay`]'s.

mod outgoing;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use egressway_core::acl::{Target, VettedAddr};
use futures::FutureExt as _;
use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::outgoing::{Outgoing, Sending};
use super::Server;
use super::connection::{Connection, Next, Upgraded};
use super::head::Head;
use super::held::NotHeld;
use super::hop;
use super::origin::Origin;
use super::pool::{Key, Pooled};
use super::reason::{Fault, Reason};
use super::relay::{Exchange, Outcome};
use super::request::{Ending, Request};
use super::route::Decided;
use super::terms::failure;
use crate::state::InForce;
use crate::tunnel::{End, Side};

/// The answer to an OPTIONS that may travel no further (RFC 9110, 7.6.2), without its date and end.
const OPTIONS_HERE: &[u8] =
    b"HTTP/1.1 200 OK\r\nAllow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nContent-Length: 0\r\nConnection: close\r\n";

impl Connection {
    /// Serves one request.
    pub(super) async fn forward(&mut self, server: &Server, mut request: Request, head: Head) -> Next {
        let outgoing = match Outgoing::of(&head) {
            Ok(outgoing) => outgoing,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        if head.method == Method::OPTIONS && outgoing.forwards == Some(0) {
            return self.options(server, request, outgoing.target).await;
        }
        // Watched from before the decision, so that no change between the two is missed.
        let in_force = server.state.watch_in_force();
        let what = outgoing.what();
        let decided = server
            .decide(&mut request, self.certified.as_deref_mut(), what)
            .await;
        let permitted = decided.and_then(|Decided { permit, tls }| {
            let terms = server.terms(&mut request, &permit, tls)?;
            Ok((permit, terms))
        });
        let (permit, terms) = match permitted {
            Ok(permitted) => permitted,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        let (kill, deadline) = (self.kill.clone(), request.deadline());
        let signed = tokio::select! {
            biased;
            signed = terms.sign(server, self, &head, &mut request) => signed,
            () = kill.cancelled() => Err(NotHeld::Ended(End::Killed)),
            () = passed(deadline) => Err(NotHeld::Ended(End::Lifetime)),
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(NotHeld::Refused(fault)) => return Next::Refused(Box::new(request), fault.into()),
            Err(NotHeld::Ended(end)) => {
                let ending = Ending {
                    end,
                    status: None,
                    sent: 0,
                    received: 0,
                };
                request.served(server, ending);
                let _ = self.stream.set_zero_linger();
                return Next::Ended;
            }
        };
        let sending = Sending {
            outgoing: &outgoing,
            permit: &permit,
            terms: &terms,
            signed: signed.as_ref(),
        };
        let (outcome, mut pooled) = match self.exchange(server, &mut request, &sending, in_force).await {
            Ok(ended) => ended,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        match outcome {
            Outcome::Refused(reason) => Next::Refused(Box::new(request), reason),
            // Only a connection that served before is stale, and it was tried once.
            Outcome::Stale => Next::Refused(Box::new(request), Fault::UpstreamClosed.into()),
            Outcome::Done {
                ending,
                keep_alive,
                keeps_origin,
            } => {
                request.served(server, ending);
                if let Some(patience) = keeps_origin {
                    let key = Key::new(&permit, terms.tls_id());
                    server.pool.put(key, pooled, patience);
                } else if ending.end == End::Completed {
                    // What was cut short gets none: it must not look as if it had ended.
                    pooled.origin.farewell();
                }
                match (ending.end, keep_alive) {
                    (End::Completed, true) => Next::KeepAlive,
                    (End::Completed, false) => Next::Close,
                    _ => {
                        // Whoever reads a truncated answer must notice; a clean end would hide it.
                        let _ = self.stream.set_zero_linger();
                        Next::Ended
                    }
                }
            }
            Outcome::Upgraded { early } => Next::Tunnel(Box::new(Upgraded {
                origin: Side::new(pooled.origin.into_stream(), &early),
                request,
                target: permit.target().clone(),
                address: pooled.address,
            })),
        }
    }

    /// The exchange, over a connection that waits for one or over a new one; over a second one where the first turns
    /// out to have been closed.
    async fn exchange(
        &mut self,
        server: &Server,
        request: &mut Request,
        sending: &Sending<'_>,
        in_force: watch::Receiver<Arc<InForce>>,
    ) -> Result<(Outcome, Pooled), Reason> {
        let _active = server.state.track();
        let (outgoing, permit, head) = (sending.outgoing, sending.permit, sending.outgoing.head);
        let mut upload = sending.flow(&server.name);
        let key = Key::new(permit, sending.terms.tls_id());
        let mut waiting = server.pool.take(&key, permit, &head.method);
        loop {
            let reused = waiting.is_some();
            let mut pooled = match waiting.take() {
                Some(pooled) => pooled,
                None => {
                    let (stream, address) = server.connect(request, permit).await?;
                    let born = Instant::now();
                    let origin = match sending.terms.connector() {
                        None => Origin::from(stream),
                        Some(connector) => server.handshake(request, permit, connector, stream).await?,
                    };
                    Pooled {
                        origin,
                        address,
                        born,
                    }
                }
            };
            server.reach(request, permit, pooled.address)?;
            request.tls = pooled.origin.tls_session();
            request.signature = sending.scheme();
            let exchange = Exchange {
                server,
                head,
                upgrade: outgoing.upgrade.is_some(),
                reused,
                idle: request.limits.idle,
                response_bytes_max: request.limits.response_bytes_max,
            };
            let outcome = {
                let mut cut = pin!(cut(self.kill.clone(), in_force.clone(), request, pooled.address));
                // A body takes its time to be held; documents may have changed before anything is sent.
                let ended = sending.signed.and_then(|_| cut.as_mut().now_or_never());
                match ended {
                    Some(end) => Outcome::cut(end),
                    None => exchange.run(self, &mut pooled.origin, &mut upload, cut).await,
                }
            };
            match outcome {
                Outcome::Stale if reused => upload.rewind(),
                Outcome::Refused(Reason::Fault(Fault::UpstreamClosed))
                    if let Some(failed) = pooled.origin.tls_failure() =>
                {
                    return Err(failure(request, failed.clone()));
                }
                outcome => return Ok((outcome, pooled)),
            }
        }
    }

    async fn options(&mut self, server: &Server, mut request: Request, target: Target) -> Next {
        let greeted = server.greet(&mut request, self.certified.as_deref_mut(), target);
        if let Err(reason) = greeted.await {
            return Next::Refused(Box::new(request), reason);
        }
        let mut answer = BytesMut::from(OPTIONS_HERE);
        hop::print_date(&mut answer);
        answer.extend_from_slice(b"\r\n");
        let status = self.stream.write_all(&answer).await.is_ok().then_some(200);
        let ending = Ending {
            end: End::Completed,
            status,
            sent: 0,
            received: 0,
        };
        request.served(server, ending);
        Next::Close
    }
}

/// What ends a request that is under way: the pod's end, or documents that no longer permit it.
async fn cut(
    kill: CancellationToken,
    mut in_force: watch::Receiver<Arc<InForce>>,
    request: &Request,
    address: VettedAddr,
) -> End {
    let mut lifetime = pin!(passed(request.deadline()));
    loop {
        tokio::select! {
            biased;
            () = kill.cancelled() => return End::Killed,
            () = &mut lifetime => return End::Lifetime,
            changed = in_force.changed() => {
                // The sender lives as long as the process's state.
                if changed.is_err() || !request.still_permitted(&in_force.borrow_and_update(), address) {
                    return End::PolicyRevoked;
                }
            }
        }
    }
}

/// Completes once the deadline, if there is one, has passed.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
