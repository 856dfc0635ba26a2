//! Server-side apply with one field manager, only where the live object differs, and never over somebody else's.
//!
//! It knows no kind in particular and decides no order; `egress_policy::apply` does.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use egressway_core::wire::{document, names};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use kube_runtime::reflector::ObjectRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::caches::Owned;
use super::subset::is_subset;
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

/// What the operator wrote last, per object.
///
/// It saves writes, and it tells when a cache is behind our own write. Losing it costs one comparison per object. A write
/// whose answer has not come may have happened: until the API server has been asked, no cache is believed.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<(String, String), Written>>);

#[derive(Clone, Debug, Default)]
struct Written {
    /// Of what was written; empty where that is not known.
    hash: String,
    /// That it had afterwards; empty, which no cache reaches, where that is not known.
    resource_version: String,
}

impl Memory {
    fn get(&self, kind: &str, name: &str) -> Option<Written> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    fn remember(&self, kind: &str, name: &str, written: Written) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.insert((kind.to_owned(), name.to_owned()), written);
    }

    /// The API server shows this version: a cache that has it is not behind.
    fn seen(&self, kind: &str, name: &str, resource_version: String) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = memory.get_mut(&(kind.to_owned(), name.to_owned()))
            && written.resource_version != resource_version
        {
            *written = Written {
                hash: String::new(),
                resource_version,
            };
        }
    }

    /// The object is gone, or to be forgotten.
    pub fn forget(&self, kind: &str, name: &str) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.remove(&(kind.to_owned(), name.to_owned()));
    }
}

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
    let Some(written) = ctx.memory.get(&kind::<K>(), name) else {
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
    let written = ctx.memory.get(&kind::<K>(), name);
    written.is_some_and(|written| !at_least(version.as_deref(), &written.resource_version))
}

async fn live<K: Object>(ctx: &Context, name: &str) -> Result<Option<Arc<K>>, Error> {
    let found = api::<K>(ctx)
        .get_opt(name)
        .await
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

/// Makes the live object what is wanted; writes nothing where it already is.
///
/// # Errors
/// The API server refused, or the name belongs to an object that is not ours.
pub async fn ensure<K: Object>(ctx: &Context, mut wanted: K) -> Result<(), Error> {
    let (kind, name) = (kind::<K>(), wanted.name_any());
    let hash = document::digest(&wanted);
    wanted
        .annotations_mut()
        .insert(names::DESIRED_HASH_ANNOTATION.to_owned(), hash.clone());
    // The cache holds labelled objects only: before the first write the API server itself is asked, so that an
    // unlabelled object of the same name is not taken over.
    let found = present::<K>(ctx, &name).await?;
    if let Some(found) = &found {
        match owner(&wanted, found.as_ref()) {
            Owner::Us if is_current(ctx, &wanted, &hash, found.as_ref()) => return Ok(()),
            Owner::Us => {}
            Owner::Predecessor => super::prune::delete(ctx, found.as_ref()).await?,
            Owner::Another => return Err(Error::Taken { kind, name }),
        }
    }
    // Before the call, not after a failure: a run that is ended while it waits comes to nothing behind it.
    ctx.memory.remember(&kind, &name, Written::default());
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let applied = api::<K>(ctx)
        .patch(&name, &params, &Patch::Apply(&wanted))
        .await
        .map_err(|source| Error::apply(kind.clone(), &name, source))?;
    tracing::info!(%kind, %name, "applied");
    ctx.metrics.applied(&kind);
    let resource_version = applied.resource_version().unwrap_or_default().into_owned();
    ctx.memory.remember(
        &kind,
        &name,
        Written {
            hash,
            resource_version,
        },
    );
    Ok(())
}

fn is_current<K: Object>(ctx: &Context, wanted: &K, hash: &str, found: &K) -> bool {
    let written = ctx.memory.get(&kind::<K>(), &wanted.name_any());
    let ours = written.is_some_and(|written| {
        written.hash == hash && found.meta().resource_version.as_ref() == Some(&written.resource_version)
    });
    ours || contains(wanted, found)
}

/// Whether the live object carries the hash and every field of what is wanted.
fn contains<K: Object>(wanted: &K, found: &K) -> bool {
    let json = |object: &K| serde_json::to_value(object).unwrap_or(Value::Null);
    found.annotations().get(names::DESIRED_HASH_ANNOTATION)
        == wanted.annotations().get(names::DESIRED_HASH_ANNOTATION)
        && is_subset(&json(wanted), &json(found))
}

fn owner<K: Object>(wanted: &K, found: &K) -> Owner {
    let same = |key: &str| {
        let theirs = found.labels().get(key);
        theirs.is_some() && theirs == wanted.labels().get(key)
    };
    let same_name = same(names::MANAGED_BY_LABEL)
        && same(names::POLICY_NAMESPACE_LABEL)
        && same(names::POLICY_NAME_LABEL);
    match (same_name, same(names::POLICY_UID_LABEL)) {
        (true, true) => Owner::Us,
        (true, false) => Owner::Predecessor,
        (false, _) => Owner::Another,
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
