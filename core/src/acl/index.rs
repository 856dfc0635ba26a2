//! From a host or an address to the rules that name it, most specific host first: a walk over labels, not over rules.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cidr::CidrMap;
use super::host::HostPattern;

/// How a rule names a host or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exactness {
    /// By exactly this name.
    Exact,
    /// By a wildcard or a range.
    Wider,
}

/// Rule numbers by what they match.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<String, Vec<u32>>,
    suffix: HashMap<String, Vec<u32>>,
    any: Vec<u32>,
    cidrs: CidrMap<u32>,
}

impl Index {
    pub(super) fn add_host(&mut self, pattern: HostPattern, rule: u32) {
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(name).or_default().push(rule),
            HostPattern::Suffix(name) => self.suffix.entry(name).or_default().push(rule),
            HostPattern::Any => self.any.push(rule),
        }
    }

    pub(super) fn add_cidr(&mut self, net: IpNet, rule: u32) {
        self.cidrs.insert(net, rule);
    }

    /// Rules whose hosts match the name: exact, then longer suffixes, then `*`.
    pub(super) fn by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (Exactness, u32)> + 'a {
        let exact = self.exact.get(name).into_iter().flatten();
        let suffixes = name
            .match_indices('.')
            .filter_map(|(dot, _)| name.get(dot.saturating_add(1)..));
        let wider = suffixes
            .filter_map(|suffix| self.suffix.get(suffix))
            .chain(std::iter::once(&self.any))
            .flatten();
        exact
            .map(|id| (Exactness::Exact, *id))
            .chain(wider.map(|id| (Exactness::Wider, *id)))
    }

    /// Rules with a range that contains all of this one.
    pub(super) fn by_range(&self, net: &IpNet) -> impl Iterator<Item = u32> {
        self.cidrs.covering(net).copied()
    }

    /// Rules whose ranges contain the address, longer prefixes first.
    pub(super) fn by_address(&self, ip: IpAddr) -> impl Iterator<Item = (Exactness, u32)> {
        self.cidrs.matches(ip).map(|id| (Exactness::Wider, *id))
    }
}
