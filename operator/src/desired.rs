//! Pure: what the objects of a fleet look like. One file an object; this one says what there is and what they share.
//!
//! No object carries a time, a counter or a random number of its own (the report key comes in as a value), so the same
//! input gives the same bytes, and a settled fleet is never written.

pub mod clients;
pub mod config_map;
pub mod deployment;
pub mod disruption_budget;
pub mod document;
pub mod kept;
pub mod labels;
pub mod network_policy;
pub mod room;
pub mod secret;
pub mod secrets;
pub mod service;
pub mod service_account;

use std::collections::BTreeMap;

use egressway_core::wire::{self, names};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use self::room::{Fit, Fitted};
use self::secrets::Resolution;
use crate::context::Settings;
use crate::egress_pool::validate::CellState;

/// The policy that a fleet belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the EgressPolicy.
    pub namespace: String,
    /// Name of the EgressPolicy.
    pub name: String,
    /// UID of the EgressPolicy.
    pub uid: String,
    /// Name of its pool.
    pub pool: String,
    /// Which edition of its documents this is, see [`Self::documents`].
    pub edition: u32,
}

impl Identity {
    /// Name of the objects that there are once.
    #[must_use]
    pub fn fleet(&self) -> String {
        names::fleet_name(&self.namespace, &self.name)
    }

    /// Name of the ConfigMap with its documents. A kubelet that has met an immutable one keeps it for as long as pods on its
    /// node mount that name, though it was made anew meanwhile: so the next edition has a name of its own, and comes with
    /// new pods.
    #[must_use]
    pub fn documents(&self) -> String {
        documents_name(&self.fleet(), self.edition)
    }

    /// Name of the objects that there are once per cell.
    #[must_use]
    pub fn cell(&self, cell: &str) -> String {
        names::cell_name(&self.namespace, &self.name, cell)
    }
}

/// Name of an edition of a fleet's documents.
#[must_use]
pub fn documents_name(fleet: &str, edition: u32) -> String {
    match edition {
        0 => fleet.to_owned(),
        later => format!("{fleet}-{later}"),
    }
}

/// The edition that a ConfigMap of a fleet is of, be it the documents or the table of client pods beside them.
#[must_use]
pub fn edition_of(fleet: &str, config_map: &str) -> Option<u32> {
    let clients = names::clients_name("");
    let rest = config_map.strip_prefix(fleet)?;
    match rest.strip_suffix(clients.as_str()).unwrap_or(rest) {
        "" => Some(0),
        later => later.strip_prefix('-')?.parse().ok(),
    }
}

/// What a fleet's pods mount and nobody must wait for: it depends on no Secret, and goes first.
#[derive(Clone, Debug, PartialEq)]
pub struct Documents {
    /// Policies, floor and pool; `None` where they have no room.
    pub config_map: Option<ConfigMap>,
    /// The client pods, where there is anything to say about them.
    pub clients: Option<ConfigMap>,
    /// Digests of the documents.
    pub hashes: Hashes,
}

/// Everything else that a fleet consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Without token: the pods hold no credential of the API.
    pub service_account: ServiceAccount,
    /// The key of the report, and what the proxies need of the tenant's Secrets.
    pub secret: Secret,
    /// Where clients connect.
    pub service: Service,
    /// Who may talk to the pods, and where they may go.
    pub network_policy: NetworkPolicy,
    /// What there is per cell; `None` leaves what exists as it is.
    pub cells: Option<Vec<Cell>>,
}

/// What there is once per cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name of the cell.
    pub name: String,
    /// The pods.
    pub deployment: Deployment,
    /// How many of them may go at once.
    pub disruption_budget: PodDisruptionBudget,
}

/// Digests of the documents, as pods report them, and of what they are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// Of the policy's content.
    pub policy: String,
    /// Of the floor.
    pub floor: String,
    /// Of the pool's document.
    pub pool: String,
    /// Of the client pods; empty where there is no such document. Pods come and go: Programmed is not about it.
    pub clients: String,
    /// Of what the client pods are selected by, which no pod reports: Programmed waits for a table made from it.
    pub selectors: String,
    /// Of the secrets; empty where there are none.
    pub secrets: String,
}

impl Hashes {
    /// What Programmed is about, besides the selectors of client pods.
    #[must_use]
    pub fn config(&self) -> (&str, &str, &str, &str) {
        (&self.policy, &self.floor, &self.pool, &self.secrets)
    }
}

/// What the documents of a fleet are made from besides the policy.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The cluster's own ranges.
    pub floor: &'a wire::document::Floor,
    /// The floor as it stands in the ConfigMap: its NAT64 prefixes for when there is no pool, its ranges for when those of
    /// now have no room.
    pub kept_floor: Option<&'a wire::document::Floor>,
    /// The pool's document as it stands in the ConfigMap, for when there is no pool to make one from.
    pub kept_pool: Option<&'a wire::document::Pool>,
    /// What the policy's clients are told apart by.
    pub sources: &'a clients::Sources,
    /// Its client pods.
    pub clients: Option<&'a wire::document::Clients>,
    /// Digest of the secrets that the pods should have; empty where there are none.
    pub secrets: String,
    /// From the command line.
    pub settings: &'a Settings,
}

/// The documents of a policy's fleet, as far as they have room.
#[must_use]
pub fn documents(fitted: &Fitted, inputs: &Inputs<'_>) -> Documents {
    let Fitted {
        policy,
        floor,
        pool,
        fit,
    } = fitted;
    let hashes = Hashes {
        policy: policy.document.hash.clone(),
        floor: wire::document::digest(floor),
        pool: wire::document::digest(pool),
        clients: inputs.clients.map(wire::document::digest).unwrap_or_default(),
        selectors: wire::document::digest(inputs.sources),
        secrets: inputs.secrets.clone(),
    };
    let config_map = config_map::config_map(policy, inputs.sources, floor, pool, inputs.settings);
    Documents {
        config_map: (!matches!(fit, Fit::No(_))).then_some(config_map),
        clients: inputs
            .clients
            .map(|clients| clients::config_map(&policy.id, clients, &hashes.selectors, inputs.settings)),
        hashes,
    }
}

/// What the rest of a fleet is made from.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    /// What the proxies need of the tenant's Secrets.
    pub secrets: &'a Resolution,
    /// The key of the report.
    pub key: &'a str,
    /// Marks of cells whose pods had to move, see [`deployment::MOVED`].
    pub moved: &'a BTreeMap<String, String>,
}

/// The rest of a policy's fleet.
#[must_use]
pub fn desired(fitted: &Fitted, rest: &Rest<'_>, settings: &Settings) -> Desired {
    let (policy, id) = (&fitted.policy, &fitted.policy.id);
    let cells = policy.shape.as_ref().and_then(|shape| {
        let fleet = shape.fleet.as_ref()?;
        let cells = shape
            .pool
            .cells
            .iter()
            .filter(|cell| cell.state != CellState::Disabled);
        let cells = cells.map(|cell| Cell {
            name: cell.name.clone(),
            deployment: deployment::deployment(id, cell, fleet, rest, settings),
            disruption_budget: disruption_budget::disruption_budget(id, &cell.name, settings),
        });
        Some(cells.collect())
    });
    Desired {
        service_account: service_account::service_account(id, settings),
        secret: secret::secret(id, rest.key, rest.secrets.document.as_ref(), settings),
        service: service::service(id, settings),
        network_policy: network_policy::network_policy(
            id,
            &policy.document.content,
            &fitted.pool.caps,
            &fitted.floor,
            settings,
        ),
        cells,
    }
}

/// The floor of a fleet: the cluster's own ranges, and how its pool's network embeds addresses in others.
#[must_use]
pub fn floor(cluster: &wire::document::Floor, nat64_prefixes: &[String]) -> wire::document::Floor {
    wire::document::Floor {
        nat64_prefixes: nat64_prefixes.to_vec(),
        ..cluster.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests;
