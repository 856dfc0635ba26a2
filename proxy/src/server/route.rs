//! From a target to a connected stream: admit, identify, permit, resolve once, vet every answer, dial what was vetted.
//!
//! The same steps for CONNECT and for forwarded requests, so neither can skip one. It reads no client bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Ask, Deny, Host, HttpAsk, Permit, Policy, Target, VettedAddr};
use egressway_core::wire::document::Mode;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::reason::{Fault, Reason};
use super::request::Request;
use crate::auth::{self, Certified, Evidence, Identity};
use crate::dial::{self, DialError};
use crate::limits::descriptors::Attempt;
use crate::metrics::OutcomeLabels;
use crate::resolve::ResolveError;
use crate::state::InForce;

/// How long a request waits for its source to be listed as a client pod: a pod asks sooner than the news of it spreads.
const TABLE_PATIENCE: Duration = Duration::from_secs(2);
/// Most requests that wait for it; past this a source that is in no row is refused at once.
const WAITING_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum What<'a> {
    /// CONNECT.
    Tunnel(Target),
    /// A forwarded request.
    Http {
        target: Target,
        port_was_written: bool,
        http: HttpAsk<'a>,
        /// The client asks for TLS towards the origin.
        asks_tls: bool,
    },
}

/// Who asks, and the documents that say so.
struct Recognised {
    in_force: Arc<InForce>,
    policy: Arc<Policy>,
    identity: Identity,
}

/// A permitted request.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) permit: Permit,
    /// The proxy speaks TLS to the destination.
    pub(super) tls: bool,
}

/// A connected request.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) stream: TcpStream,
    pub(super) permit: Permit,
    pub(super) address: VettedAddr,
}

impl Server {
    /// Connects a tunnel to a target, noting everything on the way in the request's record.
    pub(super) async fn route(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        target: Target,
    ) -> Result<Routed, Reason> {
        let Decided { permit, .. } = self.decide(request, certified, What::Tunnel(target)).await?;
        let (stream, address) = self.connect(request, &permit).await?;
        self.reach(request, &permit, address)?;
        Ok(Routed {
            stream,
            permit,
            address,
        })
    }

    /// Admits, identifies and permits; nothing is looked up before.
    pub(super) async fn decide(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        what: What<'_>,
    ) -> Result<Decided, Reason> {
        let (What::Tunnel(target) | What::Http { target, .. }) = &what;
        request.target = Some(target.clone());
        let Recognised {
            in_force,
            policy,
            identity,
        } = self.recognise(request, certified).await?;
        let wall = &in_force.wall;
        let permitted = match what {
            What::Tunnel(target) => {
                let ask = Ask::tunnel(target).by(identity.caller);
                policy.permit(wall, ask).map(|permit| (permit, false))
            }
            What::Http {
                target,
                port_was_written,
                http,
                asks_tls,
            } => {
                request.path = Some(http.path.into());
                let ask = Ask::tunnel(target)
                    .by(identity.caller)
                    .http(http.method, http.path);
                let permitted = policy.permit_http(wall, ask, port_was_written, asks_tls);
                if let (Err(Deny::NoRuleMatches), Some(target)) = (&permitted, &request.target) {
                    request.target = Some(policy.unmatched(target, port_was_written, asks_tls));
                }
                permitted
            }
        };
        let credential = std::mem::take(&mut request.credential);
        let (permit, tls) = permitted.map_err(|deny| match deny {
            Deny::ClientUnknown | Deny::CredentialsMissing => {
                request.detail = identity.invalid_token.map(|error| error.to_string().into());
                auth::refusal(&policy, wall, &identity, &credential)
            }
            deny => deny,
        })?;
        request.target = Some(permit.target().clone());
        request.permitted(&permit);
        if let Some(deny) = permit.would_deny() {
            request.report(self, &permit, deny.clone());
        }
        let tunnels = request.limits.tunnels.unwrap_or(usize::MAX);
        request.place = Some(self.tunnels.take(tunnels).ok_or(Fault::TooManyTunnels)?);
        Ok(Decided { permit, tls })
    }

    /// Admits and identifies a request that the proxy answers itself: no rule decides about it, but strangers get no
    /// answer.
    pub(super) async fn greet(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        target: Target,
    ) -> Result<(), Reason> {
        request.target = Some(target);
        let Recognised {
            in_force,
            policy,
            identity,
        } = self.recognise(request, certified).await?;
        let credential = std::mem::take(&mut request.credential);
        policy.admits(&in_force.wall, identity.caller).map_err(|_| {
            request.detail = identity.invalid_token.map(|error| error.to_string().into());
            auth::refusal(&policy, &in_force.wall, &identity, &credential).into()
        })
    }

    /// Admits and identifies, and notes who asks.
    async fn recognise(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
    ) -> Result<Recognised, Reason> {
        self.state.admits().map_err(Fault::from)?;
        self.within_rates(request)?;
        let (in_force, identity) = self.identified(request, certified).await?;
        let policy = Arc::clone(in_force.policy().ok_or(Fault::NoPolicy)?);
        request.policy = Some(Arc::clone(&policy));
        request.decided_by = Some(Arc::clone(&in_force));
        request.mode = in_force.wall.caps.mode(policy.mode());
        request.caller = identity.caller;
        request.client_pod = identity.pod.clone();
        Ok(Recognised {
            in_force,
            policy,
            identity,
        })
    }

    /// The client's own rate first: what it is refused by that one takes nothing from the others.
    fn within_rates(&self, request: &Request) -> Result<(), Fault> {
        let (limits, client) = (&request.limits, request.client.ip());
        let own = limits.client_requests_per_second;
        if own.is_some_and(|rate| !self.rates.admits_client(client, rate)) {
            return Err(Fault::ClientRateLimited);
        }
        let all = limits.requests_per_second;
        if all.is_some_and(|rate| !self.rates.admits(rate)) {
            return Err(Fault::RateLimited);
        }
        Ok(())
    }

    /// Who asks, and the documents that say so. A source that is in no row of the table, and would be a client if it
    /// were, is waited for.
    async fn identified(
        &self,
        request: &Request,
        mut certified: Option<&mut Certified>,
    ) -> Result<(Arc<InForce>, Identity), Reason> {
        let mut in_force = self.state.in_force();
        let mut waiting = None;
        loop {
            let policy = in_force.policy().ok_or(Fault::NoPolicy)?;
            let certified = match &mut certified {
                Some(certified) => certified.clients(policy, &in_force.secrets),
                None => &[],
            };
            let evidence = Evidence {
                ip: request.client.ip(),
                credential: &request.credential,
                certified,
            };
            let identity = auth::identify(policy, &in_force.clients, &in_force.secrets, evidence);
            let waits = identity.may_be_a_pod && policy.admits(&in_force.wall, identity.caller).is_err();
            if !waits {
                return Ok((in_force, identity));
            }
            if waiting.is_none() {
                let Some(place) = self.waiting.take(WAITING_MAX) else {
                    return Ok((in_force, identity));
                };
                let deadline = Instant::now() + TABLE_PATIENCE;
                let mut documents = self.state.watch_in_force();
                // What changed since the first look is not missed.
                documents.mark_changed();
                waiting = Some((place, documents, deadline));
            }
            let Some((_, documents, deadline)) = &mut waiting else {
                return Ok((in_force, identity));
            };
            match timeout_at(*deadline, documents.changed()).await {
                Ok(Ok(())) => in_force = Arc::clone(&documents.borrow_and_update()),
                Ok(Err(_)) | Err(_) => return Ok((in_force, identity)),
            }
        }
    }

    /// Resolves, vets and dials what was permitted.
    pub(super) async fn connect(
        &self,
        request: &mut Request,
        permit: &Permit,
    ) -> Result<(TcpStream, VettedAddr), Reason> {
        let addresses = self.vetted(request, permit).await?;
        let max = request.limits.tunnels_per_destination.unwrap_or(usize::MAX);
        let room = |address: &VettedAddr| self.destinations.has_room(address.socket_addr(), max);
        let addresses: Vec<_> = addresses.into_iter().filter(room).collect();
        if addresses.is_empty() {
            return Err(Fault::DestinationLimit.into());
        }
        // Time has passed since the request was admitted: a look-up takes up to five seconds, and no request may
        // start from a pod that was quarantined meanwhile.
        self.state.admits().map_err(Fault::from)?;
        self.dial(request, &addresses).await
    }

    /// Counts a connection to a destination, new or kept, as this request's.
    pub(super) fn reach(
        &self,
        request: &mut Request,
        permit: &Permit,
        address: VettedAddr,
    ) -> Result<(), Reason> {
        request.peer = Some(address.socket_addr().ip());
        // A second connection for the same request takes the place of the first.
        request.destination = None;
        let max = request.limits.tunnels_per_destination.unwrap_or(usize::MAX);
        let destination = self.destinations.take(address.socket_addr(), max);
        request.destination = Some(destination.ok_or(Fault::DestinationLimit)?);
        if request.mode == Mode::Report
            && let Some(deny) = permit.would_deny_address(address)
        {
            request.report(self, permit, deny);
        }
        Ok(())
    }

    async fn vetted(&self, request: &mut Request, permit: &Permit) -> Result<Vec<VettedAddr>, Reason> {
        let answers = match permit.target().host() {
            Host::Address(ip) => vec![*ip],
            Host::Name(name) => {
                let start = Instant::now();
                let answer = self.resolver.resolve(name).await;
                request.dns = Some(start.elapsed());
                let outcome = answer
                    .as_ref()
                    .map_or_else(|error| dns_fault(error).code(), |_| "found");
                let histogram = self
                    .metrics
                    .dns_duration
                    .get_or_create(&OutcomeLabels { outcome });
                histogram.observe(start.elapsed().as_secs_f64());
                drop(histogram);
                answer.map_err(|error| {
                    request.detail = Some(crate::error_chain(&error).into());
                    dns_fault(&error)
                })?
            }
        };
        let (mut vetted, mut refused) = (Vec::with_capacity(answers.len()), None);
        for ip in answers {
            match permit.vet(ip).and_then(|address| self.not_ourselves(address)) {
                Ok(address) => vetted.push(address),
                Err(deny) => refused = refused.or(Some(deny)),
            }
        }
        match refused {
            Some(deny) if vetted.is_empty() => Err(deny.into()),
            Some(_) | None => Ok(vetted),
        }
    }

    /// The proxy's own ports on this machine's own addresses, whatever these are, would make it its own client.
    fn not_ourselves(&self, address: VettedAddr) -> Result<VettedAddr, Deny> {
        let socket = address.socket_addr();
        let own = self.own_ports.contains(&socket.port()) && dial::is_local(socket.ip());
        if own {
            Err(Deny::AddressForbidden)
        } else {
            Ok(address)
        }
    }

    async fn dial(
        &self,
        request: &mut Request,
        addresses: &[VettedAddr],
    ) -> Result<(TcpStream, VettedAddr), Reason> {
        let start = Instant::now();
        let gate = Attempts { server: self };
        let dialled = dial::dial_first(addresses, request.limits.connect, &gate).await;
        let took: Duration = start.elapsed();
        request.connect = Some(took);
        let dialled = dialled.map_err(|error| {
            request.detail = Some(crate::error_chain(&error).into());
            dial_fault(error)
        })?;
        self.metrics.connect_duration.observe(took.as_secs_f64());
        Ok(dialled)
    }
}

/// What is asked before each attempt to connect.
#[derive(Debug)]
struct Attempts<'a> {
    server: &'a Server,
}

impl dial::Gate for Attempts<'_> {
    type Refusal = Reason;
    type Permit = Attempt;

    fn admit(&self, _: VettedAddr) -> Result<(), Reason> {
        self.server
            .state
            .admits()
            .map_err(|refused| Fault::from(refused).into())
    }

    fn one_more(&self) -> Option<Attempt> {
        self.server.descriptors.attempt()
    }
}

fn dns_fault(error: &ResolveError) -> Reason {
    Reason::Fault(error.into())
}

impl From<&ResolveError> for Fault {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::NotFound => Self::DnsNotFound,
            ResolveError::Timeout => Self::DnsTimeout,
            ResolveError::Failed(_) => Self::DnsFailed,
        }
    }
}

fn dial_fault(error: DialError<Reason>) -> Reason {
    Reason::Fault(match error {
        DialError::Refused(reason) => return reason,
        DialError::Timeout => Fault::ConnectionTimeout,
        DialError::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Fault::ConnectionRefused,
            io::ErrorKind::TimedOut => Fault::ConnectionTimeout,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable => Fault::DestinationUnreachable,
            _ => Fault::ConnectionFailed,
        },
    })
}
