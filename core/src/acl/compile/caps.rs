//! The pool's caps: from the document to what decides.

use std::sync::Arc;

use ipnet::IpNet;

use super::Problems;
use crate::acl::caps::Caps;
use crate::acl::cidr::{self, CidrMap};
use crate::acl::host::{HostPattern, HostSet};
use crate::acl::port::PortSet;
use crate::wire::document::{self, InternalDestination};

/// Compiles the caps of a pool.
///
/// # Errors
/// Every problem, with its field.
pub fn caps(document: &document::Caps) -> Result<Arc<Caps>, Problems> {
    let mut problems = Problems::default();
    let mut caps = Caps {
        modes: document.modes.clone(),
        client_auth: document.client_auth,
        ..Caps::default()
    };
    if !document.ports.is_empty() {
        caps.ports = Some(ports(&document.ports, "caps.ports", &mut problems));
    }
    if let Some(hosts) = &document.hosts {
        if !hosts.allow.is_empty() {
            let mut set = HostSet::default();
            patterns(&hosts.allow, "caps.hosts.allow", &mut problems, |pattern| {
                set.insert(pattern)
            });
            caps.allow = Some(set);
        }
        patterns(&hosts.deny, "caps.hosts.deny", &mut problems, |pattern| {
            caps.add_deny(pattern)
        });
    }
    if let Some(cidrs) = &document.cidrs {
        let mut map = |texts: &[String], field| {
            let mut map = CidrMap::default();
            for text in texts {
                match cidr::parse(text) {
                    Ok(net) => map.insert(net, ()),
                    Err(problem) => problems.push(field, problem),
                }
            }
            map
        };
        let allow = map(&cidrs.allow, "caps.cidrs.allow");
        caps.deny_cidrs = map(&cidrs.deny, "caps.cidrs.deny");
        caps.allow_cidrs = (!cidrs.allow.is_empty()).then_some(allow);
    }
    for (n, entry) in document.internal_destinations.iter().enumerate() {
        internal(
            entry,
            &format!("caps.internalDestinations[{n}]"),
            &mut caps,
            &mut problems,
        );
    }
    problems.into_result(Arc::new(caps))
}

fn internal(entry: &InternalDestination, field: &str, caps: &mut Caps, problems: &mut Problems) {
    if entry.ports.is_empty() {
        problems.push(field, "has no ports");
    }
    let ports = ports(&entry.ports, field, problems);
    match (&entry.cidr, &entry.host) {
        (Some(net), None) => {
            if !entry.cidrs.is_empty() {
                problems.push(field, "cidrs goes with host; write one entry for each range");
            }
            match cidr::parse(net) {
                Ok(net) => caps.internal_cidrs.push((net, ports)),
                Err(problem) => problems.push(field, problem),
            }
        }
        (None, Some(host)) => {
            if entry.cidrs.is_empty() {
                problems.push(field, "needs cidrs: where the addresses of the host must lie");
            }
            let mut nets: Vec<IpNet> = Vec::with_capacity(entry.cidrs.len());
            for net in &entry.cidrs {
                match cidr::parse(net) {
                    Ok(net) => nets.push(net),
                    Err(problem) => problems.push(field, problem),
                }
            }
            match HostPattern::parse(host) {
                Ok(HostPattern::Exact(name)) => {
                    caps.internal_hosts.entry(name).or_default().push((nets, ports));
                }
                Ok(HostPattern::Suffix(_) | HostPattern::Any) => {
                    problems.push(
                        field,
                        "host must be one exact name: no wildcard opens the internal tier",
                    );
                }
                Err(problem) => problems.push(field, problem),
            }
        }
        (Some(_), Some(_)) | (None, None) => problems.push(field, "needs either cidr or host"),
    }
}

fn patterns(texts: &[String], field: &str, problems: &mut Problems, mut add: impl FnMut(HostPattern)) {
    for text in texts {
        match HostPattern::parse(text) {
            Ok(pattern) => add(pattern),
            Err(problem) => problems.push(field, problem),
        }
    }
}

fn ports(ranges: &[document::PortRange], field: &str, problems: &mut Problems) -> PortSet {
    PortSet::new(ranges).unwrap_or_else(|problem| {
        problems.push(field, problem);
        PortSet::default()
    })
}
