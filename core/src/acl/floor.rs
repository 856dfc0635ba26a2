//! The SSRF floor in force: the compiled-in classes plus this cluster's ranges and names.
//!
//! Two tiers. *Internal*: private ranges, Pod and Service ranges. *Never*: everything else that is not globally
//! reachable, and the cluster's machinery. Nothing in the API opens the second; `--insecure-allow` does, for tests and
//! benchmarks, and the operator never renders it.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::Deny;
use super::address::{self, Class, classify};
use super::cidr::CidrMap;
use super::host::HostPattern;

/// Names of metadata services, from the manuals of Google Cloud, AWS, Tencent, IBM and Equinix; most lead to link-local
/// addresses, but not through every resolver, and Equinix' to a public one.
const METADATA_NAMES: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
];
/// Suffixes that are a cluster's or a machine's own whatever the cluster is called.
const LOCAL_SUFFIXES: &[&str] = &["svc", "cluster.local", "localhost"];

/// What a whole range is to the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Some address of it may be dialled.
    Open,
    /// All of it is refused, but for exceptions of the pool. The text names the range.
    Internal(&'static str),
    /// All of it is refused. The text names the range.
    Never(&'static str),
}

/// The floor in force.
#[derive(Debug, Default)]
pub struct Floor {
    internal: CidrMap<()>,
    never: CidrMap<()>,
    insecure_allow: CidrMap<()>,
    exact_names: HashSet<String>,
    suffixes: HashSet<String>,
    nat64: Vec<Ipv6Net>,
    hash: String,
}

impl Floor {
    /// The compiled-in floor alone, as a standalone proxy uses it.
    #[must_use]
    pub fn new(insecure_allow: &[IpNet]) -> Self {
        let mut floor = Self::default();
        floor
            .exact_names
            .extend(METADATA_NAMES.iter().map(|name| (*name).to_owned()));
        floor
            .suffixes
            .extend(LOCAL_SUFFIXES.iter().map(|name| (*name).to_owned()));
        for net in insecure_allow {
            floor.insecure_allow.insert(*net, ());
        }
        floor
    }

    /// Digest of the document that this was compiled from; empty for the compiled-in floor alone.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn set_hash(&mut self, hash: String) {
        self.hash = hash;
    }

    pub(super) fn add_internal(&mut self, net: IpNet) {
        self.internal.insert(net, ());
    }

    pub(super) fn add_never(&mut self, net: IpNet) {
        self.never.insert(net, ());
    }

    pub(super) fn add_nat64(&mut self, prefix: Ipv6Net) {
        self.nat64.push(prefix);
    }

    pub(super) fn add_name(&mut self, pattern: HostPattern) {
        match pattern {
            HostPattern::Exact(name) => {
                self.exact_names.insert(name);
            }
            HostPattern::Suffix(name) => {
                self.suffixes.insert(name);
            }
            // A floor that refused every name would be a broken document; `compile` refuses it.
            HostPattern::Any => {}
        }
    }

    /// Refuses names that lead into the cluster; they are never looked up.
    ///
    /// # Errors
    /// [`Deny::NameInternal`].
    pub fn check_name(&self, name: &str) -> Result<(), Deny> {
        let own = !name.contains('.')
            || self.exact_names.contains(name)
            || self.suffixes.contains(name)
            || name.match_indices('.').any(|(dot, _)| {
                name.get(dot.saturating_add(1)..)
                    .is_some_and(|suffix| self.suffixes.contains(suffix))
            });
        if own { Err(Deny::NameInternal) } else { Ok(()) }
    }

    /// Refuses addresses that are not globally reachable or are this cluster's own.
    ///
    /// # Errors
    /// [`Deny::AddressForbidden`] for the never tier, [`Deny::AddressInternal`] for the internal one.
    pub fn check_address(&self, ip: IpAddr) -> Result<(), Deny> {
        if self.insecure_allow.contains(ip) {
            return Ok(());
        }
        // This network's own NAT64 takes such an address to the one inside it, and nowhere else.
        if let Some(inside) = self.behind_own_nat64(ip) {
            return if self.never.contains(ip) {
                Err(Deny::AddressForbidden)
            } else {
                self.check_address(inside)
            };
        }
        let class = classify(ip);
        if self.never.contains(ip) || matches!(class, Class::Never(_)) {
            return Err(Deny::AddressForbidden);
        }
        if self.internal.contains(ip) || matches!(class, Class::Internal(_)) {
            return Err(Deny::AddressInternal);
        }
        self.check_embedded(ip)
    }

    /// What a whole range is, for people: a range that is refused in pieces counts as open.
    pub(super) fn tier(&self, net: &IpNet) -> Tier {
        if self.insecure_allow.covers(net) || self.insecure_allow.has_within(net) {
            return Tier::Open;
        }
        if self.nat64.iter().any(|prefix| IpNet::V6(*prefix).contains(net)) {
            return Tier::Open;
        }
        match address::tier(net) {
            Tier::Never(what) => Tier::Never(what),
            Tier::Open | Tier::Internal(_) if self.never.covers(net) => {
                Tier::Never("the cluster's own machinery, or operator.neverCIDRs")
            }
            Tier::Open if self.internal.covers(net) => {
                Tier::Internal("Pods, Services or operator.internalCIDRs")
            }
            tier @ (Tier::Open | Tier::Internal(_)) => tier,
        }
    }

    /// Whether a part of the range is the cluster's own.
    pub(super) fn has_internal_within(&self, net: &IpNet) -> bool {
        self.internal.has_within(net)
    }

    /// The IPv4 address that an IPv6 address leads to: by this network's own NAT64, the well-known one, or ISATAP.
    pub(super) fn embedded(&self, ip: IpAddr) -> Option<IpAddr> {
        self.behind_own_nat64(ip).or_else(|| address::embedded(ip))
    }

    fn behind_own_nat64(&self, ip: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(v6) = ip else { return None };
        let prefix = self.nat64.iter().find(|prefix| prefix.contains(&v6))?;
        Some(IpAddr::V4(address::nat64_embedded(v6, prefix.prefix_len())))
    }

    /// An address of the NAT64 prefix or with an ISATAP identifier leads to the IPv4 address inside it.
    fn check_embedded(&self, ip: IpAddr) -> Result<(), Deny> {
        match address::embedded(ip) {
            Some(inside) if self.never.contains(inside) => Err(Deny::AddressForbidden),
            Some(inside) if self.internal.contains(inside) => Err(Deny::AddressInternal),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor() -> Floor {
        let mut floor = Floor::new(&[]);
        floor.add_internal("34.118.224.0/20".parse().unwrap());
        floor.add_never("192.175.48.7/32".parse().unwrap());
        floor.add_never("10.96.0.1/32".parse().unwrap());
        floor.add_name(HostPattern::Suffix("corp.internal".to_owned()));
        floor
    }

    #[test]
    fn the_clusters_own_ranges_count_on_public_looking_space_too() {
        for (ip, expected) in [
            ("34.118.224.10", Err(Deny::AddressInternal)),
            ("64:ff9b::34.118.224.10", Err(Deny::AddressInternal)),
            ("34.118.240.1", Ok(())),
            ("192.175.48.7", Err(Deny::AddressForbidden)),
            ("::ffff:192.175.48.7", Err(Deny::AddressForbidden)),
            ("64:ff9b::192.175.48.7", Err(Deny::AddressForbidden)),
            ("10.96.0.1", Err(Deny::AddressForbidden)),
            ("10.96.0.2", Err(Deny::AddressInternal)),
            ("192.175.48.8", Ok(())),
        ] {
            assert_eq!(floor().check_address(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn cluster_names_are_refused_by_name() {
        for name in [
            "kubernetes",
            "localhost",
            "a.localhost",
            "web.default.svc",
            "svc",
            "web.default.svc.cluster.local",
            "cluster.local",
            "metadata.google.internal",
            "metadata.goog",
            "instance-data.ec2.internal",
            "metadata.tencentyun.com",
            "api.metadata.cloud.ibm.com",
            "metadata.packet.net",
            "metadata.platformequinix.com",
            "corp.internal",
            "a.b.corp.internal",
        ] {
            assert_eq!(floor().check_name(name), Err(Deny::NameInternal), "{name}");
        }
        for name in [
            "example.com",
            "svc.example.com",
            "notcluster.local",
            "xcorp.internal",
            "a.svc.example",
        ] {
            assert_eq!(floor().check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn addresses_of_an_own_nat64_prefix_are_judged_by_what_they_embed() {
        let mut floor = floor();
        floor.add_nat64("64:ff9b:1::/48".parse().unwrap());
        floor.add_nat64("2620:4f:8000:64::/96".parse().unwrap());
        for (ip, expected) in [
            ("64:ff9b:1:808:8:800::", Ok(())),
            ("64:ff9b:1:a00:0:100::", Err(Deny::AddressInternal)),
            ("64:ff9b:1:7f00:0:100::", Err(Deny::AddressForbidden)),
            ("2620:4f:8000:64::8.8.8.8", Ok(())),
            ("2620:4f:8000:64::10.0.0.1", Err(Deny::AddressInternal)),
            ("2620:4f:8000:64::169.254.169.254", Err(Deny::AddressForbidden)),
            ("2620:4f:8000:64::192.175.48.7", Err(Deny::AddressForbidden)),
            ("2620:4f:8000:65::10.0.0.1", Ok(())),
        ] {
            assert_eq!(floor.check_address(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn only_the_flag_opens_the_never_tier() {
        let floor = Floor::new(&["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(floor.check_address("127.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(floor.check_address("::ffff:127.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(
            floor.check_address("::1".parse().unwrap()),
            Err(Deny::AddressForbidden)
        );
    }
}
