//! Why a Secret is not taken, as a reason and as a sentence that ends with what to apply.

use egressway_core::wire::names;
use jiff::Timestamp;

use super::needs::Place;
use crate::context::Settings;
use crate::desired::Identity;
use crate::egress_policy::condition::Reason;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such Secret.
    NotFound,
    /// The operator may not read it.
    Forbidden,
    /// It is not labelled for proxies.
    NotLabelled,
    /// It lacks this key.
    KeyMissing(String),
    /// It cannot be used, and why; the text holds nothing of the Secret.
    Invalid(String),
    /// Nobody can tell for the moment, and why.
    Unreadable(String),
}

impl Fault {
    /// Whether it passes without anybody's doing.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

/// One Secret that is not taken, or not wholly.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Why.
    pub fault: Fault,
    /// Why, for programs.
    pub reason: Reason,
    /// Why and what to apply, for people.
    pub message: String,
    /// Nobody is served without it.
    pub listener: bool,
}

impl Problem {
    /// Puts it into words. `kept_until` is the end of the last good certificate, where that stays in force instead.
    #[must_use]
    pub fn new(
        id: &Identity,
        secret: &str,
        place: &Place,
        fault: Fault,
        kept_until: Option<Timestamp>,
        settings: &Settings,
    ) -> Self {
        let namespace = &id.namespace;
        let label = format!(
            "kubectl label secret {secret} --namespace {namespace} {}={}",
            names::SECRET_USE_LABEL,
            names::SECRET_USE_PROXY
        );
        let role = &settings.secret_reader_role;
        let bind = format!(
            "kubectl create rolebinding {role} --namespace {namespace} --clusterrole={role} --serviceaccount={}:{}",
            settings.operator_namespace, settings.service_account
        );
        let (reason, what) = match &fault {
            Fault::NotFound => (
                Reason::SecretNotFound,
                format!("does not exist: create it with {}, then: {label}", place.keys),
            ),
            Fault::Forbidden => (
                Reason::SecretForbidden,
                format!("may not be read by the operator: {bind}, and: {label}"),
            ),
            Fault::NotLabelled => (
                Reason::SecretNotLabelled,
                format!("is not labelled for proxies: {label}"),
            ),
            Fault::KeyMissing(key) => (Reason::SecretKeyMissing, format!("has no key {key}: add it")),
            Fault::Invalid(text) => (Reason::SecretInvalid, text.clone()),
            Fault::Unreadable(why) => (
                Reason::SecretUnreadable,
                format!("could not be read for the moment, and what was read before stays in force: {why}"),
            ),
        };
        let stays = kept_until.map(|end| format!("; the last good certificate stays in force until {end}"));
        let stays = stays.unwrap_or_default();
        Self {
            message: format!("{}: Secret {namespace}/{secret} {what}{stays}", place.field),
            listener: place.is_listener() && kept_until.is_none(),
            reason,
            fault,
        }
    }
}
