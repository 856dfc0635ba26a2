//! CONNECT on real sockets: how a tunnel is asked for, which name it leads to, what it carries, and what ends it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod connect;
mod course;
mod limits;
mod names;
mod resolve;
mod splice;
