//! Makes the fleet of a policy that is valid: what it consists of, and in which order that is written.

use std::time::Duration;

use egressway_crds::EgressPolicy;

use super::observe::Observed;
use super::status::CellView;
use super::validate::{ValidPolicy, Validated};
use super::{Error, apply, rewritten};
use crate::cluster::contested::Contested;
use crate::cluster::tenant_secrets;
use crate::context::Context;
use crate::desired::room::{self, Fit};
use crate::desired::secrets::{self, Resolution, needs};
use crate::desired::{self, Cell, Desired, Hashes, Inputs, Rest, clients};

/// So long an ACL change waits for the tenant's Secrets, so that a rule does not come before what it refers to. An API
/// server answers in some milliseconds; one that does not holds no revocation off.
const SECRETS_FIRST: Duration = Duration::from_secs(1);

/// What came of making a fleet.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// What the pods should have in force.
    pub(super) hashes: Option<Hashes>,
    /// What the policy's Secrets came to.
    pub(super) secrets: Option<Resolution>,
    /// Not all client pods fit into their ConfigMap.
    pub(super) left_out: bool,
    /// What of the objects somebody else sets otherwise.
    pub(super) contested: Vec<Contested>,
    /// Why not everything could be applied.
    pub(super) failure: Option<Error>,
}

/// Makes the fleet of a valid policy. The documents come before everything that may be refused or left unanswered.
pub(super) async fn make(
    policy: &EgressPolicy,
    ctx: &Context,
    observed: &mut Observed,
    validated: Validated,
    valid: &ValidPolicy,
) -> (Validated, Made) {
    let id = &valid.id;
    let sources = observed.sources(policy, &validated);
    let clients = clients::rendered(id, &sources, &observed.senders, observed.issuer.as_ref());
    let left_out = clients.as_ref().is_some_and(|clients| clients.left_out);
    let mut inputs = Inputs {
        floor: &observed.floor,
        kept_floor: observed.kept_floor.as_ref(),
        kept_pool: observed.kept_pool.as_ref(),
        sources: &sources,
        clients: clients.as_ref().map(|clients| &clients.document),
        secrets: String::new(),
        settings: &ctx.settings,
    };
    let fitted = room::fitted(valid, &inputs);
    let secrets = {
        let mut resolving = Box::pin(resolve(ctx, &fitted.policy, observed));
        match tokio::time::timeout(SECRETS_FIRST, &mut resolving).await {
            Ok(secrets) => secrets,
            Err(_) => {
                inputs.secrets = kept_hash(ctx, &id.uid);
                // A failure is met again below.
                let _ = apply::documents(ctx, id, desired::documents(&fitted, &inputs)).await;
                resolving.await
            }
        }
    };
    inputs.secrets = secrets.hash();
    let documents = desired::documents(&fitted, &inputs);
    let hashes = documents.hashes.clone();
    let mut applied = match observed.key() {
        Ok(key) => {
            let rest = Rest {
                secrets: &secrets,
                key: &key,
                moved: &observed.moved,
            };
            let wanted = desired::desired(&fitted, &rest, &ctx.settings);
            let cells = under_way(&wanted);
            let mut applied = Box::pin(apply::apply(ctx, id, documents, wanted)).await;
            applied.contested.extend(rewritten::rewritten(ctx, &id.uid));
            observed.applied(ctx, &id.uid, &cells, |cell| id.cell(cell));
            applied
        }
        // Without the key nothing is known of the Secret, and another one would roll the pods.
        Err(error) => {
            let mut applied = apply::documents(ctx, id, documents).await;
            applied.errors.push(error);
            applied
        }
    };
    let no_room = match fitted.fit {
        Fit::Whole(_) | Fit::Closed => None,
        Fit::FloorKept(bytes) | Fit::No(bytes) => Some(Error::TooLarge {
            name: id.fleet(),
            bytes,
        }),
    };
    let validated = match fitted.fit {
        Fit::Closed => validated.out_of_room(fitted.policy),
        Fit::Whole(_) | Fit::FloorKept(_) | Fit::No(_) => validated,
    };
    applied.errors.extend(no_room);
    let made = Made {
        hashes: Some(hashes),
        secrets: Some(secrets),
        left_out,
        contested: applied.contested,
        failure: Error::of_all(applied.errors),
    };
    (validated, made)
}

/// Digest of the secrets that the pods of a policy should have had until now.
fn kept_hash(ctx: &Context, policy_uid: &str) -> String {
    let wanted = ctx.reports.wanted(policy_uid);
    wanted.map(|wanted| wanted.hashes.secrets).unwrap_or_default()
}

/// The cells as they are right after they were written: pods come and go, and none is there yet.
fn under_way(wanted: &Desired) -> Vec<CellView> {
    let cells = wanted.cells.iter().flatten();
    let view = |cell: &Cell| CellView {
        name: cell.name.clone(),
        wanted: cell
            .deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(0),
        settled: false,
        rolls: true,
        refused: None,
    };
    cells.map(view).collect()
}

/// What the proxies need of the tenant's Secrets, as those are now.
async fn resolve(ctx: &Context, valid: &ValidPolicy, observed: &Observed) -> Resolution {
    let (id, needs) = (&valid.id, needs::needs(&valid.document.content));
    let names = needs.keys().cloned().collect();
    let reads = tenant_secrets::read(&ctx.client, &id.namespace, names).await;
    let kept = observed.kept_secrets.as_ref();
    let resolution = secrets::resolve(id, &needs, &reads, kept, &ctx.settings, (ctx.now)());
    ctx.metrics.certificates(&id.uid, &resolution.expiries);
    resolution
}
