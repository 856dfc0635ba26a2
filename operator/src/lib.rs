//! The operator: EgressPolicies and EgressPools in, fleets of egress proxies and true statuses out.
//!
//! A shell around pure steps: `observe -> validate* -> desired* -> apply -> status*`, where everything marked * takes
//! values only, `now` included. Level-triggered: every run computes everything again from what is observed; memory
//! only saves writes, never carries progress.
//!
//! - [`egress_policy`]: the controller of policies; a fleet per policy.
//! - [`egress_pool`]: validates pools and sums up what their policies see.
//! - [`desired`]: what the objects of a fleet look like, one file an object. Pure.
//! - [`cluster`]: caches, server-side apply, pruning, discovery of the cluster's own ranges; the RBAC it all needs.
//! - [`reports`]: asks every proxy pod what it enforces and sees, and gets kubelets to refresh its ConfigMap.
//! - [`app`], [`args`], [`admin`], [`metrics`], [`events`], [`wake`], [`name_servers`]: the process around it.

pub mod admin;
pub mod app;
pub mod args;
pub mod cluster;
pub mod context;
pub mod desired;
pub mod egress_policy;
pub mod egress_pool;
pub mod events;
pub mod jobs;
pub mod metrics;
pub mod name_servers;
pub mod reports;
pub mod wake;
