//! The wire documents: an EgressPolicy's rules as content, an EgressPool at a moment as the pool's document.

use egressway_core::wire::document::{self, Action, Content, PortRange, Rule};
use egressway_crds::{AclRule, EgressPolicySpec};
use jiff::Timestamp;

use crate::egress_pool::validate::{CellState, ValidPool};

/// The content of a policy. Ports that are no ports become 0, which `core::acl::compile` refuses.
#[must_use]
pub fn content(spec: &EgressPolicySpec) -> Content {
    Content {
        suspended: spec.suspend.unwrap_or(false),
        rules: spec.rules.iter().map(rule).collect(),
        ..Content::default()
    }
}

fn rule(rule: &AclRule) -> Rule {
    let port = |port: i32| u16::try_from(port).unwrap_or(0);
    Rule {
        name: rule.name.clone(),
        action: if rule.action == "Deny" {
            Action::Deny
        } else {
            Action::Allow
        },
        hosts: rule.hosts.clone().unwrap_or_default(),
        cidrs: rule.cidrs.clone().unwrap_or_default(),
        ports: rule
            .ports
            .iter()
            .map(|range| PortRange {
                port: port(range.port),
                end_port: range.end_port.map(port),
            })
            .collect(),
        ..Rule::default()
    }
}

/// The pool's document at `now`.
#[must_use]
pub fn pool(pool: &ValidPool, now: Timestamp) -> document::Pool {
    let cells = pool.cells.iter().map(|cell| {
        let in_force = cell
            .promises
            .iter()
            .flatten()
            .filter(|promise| promise.in_force(now));
        document::Cell {
            name: cell.name.clone(),
            promised: in_force.map(|promise| promise.net.to_string()).collect(),
            declared: cell.promises.is_some(),
            draining: cell.state == CellState::Draining,
        }
    });
    document::Pool {
        version: document::VERSION,
        name: pool.name.clone(),
        observation: pool.observation.clone(),
        cells: cells.collect(),
        caps: document::Caps::default(),
    }
}

/// What stands in for the document of a pool that is gone: no cells, nobody to ask.
#[must_use]
pub fn no_pool(name: &str) -> document::Pool {
    document::Pool {
        version: document::VERSION,
        name: name.to_owned(),
        ..document::Pool::default()
    }
}
