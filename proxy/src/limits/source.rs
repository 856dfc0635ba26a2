//! Where somebody comes from who cannot be told apart otherwise: an IPv4 address, or the /64 of an IPv6 address.
//!
//! Whoever has one IPv6 address can use all those of its /64 (RFC 8981 makes new ones each day), so they are one.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that say which network it is of.
const NETWORK: u128 = !0 << 64;

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Of an address, however it is written.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// The address, or the first of the network.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_source() {
        for (one, other, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [a, b] = [one, other].map(|text| Source::of(text.parse().unwrap()));
            assert_eq!(a == b, same, "{one} {other}");
        }
    }
}
