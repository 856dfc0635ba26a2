//! Which of the default pools a policy gets that names none.

use std::collections::BTreeMap;
use std::sync::Arc;

use egressway_core::wire::names;
use kube::ResourceExt as _;

use crate::cluster::caches::Pool;
use crate::context::Context;
use crate::egress_pool::validate::allows;

/// How a policy comes by its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It names one.
    Named,
    /// It names none, and one of the default pools permits its namespace.
    Default,
    /// It names none, and no default pool permits its namespace, if there is any.
    None,
    /// It names none, and several default pools permit its namespace.
    Many,
}

/// Of the default pools the one that permits the namespace. Where none does, the first, so that it can be said which one
/// has to.
pub(super) fn choose(
    defaults: &[Arc<Pool>],
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> (Option<Arc<Pool>>, Choice) {
    let permits = |pool: &&Arc<Pool>| labels.is_some_and(|labels| permits(pool, namespace, labels));
    let permitting: Vec<&Arc<Pool>> = defaults.iter().filter(permits).collect();
    match permitting.as_slice() {
        [] => (defaults.first().cloned(), Choice::None),
        [only] => (Some(Arc::clone(only)), Choice::Default),
        _ => (None, Choice::Many),
    }
}

/// The pools that say to be the default one, sorted by name.
pub(super) fn default_pools(ctx: &Context) -> Vec<Arc<Pool>> {
    let mut defaults = ctx.caches.pools.state_filter(|pool| {
        pool.annotations()
            .get(names::DEFAULT_POOL_ANNOTATION)
            .is_some_and(|value| value == "true")
    });
    defaults.sort_by_key(|pool| pool.name_any());
    defaults
}

/// Whether a pool lets a namespace in.
fn permits(pool: &Pool, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let spec = pool.0.as_ref().map(|pool| &pool.spec);
    spec.is_ok_and(|spec| allows(&spec.allowed_namespaces, namespace, labels) == Ok(true))
}
