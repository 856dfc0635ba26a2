//! Requests that are forwarded to origins without TLS, on real sockets: what each side gets, and what neither may say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod chunks;
mod exchange;
mod large;
mod silence;
mod strict;
mod upgrades;
