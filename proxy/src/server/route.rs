//! From a target to a connected stream: admit, identify, permit, resolve once, vet every answer, dial what was vetted.
//!
//! The same steps for CONNECT and for forwarded requests, so neither can skip one. It reads no client bytes. Whatever is
//! decided is decided by documents of one moment, and holds while they are in force: what cannot be taken back, an attempt
//! to connect or the first byte, asks before whether they still are ([`Server::holds`]).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Ask, Caller, Deny, Host, HttpAsk, Permit, Policy, Target, VettedAddr, Wall};
use egressway_core::wire::document::Mode;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::reason::{Fault, Reason};
use super::request::Request;
use super::who::Who;
use crate::auth::{self, Certified, Identity};
use crate::dial::{self, DialError};
use crate::limits::descriptors::Attempt;
use crate::limits::source::Source;
use crate::metrics::OutcomeLabels;
use crate::resolve::ResolveError;

/// How long a request waits for its source to be listed as a client pod: a pod asks sooner than the news of it spreads.
const TABLE_PATIENCE: Duration = Duration::from_secs(2);
/// Most requests that wait for it; past this a source that is in no row is refused at once.
const WAITING_MAX: usize = 2048;
/// Most of them of one source: as many as a pod opens at once when it starts, and few enough that it takes dozens of
/// strangers to keep a new pod from waiting.
const WAITING_OF_SOURCE_MAX: usize = 32;

/// What is asked for, as it was asked: it may have to be decided more than once.
#[derive(Clone, Copy, Debug)]
pub(super) struct What<'a> {
    pub(super) target: &'a Target,
    /// The client asks the proxy for TLS towards the origin.
    asks_tls: bool,
    /// Absent for CONNECT.
    http: Option<Forwarded<'a>>,
}

/// What more a forwarded request says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarded<'a> {
    pub(super) port_was_written: bool,
    pub(super) http: HttpAsk<'a>,
    /// It may end as a tunnel.
    pub(super) upgrades: bool,
}

/// A permitted request.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) permit: Permit,
    /// The proxy speaks TLS to the destination.
    pub(super) tls: bool,
    /// It was decided again since the request began: whatever followed from the first decision has to be held against
    /// this one.
    pub(super) anew: bool,
}

/// A connected request.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) stream: TcpStream,
    pub(super) decided: Decided,
    pub(super) address: VettedAddr,
}

impl<'a> What<'a> {
    /// CONNECT.
    pub(super) fn tunnel(target: &'a Target, asks_tls: bool) -> Self {
        Self {
            target,
            asks_tls,
            http: None,
        }
    }

    /// A forwarded request.
    pub(super) fn forwarded(target: &'a Target, asks_tls: bool, http: Forwarded<'a>) -> Self {
        Self {
            target,
            asks_tls,
            http: Some(http),
        }
    }

    fn permit(&self, policy: &Arc<Policy>, wall: &Arc<Wall>, caller: Caller) -> Result<(Permit, bool), Deny> {
        let ask = Ask::tunnel(self.target.clone()).by(caller);
        let Some(Forwarded {
            port_was_written,
            http,
            upgrades,
        }) = self.http
        else {
            let permit = policy.permit_tunnel(wall, ask, self.asks_tls)?;
            return Ok((permit, false));
        };
        let ask = ask.http(http.method, http.path);
        let (permit, tls) = policy.permit_http(wall, ask, port_was_written, self.asks_tls)?;
        if upgrades {
            permit.check_upgrade()?;
        }
        Ok((permit, tls))
    }
}

impl Server {
    /// Connects a tunnel to a target, noting everything on the way in the request's record.
    pub(super) async fn route(
        &self,
        request: &mut Request,
        mut certified: Option<&mut Certified>,
        who: &mut Who,
        what: &What<'_>,
    ) -> Result<Routed, Reason> {
        let mut decided = self.decide(request, certified.as_deref_mut(), who, what).await?;
        let still = |request: &mut Request, decided: &mut Decided, address| {
            self.holds(request, certified.as_deref_mut(), what, decided, address)
        };
        let (stream, address) = self.connect(request, &mut decided, still).await?;
        self.reach(request, &decided.permit, address)?;
        Ok(Routed {
            stream,
            decided,
            address,
        })
    }

    /// Admits, identifies and permits; nothing is looked up before.
    pub(super) async fn decide(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        who: &mut Who,
        what: &What<'_>,
    ) -> Result<Decided, Reason> {
        request.target = Some(what.target.clone());
        let identity = self.recognise(request, certified, who).await?;
        request.path = what.http.map(|forwarded| forwarded.http.path.into());
        request.upgrades = what.http.is_some_and(|forwarded| forwarded.upgrades);
        self.judge(request, &identity, what)
    }

    /// Whether what was decided holds at this moment, for this address. Decides again where documents changed, and is
    /// nearly free where they did not.
    pub(super) fn holds(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        what: &What<'_>,
        decided: &mut Decided,
        address: VettedAddr,
    ) -> Result<(), Reason> {
        self.renew(request, certified, what, decided)?;
        if decided.anew {
            decided.permit.vet(address.socket_addr().ip())?;
        }
        Ok(())
    }

    /// The same before there is an address.
    pub(super) fn renew(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        what: &What<'_>,
        decided: &mut Decided,
    ) -> Result<(), Reason> {
        // A look-up takes up to five seconds: no request may start from a pod that was quarantined meanwhile.
        self.state.lets_out().map_err(Fault::from)?;
        if !self.state.is_current(&request.documents) {
            *decided = self.decide_again(request, certified, what)?;
        }
        Ok(())
    }

    /// By the documents in force now, and by all of them: who asks is proved again. Nobody is waited for.
    #[cold]
    fn decide_again(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        what: &What<'_>,
    ) -> Result<Decided, Reason> {
        let rates = request.limits.rates();
        request.follow(self, self.state.in_force());
        let policy = request.documents.policy().ok_or(Fault::NoPolicy)?;
        let identity = request.identify(policy, certified);
        let is_client = policy.admits(&request.documents.wall, identity.caller).is_ok();
        request.recognised(&identity)?;
        if is_client && request.limits.rates() != rates {
            self.within_rates(request)?;
        }
        let decided = self.judge(request, &identity, what)?;
        Ok(Decided {
            anew: true,
            ..decided
        })
    }

    /// Asks the rules, and takes a place.
    fn judge(&self, request: &mut Request, identity: &Identity, what: &What<'_>) -> Result<Decided, Reason> {
        let documents = &request.documents;
        let policy = documents.policy().ok_or(Fault::NoPolicy)?;
        let (permit, tls) = match what.permit(policy, &documents.wall, identity.caller) {
            Ok(permitted) => permitted,
            Err(deny) => return Err(denied(request, identity, what, deny).into()),
        };
        if what.http.is_some() {
            // Its port may follow from the rule.
            request.target = Some(permit.target().clone());
        }
        request.permitted(&permit);
        if let Some(deny) = permit.would_deny() {
            request.report(self, &permit, deny.clone());
        }
        let tunnels = request.limits.tunnels.unwrap_or(usize::MAX);
        if request.place.is_none() {
            request.place = self.tunnels.take(tunnels);
        }
        if request.place.is_none() || !self.tunnels.fits(tunnels) {
            return Err(Fault::TooManyTunnels.into());
        }
        Ok(Decided {
            permit,
            tls,
            anew: false,
        })
    }

    /// Admits and identifies a request that the proxy answers itself: no rule decides about it, but strangers get no
    /// answer.
    pub(super) async fn greet(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        who: &mut Who,
        target: &Target,
    ) -> Result<(), Reason> {
        request.target = Some(target.clone());
        let identity = self.recognise(request, certified, who).await?;
        let policy = request.documents.policy().ok_or(Fault::NoPolicy)?;
        match policy.admits(&request.documents.wall, identity.caller) {
            Ok(()) => Ok(()),
            Err(deny) => Err(denied(request, &identity, &What::tunnel(target, false), deny).into()),
        }
    }

    /// Admits and identifies, and notes who asks. What clients share is spent by clients alone: whoever is none yet spends
    /// what its source has.
    async fn recognise(
        &self,
        request: &mut Request,
        certified: Option<&mut Certified>,
        who: &mut Who,
    ) -> Result<Identity, Reason> {
        // A client cannot know that a drain goes on while it writes: what it may have kept open for this request is served.
        let admitted = if request.welcome {
            self.state.lets_out()
        } else {
            self.state.admits()
        };
        admitted.map_err(Fault::from)?;
        let identity = self.identified(request, certified).await?;
        request.recognised(&identity)?;
        let (documents, client) = (&request.documents, request.client.ip());
        let policy = documents.policy().ok_or(Fault::NoPolicy)?;
        if policy.admits(&documents.wall, identity.caller).is_ok() {
            self.within_rates(request)?;
            if !self.memory.admits() {
                return Err(Fault::MemoryFull.into());
            }
            who.is_client(self, client, request.limits.connections_of_client())?;
        } else if !self.rates.admits_stranger(Source::of(client)) {
            return Err(Fault::UnidentifiedRateLimited.into());
        }
        Ok(identity)
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

    /// Who asks, by the request's documents. A source that is in no row of the table, and would be a client if it were,
    /// is waited for, and the request follows the documents that come meanwhile.
    async fn identified(
        &self,
        request: &mut Request,
        mut certified: Option<&mut Certified>,
    ) -> Result<Identity, Reason> {
        let mut waiting = None;
        loop {
            let documents = &request.documents;
            let policy = documents.policy().ok_or(Fault::NoPolicy)?;
            let identity = request.identify(policy, certified.as_deref_mut());
            let waits = identity.may_be_a_pod && policy.admits(&documents.wall, identity.caller).is_err();
            if !waits {
                return Ok(identity);
            }
            if waiting.is_none() {
                let source = Source::of(request.client.ip());
                let Some(place) = self
                    .waiting_of
                    .take(source, WAITING_OF_SOURCE_MAX)
                    .and_then(|own| Some((own, self.waiting.take(WAITING_MAX)?)))
                else {
                    return Ok(identity);
                };
                let deadline = Instant::now() + TABLE_PATIENCE;
                let mut documents = self.state.watch_in_force();
                // What changed since the first look is not missed.
                documents.mark_changed();
                waiting = Some((place, documents, deadline));
            }
            let Some((_, documents, deadline)) = &mut waiting else {
                return Ok(identity);
            };
            match timeout_at(*deadline, documents.changed()).await {
                Ok(Ok(())) => {
                    let next = Arc::clone(&documents.borrow_and_update());
                    request.follow(self, next);
                }
                Ok(Err(_)) | Err(_) => return Ok(identity),
            }
        }
    }

    /// Resolves, vets and dials what was decided. `still` is asked before each attempt and behind the one that came about,
    /// so before a byte of anybody's goes out.
    pub(super) async fn connect<E: From<Reason> + Send>(
        &self,
        request: &mut Request,
        decided: &mut Decided,
        mut still: impl FnMut(&mut Request, &mut Decided, VettedAddr) -> Result<(), E>,
    ) -> Result<(TcpStream, VettedAddr), E> {
        let mut addresses = self.vetted(request, &decided.permit).await?;
        addresses.retain(|address| self.has_room(request, *address).is_ok());
        if addresses.is_empty() {
            return Err(Reason::from(Fault::DestinationLimit).into());
        }
        let (stream, address) = self.dial(request, decided, &addresses, &mut still).await?;
        still(request, decided, address)?;
        Ok((stream, address))
    }

    fn has_room(&self, request: &Request, address: VettedAddr) -> Result<(), Reason> {
        let max = request.limits.tunnels_per_destination.unwrap_or(usize::MAX);
        if self.destinations.has_room(address.socket_addr(), max) {
            Ok(())
        } else {
            Err(Fault::DestinationLimit.into())
        }
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
            Host::Address(ip) => Answers::One(*ip),
            Host::Name(name) => {
                let start = Instant::now();
                let answer = self.resolver.resolve_for(name, Some(request.client.ip())).await;
                let took = start.elapsed();
                request.dns = Some(took);
                match &answer {
                    Ok(_) => self.metrics.dns_found.observe(took.as_secs_f64()),
                    Err(error) => {
                        let outcome = dns_fault(error).code();
                        let histogram = self
                            .metrics
                            .dns_duration
                            .get_or_create(&OutcomeLabels { outcome });
                        histogram.observe(took.as_secs_f64());
                    }
                }
                Answers::Several(answer.map_err(|error| {
                    request.detail = Some(crate::error_chain(&error).into());
                    dns_fault(&error)
                })?)
            }
        };
        let answers = match &answers {
            Answers::One(ip) => std::slice::from_ref(ip),
            Answers::Several(ips) => ips,
        };
        let (mut vetted, mut refused) = (Vec::with_capacity(answers.len()), None);
        for ip in answers.iter().copied() {
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

    async fn dial<E: From<Reason> + Send>(
        &self,
        request: &mut Request,
        decided: &mut Decided,
        addresses: &[VettedAddr],
        still: impl FnMut(&mut Request, &mut Decided, VettedAddr) -> Result<(), E>,
    ) -> Result<(TcpStream, VettedAddr), E> {
        let start = Instant::now();
        let limit = request.limits.connect;
        let mut gate = Attempts {
            server: self,
            request,
            decided,
            still,
        };
        let dialled = dial::dial_first(addresses, limit, &mut gate).await;
        let took: Duration = start.elapsed();
        request.connect = Some(took);
        let failure: DialError<Reason> = match dialled {
            Ok(dialled) => {
                self.metrics.connect_duration.observe(took.as_secs_f64());
                return Ok(dialled);
            }
            Err(DialError::Refused(refused)) => return Err(refused),
            Err(DialError::Timeout) => DialError::Timeout,
            Err(DialError::Io(error)) => DialError::Io(error),
        };
        request.detail = Some(crate::error_chain(&failure).into());
        Err(dial_fault(failure).into())
    }
}

/// Where a target leads.
#[derive(Debug)]
enum Answers {
    One(IpAddr),
    Several(Arc<[IpAddr]>),
}

/// What is asked before each attempt to connect: whether what was decided still holds for its address.
struct Attempts<'a, S> {
    server: &'a Server,
    request: &'a mut Request,
    decided: &'a mut Decided,
    still: S,
}

impl<E, S> dial::Gate for Attempts<'_, S>
where
    E: From<Reason>,
    S: FnMut(&mut Request, &mut Decided, VettedAddr) -> Result<(), E>,
{
    type Refusal = E;
    type Permit = Attempt;

    fn admit(&mut self, address: VettedAddr) -> Result<(), E> {
        (self.still)(self.request, self.decided, address)?;
        if self.decided.anew {
            self.server.has_room(self.request, address)?;
        }
        Ok(())
    }

    fn one_more(&mut self) -> Option<Attempt> {
        self.server.descriptors.attempt()
    }
}

/// Why it is refused: the verdict, or a challenge where a credential could change it.
#[cold]
fn denied(request: &mut Request, identity: &Identity, what: &What<'_>, deny: Deny) -> Deny {
    let documents = Arc::clone(&request.documents);
    let Some(policy) = documents.policy() else {
        return deny;
    };
    if let (Deny::NoRuleMatches { .. }, Some(forwarded)) = (&deny, &what.http) {
        let target = policy.unmatched(what.target, forwarded.port_was_written, what.asks_tls);
        request.target = Some(target);
    }
    let refused = auth::Refused {
        policy,
        wall: &documents.wall,
        table: &documents.clients,
        ip: request.client.ip(),
        identity,
        credential: &request.credential,
    };
    let permits = |caller| what.permit(policy, &documents.wall, caller).is_ok();
    let deny = auth::refusal(refused, deny, permits);
    if matches!(
        deny,
        Deny::ClientUnknown | Deny::CredentialsMissing | Deny::CredentialsInvalid
    ) {
        request.detail = identity.invalid_token.map(|error| error.to_string().into());
    }
    deny
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
