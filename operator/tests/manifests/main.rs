//! Manifests as people write them: those that they copy are accepted, and no field is accepted and ignored.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conditions;
mod documents;
mod fields;
