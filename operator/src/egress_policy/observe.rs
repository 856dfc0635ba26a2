//! In: everything that a policy's outcome follows from, read from the caches in one go.
//!
//! It decides nothing, and asks the API server only where a cache is known to be behind our own write: a report key
//! drawn twice would roll the pods, and an older document taken for the accepted one would bring a revoked rule back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::{document, names};
use egressway_crds::{EgressPolicy, EgressPool};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;

use super::cells::{cells, unschedulable};
use super::default_pool::{Choice, choose, default_pools};
use super::status::verdicts::{PROPAGATION, START_WITHIN};
use super::status::{self, CellView, PodView, would_deny};
use super::validate::{self, Facts, PoolFact, Validated};
use super::{Error, placement};
use crate::cluster::apply::{current, is_behind, present};
use crate::cluster::caches::{Pool, pool_ref};
use crate::cluster::client_pods::table::Holder;
use crate::cluster::discover;
use crate::cluster::prune::owned;
use crate::cluster::trouble::Trouble;
use crate::context::Context;
use crate::desired::deployment::mounted;
use crate::desired::kept::{self, Kept};
use crate::desired::{clients, config_map, documents_name, edition_of, secret};
use crate::egress_pool::validate::ValidPool;

/// Label of a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// So long the fleet's own Secret is waited for, where the API server has to be asked for it.
const SECRET_WITHIN: Duration = Duration::from_secs(1);

/// Everything observed for one policy.
#[allow(missing_debug_implementations)]
pub struct Observed {
    /// The clock.
    pub now: Timestamp,
    /// The cluster's own ranges.
    pub floor: document::Floor,
    /// The pool's document in the ConfigMap.
    pub kept_pool: Option<document::Pool>,
    /// What the accepted policy's clients are told apart by, as it stands in the ConfigMap.
    pub kept_sources: Option<clients::Sources>,
    /// The pods of the policy's namespace that can send, sorted by name.
    pub senders: Vec<Holder>,
    /// Who issues the tokens of ServiceAccounts.
    pub issuer: Option<document::Issuer>,
    /// The secrets in the fleet's Secret.
    pub kept_secrets: Option<document::Secrets>,
    /// The floor in the ConfigMap.
    pub kept_floor: Option<document::Floor>,
    /// The pods, sorted by name.
    pub pods: Vec<PodView>,
    /// The Deployments, sorted by cell.
    pub cells: Vec<CellView>,
    /// Marks of cells whose pods had to move.
    pub moved: BTreeMap<String, String>,
    /// The pool, as it is or else as it was accepted last, as far as it means something.
    pub valid_pool: Option<ValidPool>,
    kept: Option<Kept>,
    pool: Option<Arc<Pool>>,
    choice: Choice,
    /// `None` while the namespace is not known yet: a policy can be heard of before its namespace.
    namespace_labels: Option<BTreeMap<String, String>>,
    accepted: Option<validate::Accepted>,
    key: Result<Option<String>, Error>,
    edition: u32,
}

/// Reads it.
///
/// # Errors
/// The API server had to be asked and did not answer.
pub async fn observe(ctx: &Context, policy: &EgressPolicy) -> Result<Observed, Error> {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let fleet = names::fleet_name(&namespace, &name);
    let uid = policy.uid().unwrap_or_default();
    let (mut pods, cells) = (pods(ctx, &uid), cells(ctx, &uid));
    let edition = edition(ctx, &fleet, &uid);
    let documents = documents_name(&fleet, edition);
    // Only what is mounted beside the ACL depends on it, so no failure to read it stands before a revocation.
    let read_secret = async {
        if pods.is_empty() && cells.is_empty() {
            current::<Secret>(ctx, &fleet).await
        } else {
            present::<Secret>(ctx, &fleet).await
        }
    };
    let secret = tokio::time::timeout(SECRET_WITHIN, Box::pin(read_secret)).await;
    let secret = secret.unwrap_or(Err(Error::Late));
    let config = if pods.is_empty() && cells.is_empty() {
        current::<ConfigMap>(ctx, &documents).await?
    } else {
        // A fleet has both: that they are lost is not a cache's to say, which sees labelled objects only. What follows from
        // the one refuses everything, and from the other rolls all pods.
        present::<ConfigMap>(ctx, &documents).await?
    };
    let config = config.or_else(|| edition_before(ctx, &fleet, &uid, edition));
    let config = config.filter(|config| belongs(config.as_ref(), &uid));
    let secret = secret.map(|found| found.filter(|secret| belongs(secret.as_ref(), &uid)));
    let namespace_ref = ObjectRef::new(&namespace);
    let namespace_labels = ctx
        .caches
        .namespaces
        .get(&namespace_ref)
        .map(|ns| ns.labels().clone());
    let (pool, choice) = match &policy.spec.pool_ref {
        Some(pool) => (ctx.caches.pools.get(&pool_ref(&pool.name)), Choice::Named),
        None => choose(&default_pools(ctx), &namespace, namespace_labels.as_ref()),
    };
    if ctx.reports.wanted(&uid).is_none()
        && let Some((selectors, table)) = own_clients(ctx, &documents, &uid)
            .await?
            .as_deref()
            .and_then(clients::left)
    {
        ctx.reports.left(&uid, selectors, table);
    }
    let kept = policy
        .spec
        .pool_ref
        .as_ref()
        .and_then(|pool| kept::kept(config.as_deref()?, &pool.name));
    let valid_pool = pool
        .as_deref()
        .and_then(|pool| crate::egress_pool::validate::validate(pool.0.as_ref().ok()?).ok());
    let valid_pool = valid_pool.or_else(|| Some(kept.as_ref()?.pool.clone()));
    let moved = placement::moved(ctx, &uid, valid_pool.as_ref(), &mut pods);
    Ok(Observed {
        now: (ctx.now)(),
        floor: discover::floor(&ctx.caches, &ctx.settings),
        kept_pool: config.as_deref().and_then(config_map::pool),
        kept_sources: config.as_deref().and_then(config_map::sources),
        senders: ctx.client_pods.of(&namespace),
        issuer: issuer(ctx, &documents, &uid).await?,
        kept_floor: config.as_deref().and_then(config_map::floor),
        pods,
        cells,
        moved,
        valid_pool,
        kept,
        pool,
        choice,
        namespace_labels,
        accepted: config
            .as_deref()
            .and_then(|config| config_map::accepted(config, &namespace, &name)),
        kept_secrets: secret
            .as_ref()
            .ok()
            .and_then(|found| secret::secrets(found.as_deref()?)),
        key: secret.map(|found| secret::key(found.as_deref()?)),
        edition,
    })
}

/// The issuer as it was read last, or as an operator before this one has read it.
async fn issuer(ctx: &Context, documents: &str, policy_uid: &str) -> Result<Option<document::Issuer>, Error> {
    if let Some(issuer) = ctx.issuers.last() {
        return Ok(Some(issuer));
    }
    let config = own_clients(ctx, documents, policy_uid).await?;
    Ok(config.as_deref().and_then(clients::issuer))
}

/// The live ConfigMap of a fleet's client pods.
async fn own_clients(
    ctx: &Context,
    documents: &str,
    policy_uid: &str,
) -> Result<Option<Arc<ConfigMap>>, Error> {
    let config = current::<ConfigMap>(ctx, &names::clients_name(documents)).await?;
    Ok(config.filter(|config| belongs(config.as_ref(), policy_uid)))
}

/// The edition that a fleet's documents are to have: the one that its pods mount, or the next where somebody has made that
/// immutable.
fn edition(ctx: &Context, fleet: &str, policy_uid: &str) -> u32 {
    let deployments = owned::<Deployment>(ctx, policy_uid);
    let mounted = deployments.iter().flat_map(|deployment| mounted(deployment));
    let configs = owned::<ConfigMap>(ctx, policy_uid);
    let kept: Vec<(u32, bool)> = configs
        .iter()
        .filter_map(|config| {
            Some((
                edition_of(fleet, &config.name_any())?,
                config.immutable == Some(true),
            ))
        })
        .collect();
    let numbers = kept.iter().map(|(number, _)| *number);
    let latest = mounted
        .filter_map(|name| edition_of(fleet, name))
        .chain(numbers)
        .max()
        .unwrap_or(0);
    latest.saturating_add(u32::from(kept.contains(&(latest, true))))
}

/// What was accepted last stands in the edition before, until there is this one.
fn edition_before(ctx: &Context, fleet: &str, policy_uid: &str, edition: u32) -> Option<Arc<ConfigMap>> {
    let before = documents_name(fleet, edition.checked_sub(1)?);
    let mut configs = owned::<ConfigMap>(ctx, policy_uid).into_iter();
    configs.find(|config| config.name_any() == before)
}

fn belongs(object: &impl kube::Resource, policy_uid: &str) -> bool {
    let labels = object.meta().labels.as_ref();
    labels
        .and_then(|labels| labels.get(names::POLICY_UID_LABEL))
        .is_some_and(|uid| uid == policy_uid)
}

impl Observed {
    /// The default pool that a policy without one gets: none that it may not use, since what is written into the spec
    /// stays there.
    #[must_use]
    pub fn binds(&self) -> Option<String> {
        let pool = self.pool.as_ref().filter(|_| self.choice == Choice::Default);
        pool.map(|pool| pool.name_any())
    }

    /// The pool of the policy.
    #[must_use]
    pub fn pool_fact<'a>(&'a self, policy: &'a EgressPolicy) -> PoolFact<'a> {
        let found: Option<&EgressPool> = self.pool.as_deref().and_then(|pool| pool.0.as_ref().ok());
        match (found, &policy.spec.pool_ref) {
            (Some(pool), _) => PoolFact::Found(pool),
            (None, Some(pool)) => PoolFact::NotFound(&pool.name),
            (None, None) if self.choice == Choice::Many => PoolFact::ManyDefaults,
            (None, None) => PoolFact::NoDefault,
        }
    }

    /// Validates the policy against it; `None` while its namespace is not known, because a selector may well match a
    /// namespace that has no labels.
    #[must_use]
    pub fn validate(&self, policy: &EgressPolicy) -> Option<Validated> {
        let mut validated = validate::validate(&Facts {
            policy,
            pool: self.pool_fact(policy),
            kept: self.kept.as_ref(),
            namespace_labels: self.namespace_labels.as_ref()?,
            accepted: self.accepted.clone(),
            fleet: !self.pods.is_empty() || !self.cells.is_empty(),
            floor: &self.floor,
        });
        if let Some(valid) = &mut validated.valid {
            valid.id.edition = self.edition;
        }
        Some(validated)
    }

    /// The report key: the one there is, or a new one. To be asked once.
    ///
    /// # Errors
    /// It could not be read, or the system gives no randomness.
    pub fn key(&mut self) -> Result<String, Error> {
        if let Some(key) = std::mem::replace(&mut self.key, Ok(None))? {
            return Ok(key);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What the clients are told apart by: as the spec says, or while that is refused as it was accepted last.
    #[must_use]
    pub fn sources(&self, policy: &EgressPolicy, validated: &Validated) -> clients::Sources {
        let spec = validated
            .accepted
            .then(|| clients::Sources::of(&policy.spec).ok());
        let sources = spec.flatten().or_else(|| self.kept_sources.clone());
        sources.unwrap_or_default()
    }

    /// When time alone changes the outcome: a promise begins or ends, an ACL is late, a pod was not asked, counts of
    /// mode Report are old.
    #[must_use]
    pub fn next_look(&self, ctx: &Context, policy: &EgressPolicy) -> Option<Duration> {
        let promise = self
            .valid_pool
            .as_ref()
            .and_then(|pool| pool.next_change(self.now));
        let late = ctx
            .reports
            .wanted_since(&policy.uid().unwrap_or_default())
            .map(|since| since + PROPAGATION);
        let asked = self
            .too_early(ctx)
            .then(|| self.now + SignedDuration::from_secs(1));
        let renewal = (policy.spec.mode == "Report").then(|| {
            let due = policy.status.as_ref().and_then(would_deny::next_renewal);
            due.filter(|due| *due > self.now)
                .unwrap_or(self.now + would_deny::RENEWAL)
        });
        let starting = self.pods.iter().filter(|pod| pod.counts() && !pod.ready);
        let starting = starting
            .filter_map(|pod| Some(pod.started? + START_WITHIN))
            .filter(|time| *time > self.now)
            .min();
        let next = [promise, late, asked, renewal, starting]
            .into_iter()
            .flatten()
            .filter(|time| *time > self.now)
            .min()?;
        let wait = Duration::try_from(next.duration_since(self.now)).unwrap_or(Duration::ZERO);
        // Status counts in whole seconds, so a look at the very moment would come too early.
        Some(wait.saturating_add(Duration::from_secs(1)))
    }

    /// Looks at the Deployments again, now that these are applied. The cache knows nothing yet of what was written a
    /// moment ago, and that nothing is under way must not be said of it.
    pub fn applied(
        &mut self,
        ctx: &Context,
        policy_uid: &str,
        wanted: &[CellView],
        name: impl Fn(&str) -> String,
    ) {
        self.cells = cells(ctx, policy_uid);
        for cell in wanted {
            if is_behind::<Deployment>(ctx, &name(&cell.name)) {
                self.cells.retain(|cached| cached.name != cell.name);
                self.cells.push(cell.clone());
            }
        }
        self.cells.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Whether a pod that runs has not been asked yet.
    #[must_use]
    pub fn too_early(&self, ctx: &Context) -> bool {
        status::too_early(&self.pods, ctx.since, self.now)
    }
}

fn pods(ctx: &Context, policy_uid: &str) -> Vec<PodView> {
    let of_policy = |pod: &Pod| belongs(pod, policy_uid);
    let mut pods: Vec<PodView> = ctx
        .caches
        .pods
        .state_filter(of_policy)
        .iter()
        .filter_map(|pod| view(ctx, pod))
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods
}

/// A pod that has ended counts no more; its Deployment makes another.
fn view(ctx: &Context, pod: &Pod) -> Option<PodView> {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or("");
    if matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let trouble = Trouble::of(&status);
    let conditions = status.conditions.unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let zone = node.as_ref().and_then(|node| {
        let node = ctx.caches.nodes.get(&ObjectRef::new(node))?;
        node.labels().get(ZONE_LABEL).cloned()
    });
    let uid = pod.uid().unwrap_or_default();
    let policy_uid = pod.labels().get(names::POLICY_UID_LABEL);
    let answered = ctx.reports.of(&uid);
    Some(PodView {
        name: pod.name_any(),
        node,
        zone,
        cell: pod.labels().get(names::CELL_LABEL).cloned().unwrap_or_default(),
        running: phase == "Running",
        ready: find("Ready").is_some_and(|condition| condition.status == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        unschedulable: unschedulable(pod).cloned(),
        trouble,
        report: answered.report,
        unreachable: answered.unreachable,
        asked: answered.asked,
        follows: policy_uid.is_some_and(|policy_uid| ctx.reports.follows(&uid, policy_uid)),
        started: status.start_time.map(|time| time.0),
        misplaced: None,
    })
}
