//! The kernel's word on addresses of interfaces (rtnetlink(7)): a list of them, and that it changed.
//!
//! Messages are read as bytes in the machine's order; what is shorter than it says is not read.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// linux/rtnetlink.h and linux/netlink.h.
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Of a message: length, type, flags, number, port.
const HEADER_BYTES: usize = 16;
/// Of an address: family, prefix, flags, scope, interface.
const ADDRESS_BYTES: usize = 8;
/// Of an attribute: length and type.
const ATTRIBUTE_BYTES: usize = 4;
/// The kernel writes at most 32 KiB at once (NLMSG_GOODSIZE of a dump).
const BUFFER_BYTES: usize = 32 * 1024;

/// Every address of every interface, of both families.
///
/// # Errors
/// The kernel does not answer, or answers with an error.
pub(super) fn addresses() -> io::Result<Vec<IpAddr>> {
    let socket = open(SocketFlags::CLOEXEC, 0)?;
    let length = HEADER_BYTES + ADDRESS_BYTES;
    let mut request = Vec::with_capacity(length);
    request.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
    request.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Number, port, and an address of no family: all of them.
    request.resize(length, 0);
    send(&socket, &request, SendFlags::empty())?;
    let (mut buffer, mut found) = (vec![0; BUFFER_BYTES], Vec::new());
    loop {
        let (read, _) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let answer = buffer.get(..read).unwrap_or_default();
        if take(answer, &mut found)? {
            return Ok(found);
        }
    }
}

fn open(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    // No protocol is NETLINK_ROUTE, whose number is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Takes the addresses out of messages; whether they were the last.
fn take(mut messages: &[u8], found: &mut Vec<IpAddr>) -> io::Result<bool> {
    loop {
        let (Some(length), Some(kind)) = (u32_at(messages, 0), u16_at(messages, 4)) else {
            return Ok(false);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(body) = messages.get(HEADER_BYTES..length) else {
            return Ok(false);
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(body, 0).map_or(0, u32::cast_signed);
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            RTM_NEWADDR => found.extend(address(body)),
            _ => {}
        }
        messages = messages.get(aligned(length)..).unwrap_or_default();
    }
}

/// Of the two on a point-to-point link the local one; elsewhere there is only one, which IPv6 calls by the other name.
fn address(body: &[u8]) -> Option<IpAddr> {
    let mut attributes = body.get(ADDRESS_BYTES..)?;
    let (mut local, mut other) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let Some(value) = attributes.get(ATTRIBUTE_BYTES..length) else {
            break;
        };
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    local.or(other)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Messages and attributes begin at multiples of four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// Hears when an address comes or goes.
#[derive(Debug)]
pub(super) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// # Errors
    /// The kernel lets nobody listen.
    pub(super) fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        register(open(flags, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)?).map(Self)
    }

    /// Returns once there was a change.
    pub(super) async fn heard(&self) {
        match self.0.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Forgets what was heard: the addresses are about to be listed.
    pub(super) fn forget(&self) {
        let mut buffer = [0; 4096];
        // Ends with EAGAIN; an overrun (ENOBUFS) is told once and means no more than a change does.
        while let Ok(_) | Err(rustix::io::Errno::NOBUFS) =
            recv(self.0.get_ref(), &mut buffer, RecvFlags::TRUNC)
        {}
    }
}

#[allow(
    deprecated,
    reason = "its successor is unsafe because a descriptor could be closed or replaced under tokio; an OwnedFd that \
              only the AsyncFd holds cannot"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.resize(HEADER_BYTES, 0);
        message.extend_from_slice(body);
        message.resize(aligned(message.len()), 0);
        message
    }

    fn body(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; ADDRESS_BYTES];
        for (kind, value) in attributes {
            let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap();
            body.extend_from_slice(&length.to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(aligned(body.len()), 0);
        }
        body
    }

    #[test]
    fn addresses_are_read_from_messages() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let both = body(&[
            (IFA_ADDRESS, &[10, 0, 0, 2]),
            (3, b"eth0\0"),
            (IFA_LOCAL, &[10, 0, 0, 1]),
        ]);
        let mut messages = message(RTM_NEWADDR, &both);
        messages.extend(message(RTM_NEWADDR, &body(&[(3, b"x\0"), (IFA_ADDRESS, &v6)])));
        messages.extend(message(21, &both));
        let mut found = Vec::new();
        assert!(!take(&messages, &mut found).unwrap());
        assert_eq!(found, [IpAddr::from([10, 0, 0, 1]), IpAddr::from(v6)]);
        assert!(take(&message(NLMSG_DONE, &[0; 4]), &mut found).unwrap());
        let error = take(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        // Cut anywhere, nothing is made up and nothing breaks.
        for cut in 0..messages.len() {
            let mut some = Vec::new();
            assert!(!take(&messages[..cut], &mut some).unwrap());
            assert!(found.starts_with(&some), "{cut}");
        }
        let lies = [0xff; 64];
        assert!(!take(&lies, &mut found).unwrap());
    }

    #[test]
    fn the_kernel_lists_loopback() {
        assert!(addresses().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
