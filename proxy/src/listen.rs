//! Listening sockets: `[::]` means both families, and a node without IPv6 still gets the other one.
//!
//! Binding is all that happens here; who accepts is none of its business.

use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait for accept; the kernel caps it by net.core.somaxconn (4096 on current kernels).
const BACKLOG: i32 = 4096;

/// Whether a port may have several listeners.
#[derive(Clone, Copy)]
enum Share {
    Alone,
    /// The first of several: an address that somebody else listens on is an error, as it is for one that is alone.
    First,
    /// The others: the kernel spreads connections over all of them.
    Next,
}

/// Binds a listener. For the unspecified IPv6 address it takes IPv4 too, and IPv4 alone where there is no IPv6.
///
/// # Errors
/// The address is taken, not this machine's, or not permitted.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(bind_any(addr, Share::Alone)?)
}

/// Binds one listener for each thread that accepts, all on one address.
///
/// # Errors
/// As for [`bind`].
pub fn bind_each(addr: SocketAddr, threads: NonZeroUsize) -> io::Result<Vec<net::TcpListener>> {
    let first = bind_any(addr, Share::First)?;
    // Port 0 has become a number, `[::]` may have become `0.0.0.0`.
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..threads.get() {
        listeners.push(bind_one(bound, Share::Next)?);
    }
    Ok(listeners)
}

fn bind_any(addr: SocketAddr, share: Share) -> io::Result<net::TcpListener> {
    match bind_one(addr, share) {
        Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && no_ipv6(&error) => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())), share)
        }
        bound => bound,
    }
}

fn bind_one(addr: SocketAddr, share: Share) -> io::Result<net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A restarted container must get its port back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match share {
        Share::Alone => socket.bind(&addr.into())?,
        // Set before bind, a second process would bind too and take half of the connections without a word.
        Share::First => {
            socket.bind(&addr.into())?;
            socket.set_reuse_port(true)?;
        }
        Share::Next => {
            socket.set_reuse_port(true)?;
            socket.bind(&addr.into())?;
        }
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT without the module, EADDRNOTAVAIL with it disabled by sysctl.
    let code = error.raw_os_error();
    code == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
        || code == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_shared_among_threads_and_with_nobody_else() {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let threads = NonZeroUsize::new(3).unwrap();
        let listeners = bind_each(any, threads).unwrap();
        let bound = listeners[0].local_addr().unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == bound)
        );
        for error in [bind(bound).unwrap_err(), bind_each(bound, threads).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
