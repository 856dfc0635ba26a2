//! Pure: an EgressPool's spec into what a fleet can be built from, or every problem with what to write instead.
//!
//! The schema has refused most of it already; this is for what one field's schema cannot say, and for objects that
//! were stored before the schema said it.

mod caps;
mod observation;
mod placement;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use egressway_core::acl::compile::Problems;
use egressway_core::acl::{cidr, lint};
use egressway_core::duration;
use egressway_core::wire::document;
use egressway_crds::{
    AllowedNamespaces, Cell, DeclaredAddress, EgressPool, EgressPoolSpec, Resources, Toleration,
};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use crate::desired::clients::sound;
use crate::desired::kept;
use crate::egress_policy::resources::{self, Compute};

/// Proxy pods in each cell when nobody says otherwise: two, so that a node may go.
const REPLICAS: i32 = 2;
/// Drain when nobody says otherwise: what clouds give a load balancer's targets.
const DRAIN: Duration = Duration::from_secs(300);
/// Longest drain.
const DRAIN_MAX: Duration = Duration::from_secs(3600);
/// Most pods in a cell when the pool has no cap, and at all.
const REPLICAS_MAX: i32 = 100;
/// Most rules when the pool has no cap, and at all.
const RULES_MAX: i32 = 1000;
/// A pool that a fleet can be built from.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPool {
    /// Name.
    pub name: String,
    /// Cells, sorted by name.
    pub cells: Vec<ValidCell>,
    /// As every pod of the pool sees it.
    pub observation: document::Observation,
    /// Defaults of fleets.
    pub fleet: Fleet,
    /// The outer wall, as every pod of the pool sees it.
    pub caps: document::Caps,
    /// Most pods of a policy in each cell.
    pub replicas_per_cell_max: i32,
    /// Most rules of a policy.
    pub rules_max: usize,
    /// NAT64 prefixes of the pool's network.
    pub nat64_prefixes: Vec<String>,
    /// What is remembered of it beside its document.
    pub note: EgressPoolSpec,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCell {
    /// Name.
    pub name: String,
    /// Labels of its nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// The promises; `None` in discovery.
    pub promises: Option<Vec<Promise>>,
    /// How far it is in use.
    pub state: CellState,
}

/// How far a cell is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Serves.
    Active,
    /// Refuses new requests.
    Draining,
    /// Has no pods.
    Disabled,
}

/// A range promised to customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The range.
    pub net: IpNet,
    /// Not in use before.
    pub not_before: Option<Timestamp>,
    /// Not in use afterwards.
    pub not_after: Option<Timestamp>,
    /// `notAfter` as it was written.
    pub not_after_text: Option<String>,
}

/// What a fleet looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Pods in each cell.
    pub replicas_per_cell: i32,
    /// How long a terminating pod lets open tunnels run.
    pub drain: Duration,
    /// Requests and limits.
    pub compute: Compute,
}

impl Promise {
    /// Whether traffic may leave from it at `now`.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|time| time <= now) && !self.over(now)
    }

    /// Whether it has retired.
    #[must_use]
    pub fn over(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|time| time <= now)
    }

    /// The address, or the range where it is more than one.
    #[must_use]
    pub fn text(&self) -> String {
        if self.net.prefix_len() == self.net.max_prefix_len() {
            self.net.addr().to_string()
        } else {
            self.net.to_string()
        }
    }
}

impl ValidPool {
    /// What of the pool has no effect, or more than its owner may have meant.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let mut warnings = lint::caps(&self.caps, None).1;
        for cell in self.cells.iter().filter(|cell| cell.state != CellState::Disabled) {
            let promises = cell.promises.iter().flatten();
            let promises: Vec<_> = promises.map(|promise| (promise.net, promise.over(now))).collect();
            warnings.extend(lint::promises(&cell.name, &promises));
        }
        warnings.iter().map(ToString::to_string).collect()
    }

    /// The next moment at which a promise begins or ends.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let promises = self
            .cells
            .iter()
            .filter_map(|cell| cell.promises.as_ref())
            .flatten();
        promises
            .flat_map(|promise| [promise.not_before, promise.not_after])
            .flatten()
            .filter(|time| *time > now)
            .min()
    }
}

/// Reads a pool.
///
/// # Errors
/// Every problem.
pub fn validate(pool: &EgressPool) -> Result<ValidPool, Problems> {
    let mut problems = Problems::default();
    let spec = &pool.spec;
    let mut cells: Vec<ValidCell> = spec
        .cells
        .iter()
        .enumerate()
        .map(|(n, cell)| valid_cell(n, cell, &mut problems))
        .collect();
    if cells.is_empty() {
        problems.push("spec.cells", "is empty: write at least one cell");
    }
    let mut names = BTreeSet::new();
    for cell in &spec.cells {
        if !names.insert(cell.name.as_str()) {
            problems.push(
                format!("spec.cells[{}]", cell.name),
                "stands twice: give each cell its own name",
            );
        }
    }
    overlaps(&cells, &mut problems);
    if let Err(problem) = allows(&spec.allowed_namespaces, "", &BTreeMap::new()) {
        problems.push("spec.allowedNamespaces", problem);
    }
    let observation = observation::observation(spec, &mut problems);
    let caps = caps::caps(spec, &mut problems);
    let bounds = spec.caps.clone().unwrap_or_default();
    let mut bound = |field: &str, value: Option<i32>, most: i32| {
        let value = value.unwrap_or(most);
        if !(1..=most).contains(&value) {
            problems.push(
                format!("spec.caps.{field}"),
                format!("{value} is not from 1 to {most}"),
            );
        }
        value
    };
    let replicas_max = bound("maxReplicasPerCell", bounds.max_replicas_per_cell, REPLICAS_MAX);
    let rules_max = bound("maxRulesPerPolicy", bounds.max_rules_per_policy, RULES_MAX);
    let fleet = spec.fleet.clone().unwrap_or_default();
    if fleet
        .replicas_per_cell
        .is_some_and(|replicas| replicas > replicas_max)
    {
        problems.push(
            "spec.fleet.replicasPerCell",
            format!("is above spec.caps.maxReplicasPerCell, {replicas_max}"),
        );
    }
    let fleet = fleet_of(
        fleet.replicas_per_cell,
        fleet.drain.as_deref(),
        fleet.resources.as_ref(),
        &Fleet {
            replicas_per_cell: REPLICAS.min(replicas_max),
            drain: DRAIN,
            compute: Compute::default(),
        },
        &mut problems,
    );
    cells.sort_by(|a, b| a.name.cmp(&b.name));
    problems.into_result(ValidPool {
        name: pool.name_any(),
        cells,
        observation,
        fleet,
        caps,
        replicas_per_cell_max: replicas_max,
        rules_max: usize::try_from(rules_max).unwrap_or(0),
        nat64_prefixes: spec.nat64_prefixes.clone().unwrap_or_default(),
        note: kept::note(spec),
    })
}

/// Whether a namespace may use the pool.
///
/// # Errors
/// The selector is none.
pub fn allows(
    allowed: &AllowedNamespaces,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, String> {
    match allowed.from.as_str() {
        "All" => Ok(true),
        "Names" => Ok(allowed.names.iter().flatten().any(|name| name == namespace)),
        "Selector" => {
            let selector: LabelSelector = allowed
                .selector
                .clone()
                .ok_or("from: Selector needs a selector")?;
            sound(&selector).map_err(|problem| format!("selector: {problem}"))?;
            let selector: Selector = selector
                .try_into()
                .map_err(|error| format!("selector: {error}"))?;
            Ok(selector.matches(labels))
        }
        other => Err(format!(
            "from: {other:?} is not known: write All, Selector or Names"
        )),
    }
}

/// A fleet from its fields and what they default to.
pub fn fleet_of(
    replicas: Option<i32>,
    drain: Option<&str>,
    resources: Option<&Resources>,
    default: &Fleet,
    problems: &mut Problems,
) -> Fleet {
    let replicas_per_cell = replicas.unwrap_or(default.replicas_per_cell);
    if !(1..=REPLICAS_MAX).contains(&replicas_per_cell) {
        problems.push(
            "spec.fleet.replicasPerCell",
            format!("{replicas_per_cell} is not from 1 to {REPLICAS_MAX}"),
        );
    }
    let drain = match drain.map(duration::parse).transpose() {
        Ok(drain) => drain.unwrap_or(default.drain),
        Err(problem) => {
            problems.push("spec.fleet.drain", problem);
            default.drain
        }
    };
    if drain > DRAIN_MAX {
        problems.push("spec.fleet.drain", "is longer than 1h");
    }
    let compute = match resources {
        Some(resources) => resources::parse(resources, problems),
        None => default.compute.clone(),
    };
    Fleet {
        replicas_per_cell,
        drain,
        compute,
    }
}

fn valid_cell(n: usize, cell: &Cell, problems: &mut Problems) -> ValidCell {
    let field = format!(
        "spec.cells[{}]",
        if cell.name.is_empty() {
            n.to_string()
        } else {
            cell.name.clone()
        }
    );
    let state = match cell.state.as_str() {
        "Active" | "" => CellState::Active,
        "Draining" => CellState::Draining,
        "Disabled" => CellState::Disabled,
        other => {
            problems.push(
                format!("{field}.state"),
                format!("{other:?} is not known: write Active, Draining or Disabled"),
            );
            CellState::Disabled
        }
    };
    placement::placement(&field, cell, problems);
    let promises = cell.addresses.as_ref().map(|addresses| {
        let promises = addresses.iter().enumerate();
        promises
            .filter_map(|(n, address)| promise(&format!("{field}.addresses[{n}]"), address, problems))
            .collect()
    });
    ValidCell {
        name: cell.name.clone(),
        node_selector: cell.node_selector.clone(),
        tolerations: cell.tolerations.clone().unwrap_or_default(),
        promises,
        state,
    }
}

fn promise(field: &str, address: &DeclaredAddress, problems: &mut Problems) -> Option<Promise> {
    let mut time = |name: &str, text: Option<&String>| {
        let parsed = text?.parse::<Timestamp>();
        if parsed.is_err() {
            problems.push(
                format!("{field}.{name}"),
                "is no time: write it like 2027-03-01T00:00:00Z",
            );
        }
        parsed.ok()
    };
    let not_before = time("notBefore", address.not_before.as_ref());
    let not_after = time("notAfter", address.not_after.as_ref());
    if let (Some(before), Some(after)) = (not_before, not_after)
        && after <= before
    {
        problems.push(format!("{field}.notAfter"), "is not after notBefore");
    }
    match cidr::parse(&address.cidr) {
        Ok(net) => Some(Promise {
            net,
            not_before,
            not_after,
            not_after_text: address.not_after.clone(),
        }),
        Err(problem) => {
            problems.push(format!("{field}.cidr"), problem);
            None
        }
    }
}

/// One address behind two NATs is a mistake: nobody could say which cell it was seen from.
fn overlaps(cells: &[ValidCell], problems: &mut Problems) {
    let all: Vec<(&str, IpNet)> = cells
        .iter()
        .flat_map(|cell| {
            cell.promises
                .iter()
                .flatten()
                .map(|promise| (cell.name.as_str(), promise.net))
        })
        .collect();
    for (n, (cell, net)) in all.iter().enumerate() {
        for (other, earlier) in all.iter().take(n) {
            if net.contains(earlier) || earlier.contains(net) {
                let field = format!("spec.cells[{cell}].addresses");
                problems.push(
                    field,
                    format!("{net} overlaps {earlier} of cell {other}: promise each address once"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
