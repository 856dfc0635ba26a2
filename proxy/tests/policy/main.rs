//! Policies on real sockets: who asks, what is let through, within which bounds, and what no policy can open.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../access/mod.rs"]
mod access;
#[path = "../support/mod.rs"]
mod support;

mod auth;
mod limits;
mod modes;
mod proxy_protocol;
mod revoke_race;
mod ssrf;
