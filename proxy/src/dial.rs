//! A vetted address to a stream: the only connect in the process.
//!
//! It takes [`VettedAddr`] and nothing else, so an address that the floor was not asked about cannot be dialled. It
//! resolves nothing and retries no address.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use egressway_core::acl::VettedAddr;
use futures::stream::{FuturesUnordered, StreamExt as _};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long one address is waited for before the next is tried beside it (RFC 8305, 5: Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Most addresses tried for one request: eight that refuse or drop say enough about the destination.
const ATTEMPTS_MAX: usize = 8;
/// A peer that vanished is noticed after this and [`KEEPALIVE_RETRIES`] probes; below the 350 s (AWS) and 240 s
/// (Azure) after which NAT gateways forget an idle connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes without an answer before the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 4;

/// Why no address took the connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing answered in time.
    #[error("no address answered in time")]
    Timeout,
    /// The last failure; the others were of no other kind that says more.
    #[error("failed to connect")]
    Io(#[source] io::Error),
}

/// Connects to the first address that answers: IPv6 and IPv4 in turn, the next after [`ATTEMPT_DELAY`] or a failure.
///
/// # Errors
/// Why none did.
pub async fn dial_first(
    addresses: &[VettedAddr],
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let deadline = Instant::now() + limit;
    timeout_at(deadline, race(interleave(addresses)))
        .await
        .map_err(|_| DialError::Timeout)?
        .map_err(DialError::Io)
}

async fn race(addresses: Vec<VettedAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.into_iter().take(ATTEMPTS_MAX);
    let mut running = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            running.push(async move { (dial(address).await, address.socket_addr()) });
        } else if running.is_empty() {
            return Err(failure);
        }
        let next = Instant::now() + ATTEMPT_DELAY;
        let outcome = tokio::select! {
            outcome = running.next() => outcome,
            () = sleep_until(next), if waiting.len() > 0 => None,
        };
        match outcome {
            Some((Ok(stream), address)) => return Ok((stream, address)),
            Some((Err(error), _)) => failure = worse(failure, error),
            None => {}
        }
    }
}

/// Connects to one vetted address.
///
/// # Errors
/// The operating system's.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that connects, to an address that was vetted"
)]
pub async fn dial(address: VettedAddr) -> io::Result<TcpStream> {
    let address = address.socket_addr();
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let stream = socket.connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// What both legs of a tunnel get: no delay for small writes, and probes that notice a vanished peer. On a listener it
/// counts for every socket that it accepts.
///
/// # Errors
/// The operating system's.
pub fn tune(socket: &impl AsFd) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

/// Whether an address is one of this machine's own: the kernel would leave from the very address it is sent to.
#[must_use]
pub fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connecting a UDP socket sends nothing; it only asks the kernel for the route. Port 9 is any port but 0.
    UdpSocket::bind(any)
        .and_then(|socket| socket.connect((ip, 9)).and_then(|()| socket.local_addr()))
        .is_ok_and(|local| local.ip() == ip)
}

/// IPv6 first, then in turn (RFC 8305, 4), each family in the order of the answer.
fn interleave(addresses: &[VettedAddr]) -> Vec<VettedAddr> {
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.socket_addr().is_ipv6());
    v6.reverse();
    v4.reverse();
    let mut order = Vec::with_capacity(addresses.len());
    loop {
        match (v6.pop(), v4.pop()) {
            (None, None) => return order,
            (a, b) => order.extend(a.into_iter().chain(b)),
        }
    }
}

/// Of two failures the one that says more: a refusal comes from the destination, a missing route from next door.
fn worse(old: io::Error, new: io::Error) -> io::Error {
    let rank = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => 3,
        io::ErrorKind::TimedOut => 2,
        io::ErrorKind::AddrNotAvailable => 0,
        _ => 1,
    };
    if rank(&new) >= rank(&old) { new } else { old }
}

#[cfg(test)]
mod tests {
    use egressway_core::acl::Floor;

    use super::*;

    fn vetted(text: &str) -> VettedAddr {
        let address: SocketAddr = text.parse().unwrap();
        Floor::new(&["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
            .vet_observer(address.ip(), address.port())
            .unwrap()
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let given = [
            "192.175.48.1:1",
            "192.175.48.2:1",
            "192.175.48.3:1",
            "[2620:4f:8000::1]:1",
        ];
        let order = interleave(&given.map(vetted));
        let expected = [
            "[2620:4f:8000::1]:1",
            "192.175.48.1:1",
            "192.175.48.2:1",
            "192.175.48.3:1",
        ];
        assert_eq!(order, expected.map(vetted));
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_the_next_from_answering() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
            closed.local_addr().unwrap()
        };
        let addresses = [closed, open].map(|address| vetted(&address.to_string()));
        let (_, used) = dial_first(&addresses, Duration::from_secs(5)).await.unwrap();
        assert_eq!(used, open);
        let Err(DialError::Io(error)) = dial_first(&addresses[..1], Duration::from_secs(5)).await else {
            panic!("nothing listens there");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn own_addresses_are_recognised() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"] {
            assert!(is_local(ip.parse().unwrap()), "{ip}");
        }
        assert!(!is_local("192.175.48.1".parse().unwrap()));
    }
}
