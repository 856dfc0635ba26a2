//! Sets of address ranges with values, looked up by address: one hash table per prefix length in use.
//!
//! Addresses are canonical on both sides (IPv4-mapped IPv6 is IPv4), so no spelling gets around a range.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Address ranges, each with values of `T`.
#[derive(Clone, Debug)]
pub struct CidrMap<T> {
    v4: Vec<(u8, HashMap<u128, Vec<T>>)>,
    v6: Vec<(u8, HashMap<u128, Vec<T>>)>,
}

impl<T> Default for CidrMap<T> {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<T> CidrMap<T> {
    /// Adds a value to a range.
    pub fn insert(&mut self, net: IpNet, value: T) {
        let (tables, len, key) = match net.network() {
            IpAddr::V4(_) => (
                &mut self.v4,
                net.prefix_len(),
                key(net.network(), net.prefix_len()),
            ),
            IpAddr::V6(_) => (
                &mut self.v6,
                net.prefix_len(),
                key(net.network(), net.prefix_len()),
            ),
        };
        if let Some((_, table)) = tables.iter_mut().find(|(other, _)| *other == len) {
            table.entry(key).or_default().push(value);
        } else {
            tables.push((len, HashMap::from([(key, vec![value])])));
            tables.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
        }
    }

    /// Whether there is no range in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Values of every range that contains the address, longer prefixes first.
    pub fn matches(&self, ip: IpAddr) -> impl Iterator<Item = &T> {
        let ip = ip.to_canonical();
        let tables = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        tables
            .iter()
            .filter_map(move |(len, table)| table.get(&key(ip, *len)))
            .flatten()
    }

    /// Values of every range that contains all of this one, longer prefixes first.
    pub fn covering(&self, net: &IpNet) -> impl Iterator<Item = &T> {
        let (ip, most) = (net.network(), net.prefix_len());
        let tables = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        tables
            .iter()
            .filter(move |(len, _)| *len <= most)
            .filter_map(move |(len, table)| table.get(&key(ip, *len)))
            .flatten()
    }

    /// Whether any range contains all of this one.
    #[must_use]
    pub fn covers(&self, net: &IpNet) -> bool {
        self.covering(net).next().is_some()
    }

    /// Whether this range contains all of any.
    #[must_use]
    pub fn has_within(&self, net: &IpNet) -> bool {
        let (ip, least) = (net.network(), net.prefix_len());
        let tables = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        let mut tables = tables.iter().filter(|(len, _)| *len >= least);
        tables.any(|(len, table)| {
            let wanted = key(ip, least);
            let beyond = u32::from(len.saturating_sub(least));
            table
                .keys()
                .any(|key| key.checked_shr(beyond).unwrap_or(0) == wanted)
        })
    }

    /// Whether any range contains the address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.matches(ip).next().is_some()
    }
}

fn key(ip: IpAddr, len: u8) -> u128 {
    let (bits, width) = match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32_u32),
        IpAddr::V6(v6) => (u128::from(v6), 128_u32),
    };
    bits.checked_shr(width.saturating_sub(u32::from(len)))
        .unwrap_or(0)
}

/// Parses a range in CIDR notation.
///
/// # Errors
/// Not CIDR notation, host bits set, or an IPv4-mapped range (which would be read as all of IPv4 or none of it).
pub fn parse(text: &str) -> Result<IpNet, String> {
    let malformed = || format!("{text:?} is not an address range: write 192.175.48.0/24");
    // The standard library's parser, because ipnet's takes leading zeros that others read as octal.
    let (address, len) = text.split_once('/').ok_or_else(malformed)?;
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let digits = !len.is_empty() && len.len() <= 3 && len.bytes().all(|b| b.is_ascii_digit());
    let len = if digits {
        len.parse().map_err(|_| malformed())?
    } else {
        return Err(malformed());
    };
    let net = IpNet::new(address, len).map_err(|_| malformed())?;
    if net.trunc() != net {
        return Err(format!("{text:?} has host bits set: write {}", net.trunc()));
    }
    if let IpNet::V6(v6) = net
        && v6.network().to_ipv4_mapped().is_some()
    {
        return Err(format!(
            "{text:?} is a range of IPv4-mapped addresses: write the IPv4 range"
        ));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_range_around_an_address() {
        let mut map = CidrMap::default();
        for net in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "::/0",
            "2620:4f::/32",
        ] {
            map.insert(net.parse().unwrap(), net);
        }
        let found: Vec<_> = map.matches("10.1.2.3".parse().unwrap()).copied().collect();
        assert_eq!(found, ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(map.matches("::ffff:10.2.0.1".parse().unwrap()).count(), 2);
        assert_eq!(map.matches("2620:4f:8000::1".parse().unwrap()).count(), 2);
    }

    #[test]
    fn ranges_around_and_within_a_range() {
        let mut map = CidrMap::default();
        for net in ["10.0.0.0/8", "10.1.0.0/16", "2620:4f::/32", "0.0.0.0/0"] {
            map.insert(net.parse().unwrap(), net);
        }
        let around = |net: &str| map.covering(&net.parse().unwrap()).copied().collect::<Vec<_>>();
        assert_eq!(around("10.1.0.0/16"), ["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(around("10.0.0.0/15"), ["10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(around("2620:4f:8000::/48"), ["2620:4f::/32"]);
        assert!(around("2620::/16").is_empty() && !map.covers(&"::/0".parse().unwrap()));
        for (net, expected) in [
            ("10.1.0.0/16", true),
            ("10.1.1.0/24", false),
            ("10.0.0.0/15", true),
            ("11.0.0.0/8", false),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("2620:4f::/32", true),
            ("2620:50::/32", false),
        ] {
            assert_eq!(map.has_within(&net.parse().unwrap()), expected, "{net}");
        }
    }

    #[test]
    fn odd_ranges_are_refused() {
        for text in [
            "",
            "1.2.3.4",
            "1.2.3.4/33",
            "10.0.0.1/8",
            "::ffff:0:0/96",
            "::ffff:10.0.0.0/104",
            "1.2.3/24",
            "01.2.3.4/32",
            "a/8",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("0.0.0.0/0").is_ok());
        assert!(parse("::/0").is_ok());
    }
}
