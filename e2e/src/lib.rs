//! End-to-end tests: they see the product as its users do, through kubectl, client pods and servers outside of the
//! cluster. They share no code with operator and proxy but the wire names and the API types.
//!
//! The cluster is the lab (`e2e/lab`) or any other that KUBECONFIG names, with the chart installed. What only the
//! lab can do (change a NAT, see the internet's side) is skipped elsewhere, and the output says so.

pub mod cases;
pub mod client_pod;
pub mod cluster;
mod edits;
pub mod fixtures;
pub mod lab;
pub mod pki;
pub mod runner;
pub mod wait;
