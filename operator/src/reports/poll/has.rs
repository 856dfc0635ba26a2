//! What a pod has of what it should have, by its report. When it is asked, and what follows, is not decided here.

use egressway_core::wire::report::Report;

use super::{Target, Wanted};

/// Of what a pod should have, what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Has {
    /// Policy, floor and pool.
    pub(super) config: bool,
    /// The client pods.
    pub(super) clients: bool,
}

impl Has {
    pub(super) const ALL: Self = Self {
        config: true,
        clients: true,
    };
}

pub(super) fn has(report: Option<&Report>, target: &Target, wanted: &Wanted) -> Has {
    let clients = report.is_some_and(|report| report.clients_hash == wanted.hashes.clients);
    let config = report.is_some_and(|report| {
        let (namespace, name) = &target.policy;
        let policy = report
            .policies
            .iter()
            .find(|p| p.namespace == *namespace && p.name == *name);
        policy.is_some_and(|policy| policy.hash == wanted.hashes.policy)
            && report.floor_hash == wanted.hashes.floor
            && report.pool_hash == wanted.hashes.pool
            && report.secrets_hash == wanted.hashes.secrets
    });
    Has { config, clients }
}
