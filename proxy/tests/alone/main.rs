//! The binary as users run it, without Kubernetes: what it lets through, how it reloads, what it says, how it ends, and
//! the commands beside the proxy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/mod.rs"]
mod support;

mod admin;
mod ask;
mod check;
mod examples;
mod forward;
mod log;
mod own;
mod piped;
mod reload;
mod serve;
mod start;
mod stuck;
mod verify;
