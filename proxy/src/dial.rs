//! A vetted address to a stream: the only connect in the process.
//!
//! It takes [`VettedAddr`] and nothing else, so an address that the floor was not asked about cannot be dialled. It
//! resolves nothing and retries no address; [`race`] chooses between several.

mod race;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use egressway_core::acl::VettedAddr;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

pub use self::race::{DialError, Gate, dial_first};

/// A peer that vanished is noticed after this and [`KEEPALIVE_RETRIES`] probes; below the 350 s (AWS) and 240 s
/// (Azure) after which NAT gateways forget an idle connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes without an answer before the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 4;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_recognised() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"] {
            assert!(is_local(ip.parse().unwrap()), "{ip}");
        }
        assert!(!is_local("192.175.48.1".parse().unwrap()));
    }
}
