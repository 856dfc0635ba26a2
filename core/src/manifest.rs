//! What users write, as plain data: the `spec` of an EgressPolicy and of an EgressPool, and what each means on the wire.
//!
//! The operator reads specs from the API server, a standalone proxy from a file; both go through this module, so that
//! one text can never mean two things. It is strict: a field that it does not know is an error, not silence. What only
//! a cluster can act on (fleets, cells, selectors) passes through it untouched.

mod caps;
mod content;
mod observation;
mod policy;
mod pool;

pub use caps::{caps, nat64_prefixes};
pub use content::{ALL_PODS, Place, content, draft};
pub use observation::observation;
pub use policy::{
    Auth, Certificate, Client, From, Http, Limits, Listener, ListenerTls, Name, PasswordRef, PolicySpec,
    PortRange, ProxyProtocol, Quantity, Rule, SecretKeyRef, Signing, Timeouts, UpstreamTls,
};
pub use pool::{Caps, CidrCaps, HostCaps, InternalDestination, Observation, Observer, PoolSpec};
