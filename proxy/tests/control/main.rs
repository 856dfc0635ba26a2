//! What stands beside the data path: documents, probes, the report, the address of egress, the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/mod.rs"]
mod support;

mod admin;
mod documents;
mod drain;
mod egress_ip;
mod http;
mod mount;
mod observer;
mod report;
