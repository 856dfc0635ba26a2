//! The cases, in the order in which they run: what others build on comes first.

mod acl;
mod clients;
mod credentials;
mod egress_ips;
mod input;
mod lifecycle;
mod report;
mod rollout;
mod ssrf;
mod webhooks;

use std::time::Duration;

use anyhow::Result;
use egressway_crds::EgressPolicy;

use crate::cluster::Cluster;
use crate::fixtures;
use crate::runner::{Case, Needs};

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    vec![
        Case {
            name: "crds_are_accepted_by_the_api_server",
            needs: Needs::Cluster,
            run: |c| Box::pin(input::crds_are_accepted(c)),
        },
        Case {
            name: "bad_input_is_refused_at_apply",
            needs: Needs::Cluster,
            run: |c| Box::pin(input::refused_at_apply(c)),
        },
        Case {
            name: "bad_input_that_one_object_cannot_show_becomes_a_condition",
            needs: Needs::Cluster,
            run: |c| Box::pin(input::becomes_a_condition(c)),
        },
        Case {
            name: "a_bad_edit_keeps_the_last_good_acl",
            needs: Needs::Lab,
            run: |c| Box::pin(input::bad_edit_keeps_last_good(c)),
        },
        Case {
            name: "verified_addresses_are_what_the_outside_saw",
            needs: Needs::Lab,
            run: |c| Box::pin(egress_ips::verified_is_what_was_seen(c)),
        },
        Case {
            name: "a_nat_with_three_addresses_shows_three",
            needs: Needs::Lab,
            run: |c| Box::pin(egress_ips::three_addresses(c)),
        },
        Case {
            name: "a_changed_nat_quarantines_and_heals",
            needs: Needs::Lab,
            run: |c| Box::pin(egress_ips::changed_nat(c)),
        },
        Case {
            name: "a_lying_observer_only_makes_an_unexpected_entry",
            needs: Needs::Lab,
            run: |c| Box::pin(egress_ips::lying_observer(c)),
        },
        Case {
            name: "dead_observers_take_no_pod_down",
            needs: Needs::Lab,
            run: |c| Box::pin(egress_ips::dead_observers(c)),
        },
        Case {
            name: "allow_deny_suspend_as_written",
            needs: Needs::Lab,
            run: |c| Box::pin(acl::as_written(c)),
        },
        Case {
            name: "acl_changes_reach_every_pod_quickly",
            needs: Needs::Lab,
            run: |c| Box::pin(acl::latency(c)),
        },
        Case {
            name: "pods_of_other_namespaces_are_refused_without_any_network_policy",
            needs: Needs::Lab,
            run: |c| Box::pin(clients::other_namespaces(c)),
        },
        Case {
            name: "clients_are_told_apart_by_labels",
            needs: Needs::Lab,
            run: |c| Box::pin(clients::by_labels(c)),
        },
        Case {
            name: "a_new_pod_is_served_at_its_first_request",
            needs: Needs::Lab,
            run: |c| Box::pin(clients::new_pods(c)),
        },
        Case {
            name: "an_address_that_was_given_back_is_refused",
            needs: Needs::Lab,
            run: |c| Box::pin(clients::given_back(c)),
        },
        Case {
            name: "credentials_open_and_nothing_else_does",
            needs: Needs::Lab,
            run: |c| Box::pin(credentials::open(c)),
        },
        Case {
            name: "a_client_certificate_opens_the_tls_listener",
            needs: Needs::Lab,
            run: |c| Box::pin(credentials::certificate(c)),
        },
        Case {
            name: "report_mode_says_what_would_be_refused",
            needs: Needs::Lab,
            run: |c| Box::pin(report::says_what(c)),
        },
        Case {
            name: "plain_http_leaves_as_verified_tls_with_certificate_and_signature",
            needs: Needs::Lab,
            run: |c| Box::pin(webhooks::sent(c)),
        },
        Case {
            name: "ssrf_targets_are_refused",
            needs: Needs::Lab,
            run: |c| Box::pin(ssrf::refused(c)),
        },
        Case {
            name: "rebinding_is_refused",
            needs: Needs::Lab,
            run: |c| Box::pin(ssrf::rebinding(c)),
        },
        Case {
            name: "policies_whose_names_concatenate_alike_do_not_meet",
            needs: Needs::Cluster,
            run: |c| Box::pin(lifecycle::names_do_not_meet(c)),
        },
        Case {
            name: "manual_edits_and_deletions_heal",
            needs: Needs::Cluster,
            run: |c| Box::pin(lifecycle::heals(c)),
        },
        Case {
            name: "a_settled_fleet_is_not_written",
            needs: Needs::Lab,
            run: |c| Box::pin(lifecycle::no_writes(c)),
        },
        Case {
            name: "a_rolling_update_of_the_fleet_fails_no_request",
            needs: Needs::Lab,
            run: |c| Box::pin(rollout::fails_no_request(c)),
        },
        Case {
            name: "without_the_operator_the_data_plane_serves",
            needs: Needs::Lab,
            run: |c| Box::pin(lifecycle::operator_killed(c)),
        },
        Case {
            name: "deleting_a_policy_drains_and_removes_everything",
            needs: Needs::Lab,
            run: |c| Box::pin(lifecycle::deletion(c)),
        },
    ]
}

/// Namespace of the shared fixtures.
const SHARED: &str = "e2e-shared";

/// Both pools, and in namespace [`SHARED`] the policies `edge` (two cells) and `batch` (one), Ready.
async fn shared(cluster: &Cluster) -> Result<(EgressPolicy, EgressPolicy)> {
    cluster.namespace(SHARED).await?;
    for manifest in [
        fixtures::edge(),
        fixtures::batch(),
        fixtures::policy(SHARED, "edge", fixtures::EDGE, &fixtures::allow_echo()),
        fixtures::policy(SHARED, "batch", fixtures::BATCH, &fixtures::allow_echo()),
    ] {
        cluster.apply(&manifest.to_string()).await?;
    }
    Ok((
        cluster
            .await_condition(SHARED, "edge", "Ready", "True", Duration::from_secs(90))
            .await?,
        cluster
            .await_condition(SHARED, "batch", "Ready", "True", Duration::from_secs(90))
            .await?,
    ))
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
