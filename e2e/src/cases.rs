//! The cases, in the order in which they begin as soon as their places allow: what others build on and what takes long
//! comes first, what needs all places to itself last.

mod acl;
mod clients;
mod credentials;
mod edits;
mod egress_ips;
mod input;
mod kills;
mod latency;
mod lifecycle;
mod lockdown;
mod network_policies;
mod observers;
mod pools;
mod presets;
mod report;
mod rollout;
mod ssrf;
mod webhooks;

use std::time::Duration;

use anyhow::Result;
use egressway_crds::EgressPolicy;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::fixtures;
use crate::runner::Stand::{Alone, Beside};
use crate::runner::{Case, Needs, Place};

const EDGE: &[Place] = &[Place::Edge];
const BATCH: &[Place] = &[Place::Batch];
const BOTH: &[Place] = &[Place::Edge, Place::Batch];
const GENERAL: &[Place] = &[Place::General];
const EVERYWHERE: &[Place] = &[Place::Edge, Place::Batch, Place::General];

/// Cases that take longer than all others together: run with `--long`, or by their name.
#[must_use]
pub fn long() -> Vec<Case> {
    vec![Case {
        name: "every_edit_by_hand_is_undone_or_named",
        needs: Needs::Cluster,
        stand: Beside(BATCH),
        run: |c| Box::pin(edits::heal(c)),
    }]
}

/// Every case of the suite.
#[must_use]
pub fn all() -> Vec<Case> {
    vec![
        Case {
            name: "crds_are_accepted_by_the_api_server",
            needs: Needs::Cluster,
            stand: Beside(&[]),
            run: |c| Box::pin(input::crds_are_accepted(c)),
        },
        Case {
            name: "acl_changes_reach_every_pod_quickly",
            needs: Needs::Lab,
            stand: Beside(EDGE),
            run: |c| Box::pin(latency::measured(c)),
        },
        Case {
            name: "verified_addresses_are_what_the_outside_saw",
            needs: Needs::Lab,
            stand: Beside(BOTH),
            run: |c| Box::pin(egress_ips::verified_is_what_was_seen(c)),
        },
        Case {
            name: "the_webhook_presets_keep_what_they_promise",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(presets::hold(c)),
        },
        Case {
            name: "a_changed_nat_quarantines_and_heals",
            needs: Needs::Lab,
            stand: Alone(EDGE),
            run: |c| Box::pin(egress_ips::changed_nat(c)),
        },
        Case {
            name: "a_rolling_update_of_the_fleet_fails_no_request",
            needs: Needs::Lab,
            stand: Alone(EDGE),
            run: |c| Box::pin(rollout::fails_no_request(c)),
        },
        Case {
            name: "a_lying_observer_only_makes_an_unexpected_entry",
            needs: Needs::Lab,
            stand: Alone(GENERAL),
            run: |c| Box::pin(observers::lying(c)),
        },
        Case {
            name: "bad_input_is_refused_at_apply",
            needs: Needs::Cluster,
            stand: Beside(&[]),
            run: |c| Box::pin(input::refused_at_apply(c)),
        },
        Case {
            name: "a_new_pod_is_served_at_its_first_request",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(clients::new_pods(c)),
        },
        Case {
            name: "policies_whose_names_concatenate_alike_do_not_meet",
            needs: Needs::Cluster,
            stand: Beside(BATCH),
            run: |c| Box::pin(lifecycle::names_do_not_meet(c)),
        },
        Case {
            name: "plain_http_leaves_as_verified_tls_with_certificate_and_signature",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(webhooks::sent(c)),
        },
        Case {
            name: "dead_observers_take_no_pod_down",
            needs: Needs::Lab,
            stand: Alone(GENERAL),
            run: |c| Box::pin(observers::dead(c)),
        },
        Case {
            name: "a_nat_with_three_addresses_shows_three",
            needs: Needs::Lab,
            stand: Alone(GENERAL),
            run: |c| Box::pin(egress_ips::three_addresses(c)),
        },
        Case {
            name: "credentials_open_and_nothing_else_does",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(credentials::open(c)),
        },
        Case {
            name: "manual_edits_and_deletions_heal",
            needs: Needs::Cluster,
            stand: Beside(BATCH),
            run: |c| Box::pin(lifecycle::heals(c)),
        },
        Case {
            name: "bad_input_that_one_object_cannot_show_becomes_a_condition",
            needs: Needs::Cluster,
            stand: Beside(BATCH),
            run: |c| Box::pin(input::becomes_a_condition(c)),
        },
        Case {
            name: "a_bad_edit_keeps_the_last_good_acl",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(input::bad_edit_keeps_last_good(c)),
        },
        Case {
            name: "a_pool_in_use_is_protected_and_takes_nothing_away",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(pools::in_use_is_protected(c)),
        },
        Case {
            name: "allow_deny_suspend_as_written",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(acl::as_written(c)),
        },
        Case {
            name: "network_policies_let_through_what_belongs_together_and_nothing_else",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(network_policies::matrix(c)),
        },
        Case {
            name: "a_locked_down_namespace_has_no_way_out_but_its_proxy",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(lockdown::locked_down(c)),
        },
        Case {
            name: "pods_of_other_namespaces_are_refused_without_any_network_policy",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(clients::other_namespaces(c)),
        },
        Case {
            name: "clients_are_told_apart_by_labels",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(clients::by_labels(c)),
        },
        Case {
            name: "a_client_certificate_opens_the_tls_listener",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(credentials::certificate(c)),
        },
        Case {
            name: "report_mode_says_what_would_be_refused",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(report::says_what(c)),
        },
        Case {
            name: "rebinding_is_refused",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(ssrf::rebinding(c)),
        },
        Case {
            name: "deleting_a_policy_drains_and_removes_everything",
            needs: Needs::Lab,
            stand: Beside(BATCH),
            run: |c| Box::pin(lifecycle::deletion(c)),
        },
        Case {
            name: "ssrf_targets_are_refused",
            needs: Needs::Lab,
            stand: Alone(BATCH),
            run: |c| Box::pin(ssrf::refused(c)),
        },
        Case {
            name: "an_address_that_was_given_back_is_refused",
            needs: Needs::Lab,
            stand: Alone(EVERYWHERE),
            run: |c| Box::pin(clients::given_back(c)),
        },
        Case {
            name: "without_the_operator_the_data_plane_serves",
            needs: Needs::Lab,
            stand: Alone(EVERYWHERE),
            run: |c| Box::pin(kills::and_kept_away(c)),
        },
        Case {
            name: "killing_the_operator_at_any_moment_changes_nothing",
            needs: Needs::Lab,
            stand: Alone(EVERYWHERE),
            run: |c| Box::pin(kills::at_any_moment(c)),
        },
        Case {
            name: "a_settled_fleet_is_not_written",
            needs: Needs::Lab,
            stand: Alone(EVERYWHERE),
            run: |c| Box::pin(lifecycle::no_writes(c)),
        },
    ]
}

/// Namespace of the shared fixtures.
const SHARED: &str = "e2e-shared";

/// The pool with two cells, and in namespace [`SHARED`] the policy `edge`, Ready.
async fn shared_edge(cluster: &Cluster) -> Result<EgressPolicy> {
    in_shared(cluster, &fixtures::edge(), "edge", fixtures::EDGE).await
}

/// The pool with one cell, and in namespace [`SHARED`] the policy `batch`, Ready.
async fn shared_batch(cluster: &Cluster) -> Result<EgressPolicy> {
    in_shared(cluster, &fixtures::batch(), "batch", fixtures::BATCH).await
}

/// The pool on the general node, and in namespace [`SHARED`] the policy `general`, Ready.
async fn shared_general(cluster: &Cluster) -> Result<EgressPolicy> {
    in_shared(cluster, &fixtures::general(), "general", fixtures::GENERAL).await
}

/// A policy of the case's own in namespace [`SHARED`] on the pool with one cell, Ready.
async fn own_on_batch(cluster: &Cluster, name: &str) -> Result<EgressPolicy> {
    in_shared(cluster, &fixtures::batch(), name, fixtures::BATCH).await
}

/// Both shared policies.
async fn shared(cluster: &Cluster) -> Result<(EgressPolicy, EgressPolicy)> {
    futures::try_join!(shared_edge(cluster), shared_batch(cluster))
}

async fn in_shared(cluster: &Cluster, pool: &Value, name: &str, pool_name: &str) -> Result<EgressPolicy> {
    cluster.namespace(SHARED).await?;
    cluster.apply(&pool.to_string()).await?;
    ready(cluster, SHARED, name, pool_name, &fixtures::allow_echo()).await
}

/// A policy of these rules on a pool, Ready.
async fn ready(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    pool: &str,
    rules: &Value,
) -> Result<EgressPolicy> {
    let policy = fixtures::policy(namespace, name, pool, rules);
    cluster.apply(&policy.to_string()).await?;
    cluster
        .await_condition(namespace, name, "Ready", "True", Duration::from_secs(90))
        .await
}

/// The policy's proxy URL.
fn proxy_url(policy: &EgressPolicy) -> Result<String> {
    use anyhow::Context as _;
    policy
        .status
        .as_ref()
        .and_then(|s| s.proxy_url.clone())
        .context("status has no proxyURL")
}
