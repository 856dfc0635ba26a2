//! From a target to a connected stream: admit, permit, resolve once, vet every answer, dial what was vetted.
//!
//! The same steps for CONNECT and for forwarded requests, so neither can skip one. It reads no client bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Ask, Deny, Host, Permit, Target, VettedAddr};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Server;
use super::reason::{Fault, Reason};
use super::request::Request;
use crate::dial::{self, DialError};
use crate::metrics::OutcomeLabels;
use crate::resolve::ResolveError;

/// A connected request.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) stream: TcpStream,
    pub(super) permit: Permit,
    pub(super) address: VettedAddr,
}

impl Server {
    /// Connects to a target, noting everything on the way in the request's record.
    pub(super) async fn route(&self, request: &mut Request, target: Target) -> Result<Routed, Reason> {
        let permit = self.decide(request, target)?;
        let (stream, address) = self.connect(request, &permit).await?;
        Ok(Routed {
            stream,
            permit,
            address,
        })
    }

    /// Admits and permits; nothing is looked up before.
    pub(super) fn decide(&self, request: &mut Request, target: Target) -> Result<Permit, Reason> {
        request.target = Some(target.clone());
        self.state.admits().map_err(Fault::from)?;
        let in_force = self.state.in_force();
        let policy = in_force.policy().ok_or(Fault::NoPolicy)?;
        request.policy = Some(Arc::clone(policy));
        let permit = policy.permit(&in_force.wall, Ask::tunnel(target))?;
        request.permitted(&permit);
        Ok(permit)
    }

    /// Resolves, vets and dials what was permitted.
    pub(super) async fn connect(
        &self,
        request: &mut Request,
        permit: &Permit,
    ) -> Result<(TcpStream, VettedAddr), Reason> {
        let addresses = self.vetted(request, permit).await?;
        // Time has passed since the request was admitted: a look-up takes up to five seconds, and no request may
        // start from a pod that was quarantined meanwhile.
        self.state.admits().map_err(Fault::from)?;
        self.dial(request, &addresses).await
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
        let dialled = dial::dial_first(addresses, self.limits.connect).await;
        let took: Duration = start.elapsed();
        request.connect = Some(took);
        let (stream, peer) = dialled.map_err(|error| {
            request.detail = Some(crate::error_chain(&error).into());
            dial_fault(&error)
        })?;
        self.metrics.connect_duration.observe(took.as_secs_f64());
        request.peer = Some(peer.ip());
        let address = addresses.iter().find(|address| address.socket_addr() == peer);
        // The dialler answers with one of the addresses that it was given.
        address
            .map(|address| (stream, *address))
            .ok_or(Reason::Fault(Fault::ConnectionFailed))
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

fn dial_fault(error: &DialError) -> Reason {
    Reason::Fault(match error {
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
