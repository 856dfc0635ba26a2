//! The egress proxy: parse, permit, resolve, vet, dial, tunnel; and the truth about the address it leaves from.
//!
//! The decision lives in `egressway-core`; this crate is sockets and time around it. It holds no Kubernetes
//! credential and knows no Kubernetes API: its inputs are mounted files, its output is a report that it answers when
//! asked.

pub mod state;
