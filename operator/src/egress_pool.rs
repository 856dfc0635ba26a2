//! The controller of EgressPools: validates them and sums up what the policies on them see. It makes no objects.

pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::names;
use egressway_crds::EgressPolicy;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::caches::{Policy, Pool};
use crate::context::{Context, pool_name};
use crate::egress_policy::publish::{foreign, replacing};
use crate::egress_policy::{Error, within};

/// Everything is looked at again after so long, whatever the watches say.
const RESYNC: Duration = Duration::from_secs(600);

/// One run for one pool.
///
/// # Errors
/// The API server's.
pub async fn reconcile(guard: Arc<Pool>, ctx: Arc<Context>) -> Result<Action, Error> {
    let _timer = ctx.metrics.reconcile("egresspool");
    within(run(&guard, &ctx)).await
}

async fn run(guard: &Pool, ctx: &Context) -> Result<Action, Error> {
    let pool = match &guard.0 {
        Ok(pool) => pool,
        Err(error) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "an EgressPool does not deserialize"
            );
            return Ok(Action::requeue(RESYNC));
        }
    };
    let name = pool.name_any();
    let policies: Vec<Arc<Policy>> = ctx
        .caches
        .policies
        .state_filter(|policy: &Policy| pool_name(policy) == Some(name.as_str()));
    let policies: Vec<&EgressPolicy> = policies
        .iter()
        .filter_map(|policy| policy.0.as_ref().ok())
        .collect();
    let nodes: Vec<Arc<Node>> = ctx.caches.nodes.state();
    let pods = ctx
        .caches
        .pods
        .state_filter(|pod: &Pod| pod.labels().get(names::POOL_LABEL) == Some(&name));
    let facts = status::Facts {
        pool,
        valid: validate::validate(pool),
        policies: &policies,
        nodes: &nodes,
        pods: &pods,
        now: (ctx.now)(),
    };
    let mut next = status::next(&facts);
    let live = pool.status.iter().flat_map(|live| foreign(&live.conditions));
    next.conditions.extend(live.cloned());
    if pool.status.as_ref() != Some(&next) {
        // Lists whole: with server-side apply an entry that somebody else put in would stay for ever.
        let status = replacing(pool.status.as_ref(), &next);
        let patch = json!({"metadata": {"resourceVersion": pool.resource_version()}, "status": status});
        let api = Api::<egressway_crds::EgressPool>::all(ctx.client.clone());
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match api.patch_status(&name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(Error::apply("EgressPool status", &name, error)),
        }
        let empty = Vec::new();
        let before = pool.status.as_ref().map_or(&empty, |status| &status.conditions);
        ctx.events.moved(pool, before, &next.conditions).await;
        let cells = status::moved(pool.status.as_ref(), &next);
        ctx.events.tell(pool, cells).await;
    }
    ctx.wakes.failures.reset(&name);
    Ok(Action::requeue(next_look(&facts)))
}

/// When time alone changes a pool's status: a promise begins or ends.
fn next_look(facts: &status::Facts<'_>) -> Duration {
    let change = facts
        .valid
        .as_ref()
        .ok()
        .and_then(|valid| valid.next_change(facts.now));
    let left = change.and_then(|time| Duration::try_from(time.duration_since(facts.now)).ok());
    // A look at the very moment would come too early where status counts in whole seconds.
    left.map_or(RESYNC, |left| {
        left.saturating_add(Duration::from_secs(1)).min(RESYNC)
    })
}

/// How long to wait after an error.
pub fn error_policy(guard: Arc<Pool>, error: &Error, ctx: Arc<Context>) -> Action {
    let name = guard.name_any();
    let (failures, delay) = ctx
        .wakes
        .failures
        .more(&name, error.class(), getrandom::u32().unwrap_or(0));
    ctx.metrics.failed("egresspool", error.class());
    tracing::warn!(
        pool = name,
        failures,
        ?delay,
        error = error as &dyn std::error::Error,
        "reconcile failed"
    );
    Action::requeue(delay)
}
