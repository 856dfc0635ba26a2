//! What of a manifest is well-formed and has no effect, or more than its author may have meant: core's words, and what of
//! a pool's promises a file can tell.

use egressway_core::acl::{Floor, Policy, Wall, cidr, lint};
use egressway_core::manifest::PoolSpec;
use egressway_core::wire::document::{Caps, Content};
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

/// Everything about a policy inside of its wall, and about its pool, one line each. `floor`: the cluster's, where it is
/// known.
pub(crate) fn warnings(
    policy: &Policy,
    content: &Content,
    wall: &Wall,
    caps: &Caps,
    pool: Option<&PoolSpec>,
    floor: Option<&Floor>,
) -> Vec<String> {
    let mut warnings = lint::rules(policy, content, wall);
    warnings.extend(lint::caps(caps, floor).1);
    let cells = pool.and_then(|pool| pool.cells.as_ref()?.as_array());
    for cell in cells.into_iter().flatten() {
        let text = |value: &Value, field: &str| value.get(field)?.as_str().map(ToOwned::to_owned);
        let promise = |address: &Value| -> Option<(IpNet, bool)> {
            let net = cidr::parse(&text(address, "cidr")?).ok()?;
            let ends = text(address, "notAfter").and_then(|time| time.parse::<Timestamp>().ok());
            Some((net, ends.is_some_and(|ends| ends <= Timestamp::now())))
        };
        let addresses = cell.get("addresses").and_then(Value::as_array);
        let promises: Vec<_> = addresses.into_iter().flatten().filter_map(promise).collect();
        warnings.extend(lint::promises(&text(cell, "name").unwrap_or_default(), &promises));
    }
    warnings.iter().map(ToString::to_string).collect()
}
