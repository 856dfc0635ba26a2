//! The decision: which target a policy permits to whom, and which of its addresses may be dialled.
//!
//! Two proofs carry it. A [`Permit`] says that a request passed the rules; only a permit can [`Permit::vet`] an
//! address, and only a [`VettedAddr`] can be dialled. Constructors are private to this module, so an address that was
//! not vetted cannot be dialled by construction. Nothing here resolves names, checks credentials or opens sockets.

pub mod address;
pub mod ask;
pub mod caps;
pub mod cidr;
pub mod compile;
pub mod deny;
pub mod floor;
pub mod host;
mod index;
pub mod lint;
pub mod path;
pub mod permit;
pub mod policy;
pub mod port;
pub mod reach;
pub mod rule;
pub mod target;

use std::sync::Arc;

pub use ask::{Ask, Caller, HttpAsk};
pub use caps::Caps;
pub use deny::Deny;
pub use floor::Floor;
pub use permit::{Permit, VettedAddr};
pub use policy::Policy;
pub use rule::Settings;
pub use target::{Host, Target};

/// What no policy can open: the SSRF floor, and the caps of the pool.
#[derive(Clone, Debug, Default)]
pub struct Wall {
    /// The SSRF floor.
    pub floor: Arc<Floor>,
    /// The caps of the pool.
    pub caps: Arc<Caps>,
}

impl Wall {
    /// A floor without a pool around it.
    #[must_use]
    pub fn of(floor: Arc<Floor>) -> Arc<Self> {
        Arc::new(Self {
            floor,
            caps: Arc::default(),
        })
    }
}
