//! Deletes what carries a policy's labels and is no longer wanted.
//!
//! Only by label, only with the UID as precondition: an object that was replaced meanwhile is left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use egressway_core::wire::names;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Preconditions};

use super::apply::{Object, api, kind};
use crate::context::Context;
use crate::egress_policy::Error;

/// The cached objects of a kind that belong to the policy with this UID.
#[must_use]
pub fn owned<K: Object>(ctx: &Context, policy_uid: &str) -> Vec<Arc<K>> {
    K::store(&ctx.caches).state_filter(|object| {
        let label = object
            .meta()
            .labels
            .as_ref()
            .and_then(|labels| labels.get(names::POLICY_UID_LABEL));
        label.is_some_and(|uid| uid == policy_uid)
    })
}

/// Deletes the policy's objects of this kind except those in `keep`.
///
/// # Errors
/// The API server refused.
pub async fn prune<K: Object>(ctx: &Context, policy_uid: &str, keep: &BTreeSet<String>) -> Result<(), Error> {
    for object in owned::<K>(ctx, policy_uid) {
        if !keep.contains(&object.name_any()) && object.meta().deletion_timestamp.is_none() {
            delete(ctx, object.as_ref()).await?;
        }
    }
    Ok(())
}

/// Deletes everything of this kind that belongs to the policy, the API server's word counting instead of the cache's:
/// what was written a moment ago is found too, and nothing outlives its policy.
///
/// # Errors
/// The API server refused.
pub async fn sweep<K: Object>(ctx: &Context, policy_uid: &str) -> Result<(), Error> {
    let params = ListParams::default().labels(&format!("{}={policy_uid}", names::POLICY_UID_LABEL));
    let found = api::<K>(ctx)
        .list(&params)
        .await
        .map_err(|source| Error::read(kind::<K>(), "list", source))?;
    for object in found
        .items
        .iter()
        .filter(|object| object.meta().deletion_timestamp.is_none())
    {
        delete(ctx, object).await?;
    }
    Ok(())
}

/// Deletes one object, as it was seen.
///
/// # Errors
/// The API server refused.
pub async fn delete<K: Object>(ctx: &Context, object: &K) -> Result<(), Error> {
    let name = object.name_any();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid().map(|uid| uid.into_owned()),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let outcome = api::<K>(ctx).delete(&name, &params).await;
    ctx.memory.forget(&kind::<K>(), &name);
    match outcome {
        Ok(_) => {
            tracing::info!(kind = %kind::<K>(), %name, "deleted");
            Ok(())
        }
        // A conflict is no answer: another object may have taken the name, or this one changed a moment ago.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::delete(kind::<K>(), &name, source)),
    }
}
