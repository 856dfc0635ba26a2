//! What one binary writes and the other reads: documents in the mounted ConfigMap, the report, shared names.
//!
//! Meaning lives in [`crate::acl`]; this module only knows shapes, versions and digests. Every document carries a
//! version, refuses fields it does not know, and stays readable for ever once shipped (see `tests/golden`).

pub mod auth;
pub mod document;
pub mod names;
pub mod report;
