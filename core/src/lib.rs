//! What operator and proxy must agree on: targets, rules, the SSRF floor, verdicts, and the documents that travel
//! between them.
//!
//! This crate decides. It performs no I/O, reads no clock, draws no randomness and does not panic: every input is
//! hostile until parsed, and every answer is a value. What acts on the answers lives in the `operator` and `proxy`
//! crates.
#![warn(
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test fails by panicking"
    )
)]

pub mod acl;
pub mod duration;
pub mod egress;
pub mod manifest;
mod pem_text;
pub mod quantity;
pub mod tls_hello;
pub mod wire;

pub use pem_text::pem_text;
