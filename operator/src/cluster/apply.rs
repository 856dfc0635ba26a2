//! Makes live objects what is wanted, writes only where they differ, and never over somebody else's.
//!
//! What is not there is made by server-side apply; what is there is compared whole and mended by a merge patch, which
//! takes away what stands beside and replaces lists, so that no edit makes our next write invalid. It knows no kind in
//! particular and decides no order; `egress_policy::apply` does.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::{document, names};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use kube_runtime::reflector::ObjectRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::caches::Owned;
use super::contested::{By, Contested, managers};
use super::difference::{Difference, difference};
use super::memory::{Left, Written};
use super::prune;
use crate::context::Context;
use crate::egress_policy::Error;

/// What an owned kind must be able to do.
pub trait Object:
    Owned
    + Resource<Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Owned
        + Resource<Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// Longest wait for one answer. A webhook may take 30 s and then fail; behind one object that hangs the others wait.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// After so long it is tried again whether the API server still makes something else of what is written.
const LEFT_AGAIN: Duration = Duration::from_secs(60);
/// After so long an object that is deleted does not go by itself.
const HELD_LONG: SignedDuration = SignedDuration::from_secs(60);
/// Name of an object that is only tried, never made.
const PROBE: &str = "egressway-probe-";

/// Whose an existing object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Us,
    /// A policy of the same namespace and name that is gone.
    Predecessor,
    Another,
}

/// The API of an owned kind.
#[must_use]
pub fn api<K: Object>(ctx: &Context) -> Api<K> {
    Api::namespaced(ctx.client.clone(), &ctx.settings.fleet_namespace)
}

/// Name of the kind.
#[must_use]
pub fn kind<K: Object>() -> String {
    <K as Resource>::kind(&()).into_owned()
}

/// The live object: the cached one, unless we know that the cache is behind our own write.
///
/// # Errors
/// The API server had to be asked and did not answer.
pub async fn current<K: Object>(ctx: &Context, name: &str) -> Result<Option<Arc<K>>, Error> {
    let key = ObjectRef::new(name).within(&ctx.settings.fleet_namespace);
    let cached = K::store(&ctx.caches).get(&key);
    let Some(written) = ctx.memory.written(&kind::<K>(), name) else {
        return Ok(cached);
    };
    match cached {
        Some(cached)
            if at_least(
                cached.meta().resource_version.as_deref(),
                &written.resource_version,
            ) =>
        {
            Ok(Some(cached))
        }
        Some(_) | None => live(ctx, name).await,
    }
}

/// The same, and where the cache has none the API server is asked.
///
/// # Errors
/// The API server had to be asked and did not answer.
pub async fn present<K: Object>(ctx: &Context, name: &str) -> Result<Option<Arc<K>>, Error> {
    match current::<K>(ctx, name).await? {
        Some(found) => Ok(Some(found)),
        None => live::<K>(ctx, name).await,
    }
}

/// Whether the cache has not seen yet what was written last.
#[must_use]
pub fn is_behind<K: Object>(ctx: &Context, name: &str) -> bool {
    let key = ObjectRef::new(name).within(&ctx.settings.fleet_namespace);
    let cached = K::store(&ctx.caches).get(&key);
    let version = cached
        .as_deref()
        .and_then(|cached| cached.meta().resource_version.clone());
    let written = ctx.memory.written(&kind::<K>(), name);
    written.is_some_and(|written| !at_least(version.as_deref(), &written.resource_version))
}

async fn live<K: Object>(ctx: &Context, name: &str) -> Result<Option<Arc<K>>, Error> {
    let found = answer::<K, _>(name, api::<K>(ctx).get_opt(name))
        .await?
        .map_err(|source| Error::read(kind::<K>(), name, source))?;
    match &found {
        Some(found) => {
            let version = found.resource_version().unwrap_or_default().into_owned();
            ctx.memory.seen(&kind::<K>(), name, version);
        }
        None => ctx.memory.forget(&kind::<K>(), name),
    }
    Ok(found.map(Arc::new))
}

/// Resource versions are numbers that grow (promised since Kubernetes 1.35, true since etcd 3).
fn at_least(version: Option<&str>, than: &str) -> bool {
    match (
        version.and_then(|version| version.parse::<u64>().ok()),
        than.parse::<u64>().ok(),
    ) {
        (Some(version), Some(than)) => version >= than,
        _ => version == Some(than),
    }
}

/// An answer of the API server, unless it takes too long.
async fn answer<K: Object, R>(name: &str, call: impl Future<Output = R>) -> Result<R, Error> {
    timeout(ANSWER_MAX, call).await.map_err(|_| Error::Silent {
        kind: kind::<K>(),
        name: name.to_owned(),
        within: ANSWER_MAX,
    })
}

/// Makes the live object what is wanted; writes nothing where it already is. Returns what somebody else makes of it.
///
/// # Errors
/// The API server refused, or the name belongs to an object that is not ours.
pub fn ensure<K: Object>(ctx: &Context, wanted: K) -> BoxFuture<'_, Result<Option<Contested>, Error>> {
    // An object is kilobytes, and a run holds several of these: on the heap, not on a worker's stack.
    let wanted = Box::new(wanted);
    Box::pin(ensured(ctx, wanted))
}

async fn ensured<K: Object>(ctx: &Context, mut wanted: Box<K>) -> Result<Option<Contested>, Error> {
    let (kind, name) = (kind::<K>(), wanted.name_any());
    let hash = document::digest(wanted.as_ref());
    wanted
        .annotations_mut()
        .insert(names::DESIRED_HASH_ANNOTATION.to_owned(), hash.clone());
    let wanted = Wanted { object: wanted, hash };
    // The cache holds labelled objects only: before the first write the API server itself is asked, so that an
    // unlabelled object of the same name is not taken over.
    let Some(found) = present::<K>(ctx, &name).await? else {
        return create(ctx, &wanted).await;
    };
    match owner(&wanted, found.as_ref()) {
        Owner::Us => mend(ctx, &wanted, found.as_ref()).await,
        Owner::Predecessor => {
            prune::delete(ctx, found.as_ref()).await?;
            create(ctx, &wanted).await
        }
        Owner::Another => Err(Error::Taken { kind, name }),
    }
}

/// What is wanted, with its digest noted on it.
struct Wanted<K> {
    object: Box<K>,
    hash: String,
}

async fn create<K: Object>(ctx: &Context, wanted: &Wanted<K>) -> Result<Option<Contested>, Error> {
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    write(ctx, wanted, &params, &Patch::Apply(wanted.object.as_ref())).await
}

/// Compares whole, and writes what is otherwise.
async fn mend<K: Object>(ctx: &Context, wanted: &Wanted<K>, found: &K) -> Result<Option<Contested>, Error> {
    let (kind, name) = (kind::<K>(), wanted.object.name_any());
    let (written, left) = (ctx.memory.written(&kind, &name), ctx.memory.left(&kind, &name));
    let contested = || left.as_ref().and_then(|left| left.contested.clone());
    let fresh = left.as_ref().is_none_or(|left| left.at.elapsed() < LEFT_AGAIN);
    let untouched = written.is_some_and(|written| {
        written.hash == wanted.hash
            && found.meta().resource_version.as_ref() == Some(&written.resource_version)
    });
    if untouched && fresh {
        return Ok(contested());
    }
    let Some(difference) = difference(&json(wanted.object.as_ref()), &json(found)) else {
        return Ok(held(found, (ctx.now)()));
    };
    if fresh
        && left
            .as_ref()
            .is_some_and(|left| left.digest == document::digest(&difference.patch))
    {
        return Ok(contested());
    }
    // It was as wanted, and has been edited since: not for ever.
    let edited = found.annotations().get(names::DESIRED_HASH_ANNOTATION) == Some(&wanted.hash);
    if edited && !ctx.memory.may_mend(&kind, &name, &paths(&difference, |_| true)) {
        return fought_over(ctx, found, &difference).await.map(Some);
    }
    let mut patch = difference.patch;
    // Of the very object that was seen.
    merge_into(&mut patch, "metadata", json!({"uid": found.uid()}));
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match write(ctx, wanted, &params, &Patch::Merge(&patch)).await {
        Err(Error::Apply { source, .. }) if is(&source, 404) => create(ctx, wanted).await,
        Err(error @ Error::Apply { .. }) if refuses_any_change::<K>(&error) => {
            anew(ctx, wanted, found, error).await
        }
        outcome => outcome,
    }
}

fn json<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn merge_into(patch: &mut Value, key: &str, more: Value) {
    let (Some(patch), Value::Object(more)) = (patch.as_object_mut(), more) else {
        return;
    };
    let inside = patch.entry(key).or_insert_with(|| json!({}));
    if let Some(inside) = inside.as_object_mut() {
        inside.extend(more);
    }
}

fn paths(difference: &Difference, which: impl Fn(&super::difference::Field) -> bool) -> Vec<String> {
    let fields = difference.fields.iter().filter(|field| which(field));
    fields.map(|field| field.path.clone()).collect()
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Writes, and takes in what the API server made of it.
async fn write<K: Object, P: Serialize + Debug>(
    ctx: &Context,
    wanted: &Wanted<K>,
    params: &PatchParams,
    patch: &Patch<P>,
) -> Result<Option<Contested>, Error> {
    let (kind, name) = (kind::<K>(), wanted.object.name_any());
    // Before the call, not after a failure: a run that is ended while it waits comes to nothing behind it.
    ctx.memory.remember(&kind, &name, Written::default(), None);
    let made = answer::<K, _>(&name, api::<K>(ctx).patch(&name, params, patch))
        .await?
        .map_err(|source| Error::apply(kind.clone(), &name, source))?;
    tracing::info!(%kind, %name, "applied");
    ctx.metrics.applied(&kind);
    let left = difference(&json(wanted.object.as_ref()), &json(&made)).map(|difference| {
        let fields = paths(&difference, |field| !field.beside);
        let contested = (!fields.is_empty()).then(|| Contested {
            kind: kind.clone(),
            name: name.clone(),
            fields,
            by: By::Admission,
        });
        Left {
            digest: document::digest(&difference.patch),
            at: Instant::now(),
            contested,
        }
    });
    let contested = left.as_ref().and_then(|left| left.contested.clone());
    let written = Written {
        hash: wanted.hash.clone(),
        resource_version: made.resource_version().unwrap_or_default().into_owned(),
    };
    ctx.memory.remember(&kind, &name, written, left);
    Ok(contested)
}

/// Whether it says of an object that this cannot become what is wanted. A Deployment that goes takes its pods along: it is
/// left as it is, and the condition says so.
fn refuses_any_change<K: Object>(error: &Error) -> bool {
    let Error::Apply { source, .. } = error else {
        return false;
    };
    is(source, 422) && kind::<K>() != "Deployment"
}

/// Deletes what cannot be changed and makes it anew, if another of the same kind would be taken: an API server that refuses
/// what is wanted is no reason to delete what there is.
async fn anew<K: Object>(
    ctx: &Context,
    wanted: &Wanted<K>,
    found: &K,
    refusal: Error,
) -> Result<Option<Contested>, Error> {
    let mut probe = wanted.object.clone();
    probe.meta_mut().name = None;
    probe.meta_mut().generate_name = Some(PROBE.to_owned());
    let params = PostParams {
        dry_run: true,
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
    };
    let name = wanted.object.name_any();
    let tried = answer::<K, _>(&name, api::<K>(ctx).create(&params, probe.as_ref())).await?;
    if tried.is_err() {
        return Err(refusal);
    }
    tracing::warn!(kind = %kind::<K>(), %name, "made anew: it refuses to be changed");
    prune::delete(ctx, found).await?;
    create(ctx, wanted).await
}

/// Somebody undoes what is written as soon as it is: who.
async fn fought_over<K: Object>(
    ctx: &Context,
    found: &K,
    difference: &Difference,
) -> Result<Contested, Error> {
    let (kind, name) = (kind::<K>(), found.name_any());
    if let Some(known) = ctx.memory.fight(&kind, &name, LEFT_AGAIN) {
        return Ok(known);
    }
    // Caches keep nothing of who manages what.
    let noted = live::<K>(ctx, &name)
        .await?
        .map(|live| managers(live.managed_fields(), &difference.fields));
    let contested = Contested {
        kind: kind.clone(),
        name: name.clone(),
        fields: paths(difference, |_| true),
        by: By::Managers(noted.unwrap_or_default()),
    };
    tracing::warn!(%kind, %name, fields = contested.fields.join(", "), "somebody undoes what is written; it is named instead");
    ctx.memory.fights(&kind, &name, contested.clone());
    Ok(contested)
}

/// As it should be, and about to go for so long that somebody must be holding it.
fn held<K: Object>(found: &K, now: Timestamp) -> Option<Contested> {
    let meta = found.meta();
    let finalizers = meta.finalizers.clone().unwrap_or_default();
    let going = meta.deletion_timestamp.as_ref();
    let long = going.is_some_and(|going| now.duration_since(going.0) > HELD_LONG);
    (long && !finalizers.is_empty()).then(|| Contested {
        kind: kind::<K>(),
        name: found.name_any(),
        fields: Vec::new(),
        by: By::Finalizers(finalizers),
    })
}

fn owner<K: Object>(wanted: &Wanted<K>, found: &K) -> Owner {
    let label = |key: &str| found.labels().get(key);
    let is_ours = |key: &str| label(key).is_some() && label(key) == wanted.object.labels().get(key);
    if label(names::MANAGED_BY_LABEL).is_some() && !is_ours(names::MANAGED_BY_LABEL) {
        return Owner::Another;
    }
    // A label may have been edited; what was written for this very policy says so in two places.
    let noted = found.annotations().get(names::DESIRED_HASH_ANNOTATION) == Some(&wanted.hash);
    if noted || is_ours(names::POLICY_UID_LABEL) {
        return Owner::Us;
    }
    let same_name = [
        names::MANAGED_BY_LABEL,
        names::POLICY_NAMESPACE_LABEL,
        names::POLICY_NAME_LABEL,
    ];
    if same_name.into_iter().all(is_ours) {
        Owner::Predecessor
    } else {
        Owner::Another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_behind_when_its_version_is_lower() {
        assert!(at_least(Some("10"), "9"));
        assert!(at_least(Some("9"), "9"));
        assert!(!at_least(Some("8"), "9"));
        assert!(!at_least(None, "9"));
        assert!(at_least(Some("a"), "a"));
        assert!(!at_least(Some("b"), "a"));
    }
}
