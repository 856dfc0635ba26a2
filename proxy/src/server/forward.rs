//! `http://` in absolute form: who decides, over which connection a request goes, and what follows.
//!
//! What the origin gets is [`outgoing`]'s, the exchange of bytes [`super::relay`]'s.

mod outgoing;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use egressway_core::acl::{Target, VettedAddr};
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
use super::relay::{Exchange, Gate, Outcome};
use super::request::{Ending, Request};
use super::route::{Decided, What};
use super::terms::{Signed, Terms, failure};
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
        let what = outgoing.what();
        let decided = server
            .decide(&mut request, self.certified.as_deref_mut(), &mut self.who, &what)
            .await;
        let mut decided = match decided {
            Ok(decided) => decided,
            Err(reason) => return Next::Refused(Box::new(request), reason),
        };
        let mut signed = None;
        let (outcome, mut pooled) = loop {
            match self
                .attempt(server, &mut request, &outgoing, &what, &mut decided, &mut signed)
                .await
            {
                Ok(ended) => break ended,
                // Nothing of it was sent.
                Err(Stop::Outdated) => {}
                Err(Stop::Refused(reason)) => return Next::Refused(Box::new(request), reason),
                Err(Stop::Ended(end)) => {
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
            }
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
                    let key = Key::new(&decided.permit, pooled.tls);
                    server.pool.put(key, pooled, patience);
                } else if ending.end == End::Completed {
                    pooled.origin.farewell();
                } else {
                    // What was cut short must not look as if it had ended, and no more of it goes out.
                    pooled.origin.reset();
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
                target: decided.permit.target().clone(),
                address: pooled.address,
            })),
        }
    }

    /// One way through, on the terms of what is decided now: holds and signs the body, then exchanges.
    async fn attempt(
        &mut self,
        server: &Server,
        request: &mut Request,
        outgoing: &Outgoing<'_>,
        what: &What<'_>,
        decided: &mut Decided,
        signed: &mut Option<Signed>,
    ) -> Result<(Outcome, Pooled), Stop> {
        decided.anew = false;
        let terms = server.terms(request, &decided.permit, decided.tls)?;
        let (kill, deadline) = (self.kill.clone(), request.deadline());
        *signed = tokio::select! {
            biased;
            signed = terms.sign(server, self, outgoing.head, request, signed.take()) => signed,
            () = kill.cancelled() => Err(NotHeld::Ended(End::Killed)),
            () = passed(deadline) => Err(NotHeld::Ended(End::Lifetime)),
        }
        .map_err(|not_held| match not_held {
            NotHeld::Refused(fault) => Stop::Refused(fault.into()),
            NotHeld::Ended(end) => Stop::Ended(end),
        })?;
        if signed.is_some() {
            // A body takes its time to be held, and a signature its own.
            server.renew(request, self.certified.as_deref_mut(), what, decided)?;
            terms.hold(server, request, decided)?;
        }
        self.exchange(server, request, outgoing, what, decided, &terms, signed.as_ref())
            .await
    }

    /// The exchange, over a connection that waits for one or over a new one; over a second one where the first turns
    /// out to have been closed.
    #[expect(clippy::too_many_arguments, reason = "all that was decided about one request")]
    async fn exchange(
        &mut self,
        server: &Server,
        request: &mut Request,
        outgoing: &Outgoing<'_>,
        what: &What<'_>,
        decided: &mut Decided,
        terms: &Terms,
        signed: Option<&Signed>,
    ) -> Result<(Outcome, Pooled), Stop> {
        let _active = server.state.track();
        let head = outgoing.head;
        let sending = Sending {
            outgoing,
            permit: &decided.permit,
            terms,
            signed,
        };
        let (mut upload, scheme) = (sending.flow(&server.name), sending.scheme());
        let key = Key::new(&decided.permit, terms.tls_id());
        let (permit, client) = (&decided.permit, request.client.ip());
        let mut waiting = server.kept(&key, permit, &head.method, client).await;
        loop {
            let reused = waiting.is_some();
            let mut still = |request: &mut Request, decided: &mut Decided, address: VettedAddr| {
                let certified = self.certified.as_deref_mut();
                server.renew(request, certified, what, decided)?;
                terms.hold(server, request, decided)?;
                if decided.anew && vetted_otherwise(decided, address)? {
                    return Err(Stop::Outdated);
                }
                Ok(())
            };
            let mut pooled = match waiting.take() {
                Some(pooled) => pooled,
                None => {
                    let (stream, address) = server.connect(request, decided, &mut still).await?;
                    let born = Instant::now();
                    let origin = match terms.connector() {
                        None => Origin::from(stream),
                        Some(connector) => {
                            server
                                .handshake(request, &decided.permit, connector, stream)
                                .await?
                        }
                    };
                    Pooled {
                        origin,
                        address,
                        born,
                        tls: terms.tls_id(),
                    }
                }
            };
            still(request, decided, pooled.address)?;
            server.reach(request, &decided.permit, pooled.address)?;
            request.tls = pooled.origin.tls_session();
            request.signature = scheme;
            let exchange = Exchange {
                server,
                head,
                upgrade: outgoing.upgrade.is_some(),
                reused,
                idle: request.limits.idle,
                response_bytes_max: request.limits.response_bytes_max,
            };
            // Watched before the first look at them, so that no change is missed.
            let changes = server.state.watch_in_force();
            let outcome = {
                let cut = pin!(cut(self.kill.clone(), changes, request.deadline()));
                let mut gate = Gate {
                    server,
                    request,
                    address: pooled.address,
                };
                exchange
                    .run(self, &mut pooled.origin, &mut upload, &mut gate, cut)
                    .await
            };
            match outcome {
                Outcome::Stale if reused => upload.rewind(),
                Outcome::Refused(Reason::Fault(Fault::UpstreamClosed))
                    if let Some(failed) = pooled.origin.tls_failure() =>
                {
                    return Err(failure(request, failed.clone()).into());
                }
                outcome => return Ok((outcome, pooled)),
            }
        }
    }

    async fn options(&mut self, server: &Server, mut request: Request, target: Target) -> Next {
        let greeted = server.greet(
            &mut request,
            self.certified.as_deref_mut(),
            &mut self.who,
            &target,
        );
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

/// Why a request does not go out as it was decided.
#[derive(Debug)]
enum Stop {
    /// It is refused.
    Refused(Reason),
    /// It cannot be answered any more.
    Ended(End),
    /// Documents changed while it waited, and by the new ones it goes elsewhere or on other terms: it begins again, from
    /// what is decided now.
    Outdated,
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// Whether what was decided leads to another port; it may lead to this address nowhere.
fn vetted_otherwise(decided: &Decided, address: VettedAddr) -> Result<bool, Reason> {
    let vetted = decided.permit.vet(address.socket_addr().ip())?;
    Ok(vetted != address)
}

impl Terms {
    /// Whether these are still the terms of what was decided; free where nothing was decided anew.
    fn hold(&self, server: &Server, request: &mut Request, decided: &Decided) -> Result<(), Stop> {
        if !decided.anew || server.terms(request, &decided.permit, decided.tls)?.are(self) {
            Ok(())
        } else {
            Err(Stop::Outdated)
        }
    }
}

/// What wakes a request that is under way, and what ends it in any case: the pod's end, or its own time. What documents
/// say is asked by [`Gate`], before a byte moves.
async fn cut(
    kill: CancellationToken,
    mut changes: watch::Receiver<Arc<InForce>>,
    deadline: Option<Instant>,
) -> End {
    let mut lifetime = pin!(passed(deadline));
    loop {
        tokio::select! {
            biased;
            () = kill.cancelled() => return End::Killed,
            () = &mut lifetime => return End::Lifetime,
            changed = changes.changed() => {
                // The sender lives as long as the process's state.
                if changed.is_err() {
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
