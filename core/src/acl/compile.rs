//! Documents in, policies out; every problem is reported, not the first.
//!
//! The operator compiles what it renders before it applies it, with this very code, so that a document that a proxy
//! would refuse never reaches a pod.

mod caps;
mod content;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use caps::caps;
use ipnet::IpNet;

use super::host::HostPattern;
use super::{Floor, Policy, cidr};
use crate::wire::document;

/// Most problems that are listed; the rest is counted.
const PROBLEMS_MAX: usize = 20;

/// What is wrong with a document, each problem with its field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// The problems, each beginning with the field.
    #[must_use]
    pub fn list(&self) -> &[String] {
        &self.0
    }

    /// Adds a problem.
    pub fn push(&mut self, field: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(format!("{field}: {problem}"));
    }

    /// `Ok` when there is none.
    ///
    /// # Errors
    /// The problems.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().take(PROBLEMS_MAX).enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            f.write_str(problem)?;
        }
        match self.0.len().checked_sub(PROBLEMS_MAX) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            Some(0) | None => Ok(()),
        }
    }
}

/// Compiles the policies document.
///
/// # Errors
/// Every problem: unknown version, a hash that does not match its content, duplicate policies or rules, rules that
/// mean nothing.
pub fn policies(document: &document::Policies) -> Result<Vec<Arc<Policy>>, Problems> {
    let mut problems = Problems::default();
    check_version(document.version, &mut problems);
    let mut names = HashSet::new();
    let mut compiled = Vec::with_capacity(document.policies.len());
    for policy in &document.policies {
        let field = format!("policy {}/{}", policy.namespace, policy.name);
        if !names.insert((policy.namespace.as_str(), policy.name.as_str())) {
            problems.push(&field, "stands twice in the document");
        }
        if document::digest(&policy.content) != policy.hash {
            problems.push(&field, "the hash does not match the content");
        }
        compiled.push(Arc::new(content::policy(policy, &field, &mut problems)));
    }
    problems.into_result(compiled)
}

/// Compiles the floor document on top of the compiled-in floor.
///
/// # Errors
/// Every range or name that is none.
pub fn floor(document: &document::Floor, insecure_allow: &[IpNet]) -> Result<Arc<Floor>, Problems> {
    floor_of_machine(document, insecure_allow, &BTreeSet::new())
}

/// The same with the addresses of the machine that it stands on, which no document knows: as unreachable as any that
/// the document lists. The digest is the document's.
///
/// # Errors
/// The same.
pub fn floor_of_machine(
    document: &document::Floor,
    insecure_allow: &[IpNet],
    own: &BTreeSet<IpAddr>,
) -> Result<Arc<Floor>, Problems> {
    let mut problems = Problems::default();
    check_version(document.version, &mut problems);
    let mut floor = Floor::new(insecure_allow);
    floor.set_hash(document::digest(document));
    for (field, nets, add) in [
        (
            "internalCidrs",
            &document.internal_cidrs,
            Floor::add_internal as fn(&mut Floor, IpNet),
        ),
        ("neverCidrs", &document.never_cidrs, Floor::add_never),
    ] {
        for net in nets {
            match cidr::parse(net) {
                Ok(net) => add(&mut floor, net),
                Err(problem) => problems.push(field, problem),
            }
        }
    }
    for ip in own {
        floor.add_never(IpNet::from(*ip));
    }
    for host in &document.never_hosts {
        match HostPattern::parse(host) {
            Ok(HostPattern::Any) => problems.push("neverHosts", "* would refuse every name"),
            Ok(pattern) => floor.add_name(pattern),
            Err(problem) => problems.push("neverHosts", problem),
        }
    }
    for prefix in &document.nat64_prefixes {
        match cidr::parse(prefix) {
            Ok(IpNet::V6(net)) if matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) => {
                floor.add_nat64(net)
            }
            Ok(net) => problems.push(
                "nat64Prefixes",
                format!("{net} is no IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"),
            ),
            Err(problem) => problems.push("nat64Prefixes", problem),
        }
    }
    problems.into_result(Arc::new(floor))
}

fn check_version(version: u32, problems: &mut Problems) {
    if version != document::VERSION {
        problems.push(
            "version",
            format!("{version} is not {}: upgrade the proxy first", document::VERSION),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Deny;

    #[test]
    fn the_machines_own_addresses_are_never_reached_in_any_spelling_and_leave_the_digest_alone() {
        let document = document::Floor {
            version: document::VERSION,
            nat64_prefixes: vec!["2a00:64::/96".to_owned()],
            ..document::Floor::default()
        };
        let own = ["9.9.9.9", "10.0.0.5", "2a00::1"].map(|ip| ip.parse().unwrap());
        let floor = floor_of_machine(&document, &[], &own.into()).unwrap();
        assert_eq!(floor.hash(), document::digest(&document));
        for (ip, expected) in [
            ("9.9.9.9", Err(Deny::AddressForbidden)),
            ("::ffff:9.9.9.9", Err(Deny::AddressForbidden)),
            ("64:ff9b::9.9.9.9", Err(Deny::AddressForbidden)),
            ("2a00:64::9.9.9.9", Err(Deny::AddressForbidden)),
            ("10.0.0.5", Err(Deny::AddressForbidden)),
            ("2a00::1", Err(Deny::AddressForbidden)),
            ("10.0.0.6", Err(Deny::AddressInternal)),
            ("9.9.9.10", Ok(())),
            ("2a00::2", Ok(())),
        ] {
            let ip = crate::acl::address::canonical(ip.parse().unwrap());
            assert_eq!(floor.check_address(ip), expected, "{ip}");
        }
    }
}
