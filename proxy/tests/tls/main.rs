//! TLS on both sides of the proxy, and the requests that it signs before it sends them on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../access/mod.rs"]
mod access;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/mod.rs"]
mod support;

mod held;
mod listener;
mod signing;
mod upstream;
