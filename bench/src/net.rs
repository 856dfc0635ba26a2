//! Addresses, ports, descriptors and folders of a run: everything stays on loopback.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where proxies listen.
pub(crate) const PROXY_IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Addresses of the origin. Several, so that ports in TIME_WAIT are no scarcity that hits the fastest peer most: with
/// one, a proxy that opens 10,000 tunnels a second soon searches for a free port each time.
pub(crate) const ORIGIN_ADDRESSES: u8 = 8;

/// The origin's addresses, each with this port.
pub(crate) fn origin_addresses(port: u16) -> Vec<SocketAddr> {
    (1..=ORIGIN_ADDRESSES).map(|n| numbered(n, port)).collect()
}

/// The first of them, which has a name, too.
pub(crate) fn origin_address(port: u16) -> SocketAddr {
    numbered(1, port)
}

fn numbered(n: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 2, n), port))
}

/// Ports of proxies and of the origin: below what Linux hands out to clients (32768), so that no outgoing connection
/// sits on one that is to be bound, and apart, because our proxy dials none of its own ports on any local address.
const PROXY_PORTS: Range<u16> = 12_000..22_000;
const ORIGIN_PORTS: Range<u16> = 22_000..32_000;

/// Where a proxy may listen; not the same one twice in a row.
pub(crate) fn free_proxy_address() -> Result<SocketAddr> {
    Ok(SocketAddr::new(PROXY_IP, free_port(PROXY_PORTS, &[PROXY_IP])?))
}

/// A port for a service of the origin, free on all of its addresses.
pub(crate) fn free_origin_port() -> Result<u16> {
    let ips: Vec<_> = origin_addresses(0).iter().map(SocketAddr::ip).collect();
    free_port(ORIGIN_PORTS, &ips)
}

fn free_port(range: Range<u16>, ips: &[IpAddr]) -> Result<u16> {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let width = range.end - range.start;
    // Two runs at once start at different places.
    let start = u16::try_from(std::process::id() % u32::from(width))?;
    for _ in range.clone() {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let port = range.start + start.wrapping_add(turn) % width;
        if ips.iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// Raises the limit of descriptors as far as it goes; children inherit it. How many there are then.
pub(crate) fn raise_descriptors() -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(limit
        .maximum
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Lets everybody write into the directory: some peers change to a user of their own.
pub(crate) fn open_to_all(dir: &Path) -> Result<()> {
    Ok(fs::set_permissions(dir, Permissions::from_mode(0o777))?)
}
