//! The compiled-in part of the SSRF floor: what kind of address this is, one row per registry entry.
//!
//! Source: the IANA IPv4 and IPv6 Special-Purpose Address Registries (both last updated 2025-10-09), plus ranges that
//! no registry lists but that are never a destination (multicast, site-local, address families that embed IPv4) and
//! the metadata services of clouds ([`metadata`]). Ranges of *this* cluster are in [`super::floor`].

mod metadata;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::floor::Tier;

/// What an address is, as far as every cluster agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Globally reachable unicast.
    Public,
    /// Private use, shared, unique local: somebody's internal network. The text names the range.
    Internal(&'static str),
    /// Never a destination. The text names the range.
    Never(&'static str),
}

/// The address that a socket would use: IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) is IPv4.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Classifies an address; every spelling and embedding of an IPv4 address gets the verdict of that address or a
/// stricter one.
#[must_use]
pub fn classify(ip: IpAddr) -> Class {
    match canonical(ip) {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

use Class::{Internal, Never, Public};

/// Every row of the tables, each with its class; the most specific row that holds an address decides, and IPv6 outside of
/// all rows is never a destination.
pub fn rows() -> impl Iterator<Item = (IpNet, Class)> {
    let v4 = V4
        .iter()
        .chain(metadata::V4)
        .map(|(net, len, class)| (IpAddr::V4(*net), *len, *class));
    let v6 = V6
        .iter()
        .chain(metadata::V6)
        .map(|(net, len, class)| (IpAddr::V6(*net), *len, *class));
    v4.chain(v6)
        .filter_map(|(net, len, class)| Some((IpNet::new(net, len).ok()?, class)))
}

/// The most specific row decides.
const V4: &[(Ipv4Addr, u8, Class)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never("this network (RFC 791)")),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Internal("private use (RFC 1918)")),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        Internal("shared address space (RFC 6598)"),
    ),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Never("loopback (RFC 1122)")),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never("link-local (RFC 3927)")),
    (
        Ipv4Addr::new(172, 16, 0, 0),
        12,
        Internal("private use (RFC 1918)"),
    ),
    (
        Ipv4Addr::new(192, 0, 0, 0),
        24,
        Never("IETF protocol assignments (RFC 6890)"),
    ),
    (Ipv4Addr::new(192, 0, 0, 9), 32, Public),
    (Ipv4Addr::new(192, 0, 0, 10), 32, Public),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Never("documentation (RFC 5737)")),
    (
        Ipv4Addr::new(192, 88, 99, 0),
        24,
        Never("deprecated 6to4 relay (RFC 7526)"),
    ),
    (
        Ipv4Addr::new(192, 168, 0, 0),
        16,
        Internal("private use (RFC 1918)"),
    ),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Never("benchmarking (RFC 2544)")),
    (
        Ipv4Addr::new(198, 51, 100, 0),
        24,
        Never("documentation (RFC 5737)"),
    ),
    (
        Ipv4Addr::new(203, 0, 113, 0),
        24,
        Never("documentation (RFC 5737)"),
    ),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never("multicast (RFC 5771)")),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Never("reserved (RFC 1112)")),
];

/// Globally reachable IPv6 is 2000::/3 less these rows; the most specific row decides.
const V6: &[(Ipv6Addr, u8, Class)] = &[
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Public),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        Never("IETF protocol assignments (RFC 2928)"),
    ),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128, Public),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128, Public),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 3), 128, Public),
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32, Public),
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48, Public),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, Public),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28, Public),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Never("documentation (RFC 3849)"),
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        Never("6to4 (RFC 3056)"),
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Never("documentation (RFC 9637)"),
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Internal("unique local (RFC 4193)"),
    ),
];

/// What a whole range is, as far as every cluster agrees: open as soon as one address of it may be.
pub(super) fn tier(net: &IpNet) -> Tier {
    let rows = rows_like(net);
    // Of the rows that the range has whole inside, one that is public is enough; else one that is internal.
    let inside = |public: bool| {
        rows.iter().any(|(row, class)| {
            let wanted = if public {
                matches!(class, Public)
            } else {
                matches!(class, Internal(_))
            };
            wanted && net.contains(row)
        })
    };
    let around = rows
        .iter()
        .filter(|(row, _)| row.contains(net))
        .max_by_key(|(row, _)| row.prefix_len());
    let class = match (around, net) {
        (Some((_, class)), _) => *class,
        (None, IpNet::V4(_)) => Public,
        (None, IpNet::V6(_)) => Never("outside of global unicast (RFC 4291)"),
    };
    match class {
        Public => Tier::Open,
        Internal(_) | Never(_) if inside(true) => Tier::Open,
        Internal(what) => Tier::Internal(what),
        Never(_) if inside(false) => Tier::Internal("private ranges among others"),
        Never(what) => Tier::Never(what),
    }
}

/// The widest private range that is only a part of this range.
pub(super) fn internal_within(net: &IpNet) -> Option<IpNet> {
    let rows = rows_like(net).into_iter();
    let mut within: Vec<IpNet> = rows
        .filter(|(row, class)| matches!(class, Internal(_)) && net != row && net.contains(row))
        .map(|(row, _)| row)
        .collect();
    within.sort_by_key(IpNet::prefix_len);
    within.first().copied()
}

/// The rows of the family of a range. IPv4 inside of the well-known NAT64 prefix has no rows of its own: it is public.
fn rows_like(net: &IpNet) -> Vec<(IpNet, Class)> {
    let nat64 = IpNet::new(IpAddr::V6(NAT64), 96).ok().map(|net| (net, Public));
    let v4 = net.addr().is_ipv4();
    let rows = rows().chain(nat64);
    rows.filter(|(row, _)| row.addr().is_ipv4() == v4).collect()
}

const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// The IPv4 address that an IPv6 address leads to by NAT64 (RFC 6052) or ISATAP (RFC 5214).
#[must_use]
pub fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = canonical(ip) else {
        return None;
    };
    let bits = u128::from(v6);
    let nat64 = shift128(bits, 96) == shift128(u128::from(NAT64), 96);
    let isatap = matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _]);
    (nat64 || isatap).then(|| IpAddr::V4(Ipv4Addr::from_bits(low32(bits))))
}

/// The IPv4 address inside an address of a NAT64 prefix of this length (RFC 6052, 2.2): the octet behind the first 64
/// bits is left out.
#[must_use]
pub fn nat64_embedded(ip: Ipv6Addr, prefix_len: u8) -> Ipv4Addr {
    let bits = u128::from(ip);
    let octet = |at: u32| {
        // Bits 64 to 71 are reserved and zero.
        let at = if at >= 64 { at.saturating_add(8) } else { at };
        u8::try_from(bits.checked_shr(120_u32.saturating_sub(at)).unwrap_or(0) & 0xff).unwrap_or(0)
    };
    if prefix_len == 96 {
        return Ipv4Addr::from_bits(low32(bits));
    }
    let start = u32::from(prefix_len);
    Ipv4Addr::new(
        octet(start),
        octet(start.saturating_add(8)),
        octet(start.saturating_add(16)),
        octet(start.saturating_add(24)),
    )
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    let bits = u32::from(ip);
    V4.iter()
        .chain(metadata::V4)
        .filter(|(net, len, _)| shift32(bits, *len) == shift32(u32::from(*net), *len))
        .max_by_key(|(_, len, _)| *len)
        .map_or(Public, |(_, _, class)| *class)
}

fn classify_v6(ip: Ipv6Addr) -> Class {
    let bits = u128::from(ip);
    let inside = match embedded(IpAddr::V6(ip)) {
        Some(IpAddr::V4(v4)) => classify_v4(v4),
        Some(IpAddr::V6(_)) | None => Public,
    };
    if shift128(bits, 96) == shift128(u128::from(NAT64), 96) {
        // The well-known NAT64 prefix is globally reachable; what it leads to is the embedded address.
        return inside;
    }
    let class = V6
        .iter()
        .chain(metadata::V6)
        .filter(|(net, len, _)| shift128(bits, *len) == shift128(u128::from(*net), *len))
        .max_by_key(|(_, len, _)| *len)
        .map_or(Never("outside of global unicast (RFC 4291)"), |(_, _, class)| {
            *class
        });
    match class {
        // ISATAP embeds an IPv4 address in the interface identifier of any prefix.
        Public => inside,
        special @ (Internal(_) | Never(_)) => special,
    }
}

fn shift32(bits: u32, len: u8) -> u32 {
    bits.checked_shr(32_u32.saturating_sub(u32::from(len)))
        .unwrap_or(0)
}

fn shift128(bits: u128, len: u8) -> u128 {
    bits.checked_shr(128_u32.saturating_sub(u32::from(len)))
        .unwrap_or(0)
}

fn low32(bits: u128) -> u32 {
    (bits & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests;
