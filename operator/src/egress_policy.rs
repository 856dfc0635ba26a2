//! The controller of EgressPolicies: observe, validate, desired, apply, status.
//!
//! Every run computes everything again. A refused policy is the user's to fix: it becomes a condition, not a retry.
//! Errors are the API server's; they are retried with a delay of their own per object.

pub mod apply;
pub mod cells;
pub mod condition;
mod default_pool;
pub mod finalize;
mod make;
pub mod observe;
pub mod placement;
pub mod publish;
pub mod resources;
pub mod retry;
pub mod rewritten;
pub mod rollout;
pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::names;
use egressway_crds::EgressPolicy;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use self::condition::Reason;
use self::publish::Outcome;
use self::retry::Class;
use crate::cluster::caches::Policy;
use crate::cluster::tenant_secrets;
use crate::context::Context;
use crate::desired::config_map;
use crate::desired::secrets::Resolution;

/// Everything is looked at again after so long, whatever the watches say.
const RESYNC: Duration = Duration::from_secs(600);
/// Longest run. Each call waits for the API server, and a dead connection tells nobody: what is not done by then is
/// done by the next run. Reading as many Secrets as a policy may name takes 39 s when none of them is answered.
const RUN_MAX: Duration = Duration::from_secs(60);
/// A namespace that is not known yet wakes its policies once it is; this is for when nobody does.
const NAMESPACE_AGAIN: Duration = Duration::from_secs(5);
/// While somebody else sets fields of a fleet, it is looked so often whether that has ended.
const CONTESTED_AGAIN: Duration = Duration::from_secs(10);
/// Field manager of `spec.poolRef`, apart from the others so that no other apply takes it back.
const POOL_MANAGER: &str = "egressway-operator-default-pool";

/// What went wrong with a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a write.
    #[error("failed to apply {kind} {name}")]
    Apply {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refused a deletion.
    #[error("failed to delete {kind} {name}")]
    Delete {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refused a read.
    #[error("failed to read {kind} {name}")]
    Read {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The name belongs to an object that is not ours.
    #[error("{kind} {name} in the fleet namespace belongs to somebody else: delete or rename it")]
    Taken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server would refuse a ConfigMap.
    #[error(
        "the documents of ConfigMap {name} have {bytes} bytes, more than {most}: what was applied last stays in force, the cluster's ranges of that time with it. Split the policy into several, or use wildcards and wider CIDRs",
        most = config_map::BYTES_MAX
    )]
    TooLarge {
        /// Its name.
        name: String,
        /// Of all its values.
        bytes: usize,
    },
    /// The API server left one call unanswered.
    #[error("the API server did not answer about {kind} {name} within {} s", within.as_secs())]
    Silent {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// How long was waited.
        within: Duration,
    },
    /// Several objects of one fleet could not be made what they should be.
    #[error("{} of a fleet's objects are not as they should be", .0.len())]
    Several(Vec<Self>),
    /// The API server left calls unanswered.
    #[error("the API server did not answer in time: a run ends after {} s", RUN_MAX.as_secs())]
    Late,
    /// The system gives no randomness for a report key.
    #[error("failed to draw a report key: {0}")]
    Random(getrandom::Error),
}

impl Error {
    /// A refused write.
    pub fn apply(kind: impl Into<String>, name: &str, source: kube::Error) -> Self {
        Self::Apply {
            kind: kind.into(),
            name: name.to_owned(),
            source: Box::new(source),
        }
    }

    /// A refused deletion.
    pub fn delete(kind: impl Into<String>, name: &str, source: kube::Error) -> Self {
        Self::Delete {
            kind: kind.into(),
            name: name.to_owned(),
            source: Box::new(source),
        }
    }

    /// A refused read.
    pub fn read(kind: impl Into<String>, name: &str, source: kube::Error) -> Self {
        Self::Read {
            kind: kind.into(),
            name: name.to_owned(),
            source: Box::new(source),
        }
    }

    /// Which decides about the next try.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Apply { source, .. } | Self::Delete { source, .. } | Self::Read { source, .. } => {
                match source.as_ref() {
                    kube::Error::Api(status) if status.is_conflict() => Class::Conflict,
                    kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                        Class::Refused
                    }
                    _ => Class::Unavailable,
                }
            }
            Self::Taken { .. } | Self::TooLarge { .. } => Class::Refused,
            Self::Silent { .. } | Self::Late | Self::Random(_) => Class::Unavailable,
            // What passes soonest decides: asking again costs little where the rest is as it should be.
            Self::Several(all) => {
                let classes = [Class::Conflict, Class::Unavailable];
                let found = |class: &Class| all.iter().any(|error| error.class() == *class);
                classes.into_iter().find(found).unwrap_or(Class::Refused)
            }
        }
    }

    /// All of them, if there are any.
    #[must_use]
    pub fn of_all(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }

    /// Why, for a condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Taken { .. } => Reason::NameConflict,
            Self::TooLarge { .. } => Reason::ConfigTooLarge,
            Self::Apply { .. }
            | Self::Delete { .. }
            | Self::Read { .. }
            | Self::Silent { .. }
            | Self::Late
            | Self::Random(_) => Reason::ApplyFailed,
            // The one that somebody has to act on, before those that may pass.
            Self::Several(all) => {
                let mut reasons = all.iter().map(Self::reason);
                let told = reasons.find(|reason| *reason != Reason::ApplyFailed);
                told.unwrap_or(Reason::ApplyFailed)
            }
        }
    }

    /// The error with its causes, for a condition.
    #[must_use]
    pub fn chain(&self) -> String {
        if let Self::Several(all) = self {
            return all.iter().map(Self::chain).collect::<Vec<_>>().join("; ");
        }
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

/// One run for one policy.
///
/// # Errors
/// The API server's.
pub async fn reconcile(guard: Arc<Policy>, ctx: Arc<Context>) -> Result<Action, Error> {
    let _timer = ctx.metrics.reconcile("egresspolicy");
    let policy = match &guard.0 {
        Ok(policy) => policy,
        Err(error) => {
            // Nothing can be written to an object that cannot be read; the schema lets nobody store one.
            tracing::error!(
                error = error as &dyn std::error::Error,
                "an EgressPolicy does not deserialize"
            );
            return Ok(Action::requeue(RESYNC));
        }
    };
    let outcome = within(Box::pin(run(policy, &ctx))).await;
    let object = object_key(policy);
    if outcome.is_ok() {
        ctx.wakes.failures.reset(&object);
    }
    outcome
}

/// A run that ends, answered or not.
///
/// # Errors
/// Its own, and that it took too long.
pub async fn within<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(RUN_MAX, run)
        .await
        .unwrap_or(Err(Error::Late))
}

async fn run(policy: &EgressPolicy, ctx: &Context) -> Result<Action, Error> {
    if policy.metadata.deletion_timestamp.is_some() {
        return finalize::finalize(policy, ctx).await;
    }
    let claimed = policy.finalizers().iter().any(|name| name == names::FINALIZER);
    if !claimed && !finalize::claim(policy, ctx).await? {
        return Ok(Action::await_change());
    }
    let mut observed = observe::observe(ctx, policy).await?;
    if let Some(pool) = observed.binds() {
        // The answer comes back as a change of the policy, and with it the next run.
        return set_pool(policy, ctx, &pool)
            .await
            .map(|()| Action::requeue(RESYNC));
    }
    let Some(mut validated) = observed.validate(policy) else {
        return Ok(Action::requeue(NAMESPACE_AGAIN));
    };
    let mut made = make::Made::default();
    if let Some(valid) = validated.valid.clone() {
        // Boxed, as are its parts: a run holds much at a time, and threads have small stacks.
        (validated, made) = Box::pin(make::make(policy, ctx, &mut observed, validated, &valid)).await;
    }
    let mut again = made.secrets.as_ref().map_or(RESYNC, look_again);
    if !made.contested.is_empty() {
        again = again.min(CONTESTED_AGAIN);
    }
    let outcome = Outcome {
        validated: &validated,
        hashes: made.hashes.as_ref(),
        secrets: made.secrets.as_ref(),
        clients_left_out: made.left_out,
        contested: &made.contested,
        failure: made.failure.as_ref(),
    };
    publish::publish(ctx, policy, &observed, &outcome).await?;
    match made.failure {
        Some(error) => Err(error),
        None => Ok(Action::requeue(
            observed.next_look(ctx, policy).unwrap_or(RESYNC).min(again),
        )),
    }
}

/// When the Secrets are looked at again.
fn look_again(secrets: &Resolution) -> Duration {
    match (secrets.referred, secrets.unreadable()) {
        (0, _) => RESYNC,
        (_, true) => tenant_secrets::AGAIN_UNREADABLE,
        (_, false) => tenant_secrets::AGAIN,
    }
}

/// Writes the default pool into the spec, once; the schema makes it immutable.
async fn set_pool(policy: &EgressPolicy, ctx: &Context, pool: &str) -> Result<(), Error> {
    let name = policy.name_any();
    let patch = json!({
        "apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": name, "uid": policy.uid()}, "spec": {"poolRef": {"name": pool}},
    });
    let api = publish::api(ctx, policy);
    let params = PatchParams::apply(POOL_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&patch))
        .await
        .map_err(|e| Error::apply("EgressPolicy", &name, e))?;
    tracing::info!(policy = %object_key(policy), pool, "took the default pool");
    Ok(())
}

/// Namespace and name, for logs and counters.
#[must_use]
pub fn object_key(policy: &EgressPolicy) -> String {
    format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any())
}

/// How long to wait after an error.
pub fn error_policy(guard: Arc<Policy>, error: &Error, ctx: Arc<Context>) -> Action {
    let object = format!("{}/{}", guard.namespace().unwrap_or_default(), guard.name_any());
    let (failures, delay) = ctx
        .wakes
        .failures
        .more(&object, error.class(), getrandom::u32().unwrap_or(0));
    ctx.metrics.failed("egresspolicy", error.class());
    tracing::warn!(
        policy = object,
        failures,
        ?delay,
        error = error.chain(),
        "reconcile failed"
    );
    Action::requeue(delay)
}
