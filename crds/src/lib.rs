//! The Kubernetes API of Egressway: what users write and read.
//!
//! Plain strings and integers, guarded by schema and CEL: one stored object that failed to deserialize would stop the
//! operator's whole watch. Strictness belongs to the operator's validation, where it becomes a condition with a reason.
//! This crate depends on nothing of ours and decides nothing.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, pub, inside a function"
)]

mod egress_policy;
mod egress_pool;
mod fields;

pub use egress_policy::{
    AclRule, Client, ClientAuth, ClientCertificate, ClientSource, ConfigStatus, EgressIp, EgressPolicy,
    EgressPolicySpec, EgressPolicyStatus, HttpMatch, Limits, Listener, ListenerTls, PodStatus, PolicyFleet,
    PoolRef, ProxyProtocol, Signing, Timeouts, UnexpectedIp, UpstreamTls, WouldDeny,
};
pub use egress_pool::{
    AllowedNamespaces, Caps, Cell, CellStatus, DeclaredAddress, EgressPool, EgressPoolSpec, EgressPoolStatus,
    HostCaps, InternalDestination, Observation, Observer, PoolEgressIp, PoolFleet, Toleration,
};
pub use fields::{ObjectName, PortRange, ResourceAmounts, Resources, SecretKey};
