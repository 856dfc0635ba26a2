//! The PodDisruptionBudget of a cell: a drained node takes one pod at a time.
//!
//! `AlwaysAllow` for pods that are not ready: a quarantined or broken pod must never keep a node from being drained.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Identity, labels};
use crate::context::Settings;

/// The PodDisruptionBudget.
#[must_use]
pub fn disruption_budget(id: &Identity, cell: &str, settings: &Settings) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: labels::metadata(id.cell(cell), labels::cell_labels(id, cell), settings),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labels::cell_selector(id, cell)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
