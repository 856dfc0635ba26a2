//! Of a pool: exceptions to the internal tier, and promises.

use ipnet::IpNet;

use super::{Warning, seen_outside};
use crate::acl::compile::Problems;
use crate::acl::floor::{Floor, Tier};
use crate::acl::{address, cidr};
use crate::wire::document;

/// What the caps of a pool open by mistake, which is refused, and what they open in vain. `floor`: the cluster's, where it
/// is known.
#[must_use]
pub fn caps(caps: &document::Caps, floor: Option<&Floor>) -> (Problems, Vec<Warning>) {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    for (n, entry) in caps.internal_destinations.iter().enumerate() {
        let field = format!("spec.caps.internalDestinations[{n}]");
        for net in entry
            .cidr
            .iter()
            .chain(&entry.cidrs)
            .filter_map(|text| cidr::parse(text).ok())
        {
            if let Some(widest) = address::internal_within(&net) {
                problems.push(
                    &field,
                    format!("{net} is wider than private networks are: write the range that is meant, at most {widest}"),
                );
                continue;
            }
            let problem = match floor.map_or_else(|| address::tier(&net), |floor| floor.tier(&net)) {
                Tier::Internal(_) => continue,
                Tier::Never(what) => format!("{net} opens nothing: {what} is never reachable"),
                // Pods and Services may have addresses that look public.
                Tier::Open if floor.is_some_and(|floor| floor.has_internal_within(&net)) => continue,
                Tier::Open => format!(
                    "{net} opens nothing: it is public, unless Pods, Services or operator.internalCIDRs have addresses there"
                ),
            };
            warnings.push(Warning {
                field: field.clone(),
                problem,
            });
        }
    }
    (problems, warnings)
}

/// What the promises of a cell are worth: each a range, and whether its time is over.
#[must_use]
pub fn promises(cell: &str, promises: &[(IpNet, bool)]) -> Vec<Warning> {
    let warning = |problem| Warning {
        field: format!("spec.cells[{cell}].addresses"),
        problem,
    };
    let mut warnings = Vec::new();
    for (net, _) in promises {
        let (wide, most) = match net {
            IpNet::V4(_) => (net.prefix_len() < PREFIX_LEAST_V4, PREFIX_LEAST_V4),
            IpNet::V6(_) => (net.prefix_len() < PREFIX_LEAST_V6, PREFIX_LEAST_V6),
        };
        if let Err(what) = seen_outside(net) {
            warnings.push(warning(format!(
                "{net} is no address that anybody outside sees ({what}): promise what the NAT gateway shows"
            )));
        } else if wide {
            warnings.push(warning(format!(
                "{net} promises so much that nothing is unexpected any more: promise what the NAT gateway has, /{most} at most"
            )));
        }
    }
    if !promises.is_empty() && promises.iter().all(|(_, over)| *over) {
        warnings.push(warning(
            "every promise has ended (notAfter), so whatever its pods show is unexpected: promise an address, or disable the cell"
                .to_owned(),
        ));
    }
    warnings
}

/// A shorter promise is no promise: IPv4 is handed out in blocks of /8 at most, IPv6 in /12 (RFC 7020's registries).
const PREFIX_LEAST_V4: u8 = 8;
/// The same for IPv6.
const PREFIX_LEAST_V6: u8 = 12;
