//! From a target to a connected stream: permit, resolve once, vet every address, dial only what passed.
//!
//! CONNECT and forwarded requests take the same way; there is no other one out of this process for clients.

use std::io;
use std::net::IpAddr;

use egressway_core::acl::{Deny, Host, Permit, Target, VettedAddr};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Server;
use super::reason::{Fault, Reason};
use super::record::Record;
use crate::dial::{self, DialError};
use crate::metrics::OutcomeLabels;
use crate::resolve::ResolveError;
use crate::state::InForce;

/// The way to a destination.
#[derive(Debug)]
pub struct Route {
    /// The connected stream.
    pub stream: TcpStream,
    /// The address that was dialled.
    pub peer: IpAddr,
    /// What was asked for.
    pub target: Target,
}

impl Route {
    /// Whether documents that came later still permit it.
    #[must_use]
    pub fn is_permitted(target: &Target, peer: IpAddr, in_force: &InForce) -> bool {
        in_force
            .policy()
            .and_then(|policy| policy.permit(&in_force.floor, target.clone()).ok())
            .is_some_and(|permit| permit.vet(peer).is_ok())
    }
}

/// Whether this pod serves a new request now, and who decides about it.
///
/// # Errors
/// It does not, or nobody does.
pub fn admit(server: &Server, record: &mut Record) -> Result<std::sync::Arc<InForce>, Reason> {
    server.state.admits().map_err(Fault::from)?;
    let in_force = server.state.in_force();
    record.policy = Some(in_force.policy().cloned().ok_or(Fault::NoPolicy)?);
    Ok(in_force)
}

/// Finds and connects the way to the target.
///
/// # Errors
/// The verdict, or what failed.
pub async fn open(
    server: &Server,
    in_force: &InForce,
    target: Target,
    record: &mut Record,
) -> Result<Route, Reason> {
    record.target = Some(target.clone());
    let policy = in_force.policy().ok_or(Fault::NoPolicy)?;
    let permit = policy.permit(&in_force.floor, target.clone())?;
    record.permitted(&permit);
    let addresses = match permit.target().host() {
        Host::Address(ip) => vec![*ip],
        Host::Name(name) => resolve(server, name, record).await?,
    };
    let vetted = vet(server, &permit, &addresses)?;
    // Looking up takes seconds at worst: a pod quarantined meanwhile must not begin this connection.
    server.state.admits().map_err(Fault::from)?;
    let began = Instant::now();
    let dialled = dial::dial_first(&vetted, server.limits.connect_timeout).await;
    record.connect = Some(began.elapsed());
    let (stream, address) = dialled.map_err(|error| connect_fault(error, record))?;
    server
        .metrics
        .connect_duration
        .observe(began.elapsed().as_secs_f64());
    record.peer = Some(address.ip());
    Ok(Route {
        stream,
        peer: address.ip(),
        target,
    })
}

async fn resolve(server: &Server, name: &str, record: &mut Record) -> Result<Vec<IpAddr>, Reason> {
    let began = Instant::now();
    let answer = server.resolver.resolve(name).await;
    record.dns = Some(began.elapsed());
    let answer = answer.map_err(|error| dns_fault(error, record));
    let outcome = answer
        .as_ref()
        .err()
        .map_or("found", |fault| Reason::from(*fault).code());
    server
        .metrics
        .dns_duration
        .get_or_create(&OutcomeLabels { outcome })
        .observe(began.elapsed().as_secs_f64());
    Ok(answer?)
}

/// The addresses that pass; when none does, the verdict on the first.
fn vet(server: &Server, permit: &Permit, addresses: &[IpAddr]) -> Result<Vec<VettedAddr>, Deny> {
    let mut refused = None;
    let mut vetted = Vec::with_capacity(addresses.len());
    for ip in addresses {
        match permit.vet(*ip).and_then(|address| not_self(server, address)) {
            Ok(address) => vetted.push(address),
            Err(deny) => refused = refused.or(Some(deny)),
        }
    }
    if vetted.is_empty() {
        Err(refused.unwrap_or(Deny::AddressForbidden))
    } else {
        Ok(vetted)
    }
}

/// The proxy's own ports lead in a circle, or to its admin port, whatever the address is called.
fn not_self(server: &Server, address: VettedAddr) -> Result<VettedAddr, Deny> {
    let socket = address.socket_addr();
    if server.own_ports.contains(&socket.port()) && dial::is_local(socket.ip()) {
        return Err(Deny::AddressForbidden);
    }
    Ok(address)
}

fn dns_fault(error: ResolveError, record: &mut Record) -> Fault {
    match error {
        ResolveError::NotFound => Fault::DnsNotFound,
        ResolveError::Timeout => Fault::DnsTimeout,
        ResolveError::Failed(source) => {
            record.detail = Some(source.to_string().into());
            Fault::DnsFailed
        }
    }
}

fn connect_fault(error: DialError, record: &mut Record) -> Fault {
    let error = match error {
        DialError::Timeout => return Fault::ConnectionTimeout,
        DialError::Io(error) => error,
    };
    record.detail = Some(error.to_string().into());
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::ConnectionRefused,
        io::ErrorKind::TimedOut => Fault::ConnectionTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            Fault::DestinationUnreachable
        }
        _ => Fault::ConnectionFailed,
    }
}
