//! An EgressPool's spec as the caps that its proxies enforce.

use super::content::{MODES, choose, ports};
use super::pool::PoolSpec;
use crate::acl::compile::Problems;
use crate::wire::document::{Caps, CidrCaps, ClientAuth, HostCaps, InternalDestination, Mode};

const CLIENT_AUTH: &[(&str, ClientAuth)] = &[
    ("Optional", ClientAuth::Optional),
    ("Required", ClientAuth::Required),
];

/// The caps of a pool. A pool without `caps.modes` lets policies enforce and nothing else.
///
/// # Errors
/// Every value that is none of its kind, with its field.
pub fn caps(spec: &PoolSpec) -> Result<Caps, Problems> {
    let mut problems = Problems::default();
    let caps = spec.caps.clone().unwrap_or_default();
    let modes = match &caps.modes {
        None => vec![Mode::Enforce],
        Some(modes) => {
            let chosen = modes
                .iter()
                .map(|mode| choose("spec.caps.modes", Some(mode), MODES, &mut problems));
            chosen.collect()
        }
    };
    let hosts = caps.hosts.map(|hosts| HostCaps {
        allow: hosts.allow.unwrap_or_default(),
        deny: hosts.deny.unwrap_or_default(),
    });
    let cidrs = caps.cidrs.map(|cidrs| CidrCaps {
        allow: cidrs.allow.unwrap_or_default(),
        deny: cidrs.deny.unwrap_or_default(),
    });
    let internal = caps.internal_destinations.unwrap_or_default().into_iter();
    let document = Caps {
        modes: Some(modes),
        ports: ports(&caps.ports.unwrap_or_default()),
        hosts,
        cidrs,
        internal_destinations: internal
            .map(|entry| InternalDestination {
                cidr: entry.cidr,
                host: entry.host,
                cidrs: entry.cidrs.unwrap_or_default(),
                ports: ports(&entry.ports),
            })
            .collect(),
        client_auth: choose(
            "spec.caps.clientAuth",
            caps.client_auth.as_deref(),
            CLIENT_AUTH,
            &mut problems,
        ),
    };
    problems.into_result(document)
}

/// The NAT64 prefixes of the pool's network.
#[must_use]
pub fn nat64_prefixes(spec: &PoolSpec) -> Vec<String> {
    spec.nat64_prefixes.clone().unwrap_or_default()
}
