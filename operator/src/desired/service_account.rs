//! The ServiceAccount of a fleet: a name without rights and without token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{Identity, labels};
use crate::context::Settings;

/// The ServiceAccount.
#[must_use]
pub fn service_account(id: &Identity, settings: &Settings) -> ServiceAccount {
    ServiceAccount {
        metadata: labels::metadata(id.fleet(), labels::labels(id), settings),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
