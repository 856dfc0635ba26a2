//! Requests that are forwarded to origins without TLS, on real sockets: what each side gets, and what neither may say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../access/mod.rs"]
mod access;
#[path = "../support/name_server.rs"]
mod name_server;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod chunks;
mod client_gone;
mod dates;
mod exchange;
mod fields;
mod framing;
mod large;
mod origin_faults;
mod reuse;
mod silence;
mod strict;
mod upgrades;
