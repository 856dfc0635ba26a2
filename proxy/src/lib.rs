//! The egress proxy: parse, permit, resolve, vet, dial, tunnel; and the truth about the address it leaves from.
//!
//! The decision lives in `egressway-core`; this crate is sockets and time around it. It holds no Kubernetes
//! credential and knows no Kubernetes API: its inputs are mounted files, its output is a report that it answers when
//! asked.

pub mod access_log;
pub mod admin;
pub mod alone;
pub mod app;
pub mod args;
pub mod auth;
pub mod check;
pub mod control_metrics;
pub mod convert;
mod der;
pub mod dial;
pub mod documents;
pub mod drain;
pub mod egress_ip;
pub mod endpoint;
mod error_chain;
mod followed;
pub mod forward_client;
mod hangup;
mod inotify;
mod input;
mod key_pair;
pub mod limits;
mod line_queue;
mod linger;
pub mod listen;
pub mod log_filter;
pub mod metrics;
pub mod observer;
pub mod own_addresses;
pub mod own_log;
mod prepared;
pub mod proxy_protocol;
pub mod report;
pub mod resolve;
#[cfg(test)]
mod samples;
pub mod server;
pub mod signing;
pub mod state;
pub mod stream;
pub mod tunnel;
pub mod upstream_tls;
pub mod verify;
pub mod workers;
pub mod would_deny;

pub(crate) use error_chain::error_chain;
