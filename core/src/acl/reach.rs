//! What the SSRF floor lets out, written as ranges: for walls that know nothing but ranges, such as a NetworkPolicy.
//!
//! Derived from the floor's own tables and from the cluster's document, so the two walls cannot drift apart. Ranges
//! cannot say everything: an ISATAP address carries its IPv4 address in the interface identifier of any prefix, and a
//! NAT64 ignores the reserved octet of a short prefix (RFC 6052, 2.2). There the floor refuses more.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address::{self, Class};
use super::cidr;
use crate::wire::document;

/// A range that may be reached, less its exceptions, each of which is smaller than the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The range.
    pub cidr: IpNet,
    /// What in it may not be reached, without overlaps.
    pub except: Vec<IpNet>,
}

/// What the floor with this document lets out: the internet of both families, and each NAT64 prefix as far as the IPv4
/// addresses behind it.
#[must_use]
pub fn outside(floor: &document::Floor) -> Vec<Block> {
    let parsed = |texts: &[String]| -> Vec<IpNet> {
        let nets = texts.iter().filter_map(|text| cidr::parse(text).ok());
        nets.collect()
    };
    let never = parsed(&floor.never_cidrs);
    let own = [never.clone(), parsed(&floor.internal_cidrs)].concat();
    let prefixes: BTreeSet<Ipv6Net> = parsed(&floor.nat64_prefixes)
        .into_iter()
        .filter_map(six)
        .collect();
    let (refused, open): (Vec<_>, Vec<_>) = address::rows().partition(|(_, class)| *class != Class::Public);
    let nets = |rows: Vec<(IpNet, Class)>| -> Vec<IpNet> { rows.into_iter().map(|(net, _)| net).collect() };
    let (refused, open) = (nets(refused), nets(open));

    let mut blocks = Vec::new();
    let all_v4 = IpNet::V4(Ipv4Net::default());
    carve(all_v4, &refused, &open, &own, &mut blocks);
    // What lies behind a prefix of this network's NAT64 is judged by the prefix's own block.
    let global: Vec<IpNet> = prefixes
        .iter()
        .copied()
        .map(IpNet::V6)
        .chain(own.clone())
        .collect();
    carve(GLOBAL_V6, &refused, &open, &global, &mut blocks);
    if !prefixes.contains(&NAT64) {
        behind(NAT64, &refused, &open, &own, &own, &mut blocks);
    }
    for prefix in prefixes {
        // Unlike the well-known one, a prefix of its own may lie in a range that is internal by what it is.
        behind(prefix, &refused, &open, &own, &never, &mut blocks);
    }
    blocks
}

/// A range that a pool opens, less what stays closed all the same: the never tier. `None` where nothing is left.
#[must_use]
pub fn opened(floor: &document::Floor, cidr: IpNet) -> Option<Block> {
    let rows = address::rows().filter(|(_, class)| matches!(class, Class::Never(_)));
    let never = floor.never_cidrs.iter().filter_map(|text| cidr::parse(text).ok());
    let never: Vec<IpNet> = rows.map(|(net, _)| net).chain(never).collect();
    let mut blocks = Vec::new();
    if !never.iter().any(|net| net.contains(&cidr)) {
        carve(cidr, &never, &[], &[], &mut blocks);
    }
    blocks.pop()
}

/// Global unicast (RFC 4291, 2.4).
const GLOBAL_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3));
/// The well-known prefix (RFC 6052, 2.1).
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// A space less the refused rows and the cluster's own ranges; the open rows inside a refused one are blocks again, less
/// the cluster's own ranges as well.
fn carve(space: IpNet, refused: &[IpNet], open: &[IpNet], own: &[IpNet], blocks: &mut Vec<Block>) {
    if own.iter().any(|net| net.contains(&space)) {
        return;
    }
    let inside = refused.iter().chain(own).filter(|net| space.contains(*net));
    let except = IpNet::aggregate(&inside.copied().collect());
    if except.contains(&space) {
        return;
    }
    let holes = open
        .iter()
        .filter(|hole| **hole != space && except.iter().any(|net| net.contains(*hole)));
    let holes: Vec<IpNet> = holes.copied().collect();
    blocks.push(Block { cidr: space, except });
    for hole in holes {
        carve(hole, refused, &[], own, blocks);
    }
}

/// The space behind a NAT64 prefix: what holds for the IPv4 addresses, and what holds for the prefix itself.
fn behind(
    prefix: Ipv6Net,
    refused: &[IpNet],
    open: &[IpNet],
    own: &[IpNet],
    own_v6: &[IpNet],
    blocks: &mut Vec<Block>,
) {
    let embedded = |nets: &[IpNet]| -> Vec<IpNet> {
        let nets = nets.iter().filter_map(|net| embed(prefix, four(*net)?));
        nets.map(IpNet::V6).collect()
    };
    let v6 = own_v6.iter().filter(|net| six(**net).is_some()).copied();
    let own: Vec<IpNet> = embedded(own).into_iter().chain(v6).collect();
    carve(
        IpNet::V6(prefix),
        &embedded(refused),
        &embedded(open),
        &own,
        blocks,
    );
}

/// Where the addresses of an IPv4 range stand behind a NAT64 prefix (RFC 6052, 2.2); `None` for a prefix of no legal
/// length.
fn embed(prefix: Ipv6Net, net: Ipv4Net) -> Option<Ipv6Net> {
    let base = u128::from(prefix.network());
    let start = u32::from(prefix.prefix_len());
    let mut bits = base;
    let mut at = start;
    for octet in net.network().octets() {
        // Bits 64 to 71 are reserved and zero.
        if start < 96 && at == 64 {
            at = at.checked_add(8)?;
        }
        bits |= u128::from(octet).checked_shl(120_u32.checked_sub(at)?)?;
        at = at.checked_add(8)?;
    }
    let mut len = prefix.prefix_len().checked_add(net.prefix_len())?;
    if start <= 64 && len > 64 {
        len = len.checked_add(8)?;
    }
    Ipv6Net::new(Ipv6Addr::from(bits), len).ok()
}

fn four(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn six(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V6(net) => Some(net),
        IpNet::V4(_) => None,
    }
}

#[cfg(test)]
mod tests;
