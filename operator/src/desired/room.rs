//! Pure: what goes into the ConfigMap of a fleet where not everything has room in it.
//!
//! What takes something away never waits for room. Of what the pool demands nothing is left out: before an ACL stands in
//! its way, the fleet is closed by a document without rules. The cluster's own ranges may wait, as long as those that are
//! in force have room beside it: a cluster that grows by nodes must not take a fleet down.

use egressway_core::wire::document;

use super::config_map::{BYTES_MAX, Documents};
use super::{Inputs, config_map, document as documents};
use crate::egress_policy::validate::ValidPolicy;

/// What a ConfigMap gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The policy, or the one that stands in for it.
    pub policy: ValidPolicy,
    /// The floor.
    pub floor: document::Floor,
    /// The pool's document.
    pub pool: document::Pool,
    /// How they came to fit.
    pub fit: Fit,
}

/// How the documents came to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As they are, this many bytes.
    Whole(usize),
    /// With the cluster's own ranges as they were before; as they are they would have this many bytes.
    FloorKept(usize),
    /// With a document without rules.
    Closed,
    /// Not at all: they would have this many bytes.
    No(usize),
}

/// The first of these that has room: everything; everything with the floor of before, unless the fleet is closed anyway;
/// no rules; no rules and the floor of before; no rules, and floor and pool of before.
#[must_use]
pub fn fitted(policy: &ValidPolicy, inputs: &Inputs<'_>) -> Fitted {
    let pool = match (&policy.shape, inputs.kept_pool) {
        (Some(shape), _) => documents::pool(&shape.pool),
        (None, Some(kept)) => kept.clone(),
        (None, None) => documents::no_pool(&policy.id.pool),
    };
    let kept_prefixes = inputs.kept_floor.map_or(&[][..], |floor| &floor.nat64_prefixes);
    let prefixes = match &policy.shape {
        Some(shape) => shape.pool.nat64_prefixes.as_slice(),
        None => kept_prefixes,
    };
    let floor = super::floor(inputs.floor, prefixes);
    let whole = Fitted {
        policy: policy.clone(),
        floor,
        pool,
        fit: Fit::No(0),
    };
    let bytes = whole.bytes(inputs);
    if bytes <= BYTES_MAX {
        let fit = Fit::Whole(bytes);
        return Fitted { fit, ..whole };
    }
    let with_old_floor = |fitted: &Fitted| {
        Some(Fitted {
            floor: super::floor(inputs.kept_floor?, prefixes),
            ..fitted.clone()
        })
    };
    let shut = Fitted {
        policy: policy.without_rules(),
        fit: Fit::Closed,
        ..whole.clone()
    };
    let before = || {
        Some(Fitted {
            floor: inputs.kept_floor?.clone(),
            pool: inputs.kept_pool?.clone(),
            ..shut.clone()
        })
    };
    let open = policy.closed.is_none().then(|| with_old_floor(&whole)).flatten();
    let open = open.map(|open| Fitted {
        fit: Fit::FloorKept(bytes),
        ..open
    });
    let rows = [open, Some(shut.clone()), with_old_floor(&shut), before()];
    let mut rows = rows.into_iter().flatten();
    rows.find(|row| row.bytes(inputs) <= BYTES_MAX).unwrap_or(Fitted {
        fit: Fit::No(bytes),
        ..whole
    })
}

impl Fitted {
    fn bytes(&self, inputs: &Inputs<'_>) -> usize {
        let policies = config_map::policies(&self.policy);
        Documents {
            policies: &policies,
            fleet: self.policy.fleet.as_ref(),
            sources: inputs.sources,
            floor: &self.floor,
            pool: &self.pool,
            note: self.policy.shape.as_ref().map(|shape| &shape.pool.note),
        }
        .bytes()
    }
}
