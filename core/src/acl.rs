//! The decision: which target a policy permits, and which of its addresses may be dialled.
//!
//! Two proofs carry it. A [`Permit`] says that a target passed the rules; only a permit can [`Permit::vet`] an
//! address, and only a [`VettedAddr`] can be dialled. Constructors are private to this module, so an address that was
//! not vetted cannot be dialled by construction. Nothing here resolves names or opens sockets.

pub mod address;
pub mod cidr;
pub mod compile;
pub mod deny;
pub mod floor;
pub mod host;
mod index;
pub mod port;
pub mod target;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use deny::Deny;
pub use floor::Floor;
use index::Index;
pub use target::{Host, Target};

use crate::wire::document::Action;

/// One policy, compiled: ready to decide.
#[derive(Debug)]
pub struct Policy {
    namespace: String,
    name: String,
    generation: i64,
    hash: String,
    suspended: bool,
    rules: Vec<Rule>,
    index: Index,
}

/// One rule, compiled.
#[derive(Debug)]
struct Rule {
    name: Arc<str>,
    action: Action,
    ports: port::PortSet,
}

/// Proof that a target passed the rules of a policy; the only thing that can vet addresses.
#[derive(Clone, Debug)]
pub struct Permit {
    policy: Arc<Policy>,
    floor: Arc<Floor>,
    target: Target,
    rule: Arc<str>,
}

/// An address that passed the floor and every Deny by CIDR; the only thing that the proxy can dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VettedAddr(SocketAddr);

impl VettedAddr {
    /// The address to connect to.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }
}

impl Policy {
    /// Namespace of the EgressPolicy.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the EgressPolicy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Generation that the document was rendered from.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Hash of the content in force.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Decides on a target before any look-up.
    ///
    /// Deny beats Allow whatever the order; among Allows the most specific host wins (exact, longer suffix, `*`).
    /// A target written as an address matches rules by CIDR only, a name rules by host only.
    ///
    /// # Errors
    /// The reason for the refusal, with the rule where one refused.
    pub fn permit(self: &Arc<Self>, floor: &Arc<Floor>, target: Target) -> Result<Permit, Deny> {
        if self.suspended {
            return Err(Deny::PolicySuspended);
        }
        let port = target.port();
        let allowed = match target.host() {
            Host::Name(name) => {
                floor.check_name(name)?;
                self.decide(self.index.by_name(name), port)?
            }
            Host::Address(ip) => {
                floor.check_address(*ip)?;
                self.decide(self.index.by_address(*ip), port)?
            }
        };
        Ok(Permit {
            policy: Arc::clone(self),
            floor: Arc::clone(floor),
            target,
            rule: allowed,
        })
    }

    fn decide(&self, matches: impl Iterator<Item = u32>, port: u16) -> Result<Arc<str>, Deny> {
        let mut allowed: Option<&Rule> = None;
        for rule in matches
            .filter_map(|id| self.rule(id))
            .filter(|rule| rule.ports.contains(port))
        {
            match rule.action {
                Action::Deny => {
                    return Err(Deny::DeniedByRule {
                        rule: Arc::clone(&rule.name),
                    });
                }
                Action::Allow => allowed = allowed.or(Some(rule)),
            }
        }
        allowed
            .map(|rule| Arc::clone(&rule.name))
            .ok_or(Deny::NoRuleMatches)
    }

    fn rule(&self, id: u32) -> Option<&Rule> {
        self.rules.get(usize::try_from(id).ok()?)
    }
}

impl Permit {
    /// The policy that permitted.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The permitted target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Name of the Allow rule that decided.
    #[must_use]
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Decides on one address of the target: a DNS answer, or the address that the target is written as.
    ///
    /// # Errors
    /// The address is on the floor, or a Deny rule names a range with it.
    pub fn vet(&self, ip: IpAddr) -> Result<VettedAddr, Deny> {
        let ip = address::canonical(ip);
        self.floor.check_address(ip)?;
        let port = self.target.port();
        let matching = self
            .policy
            .index
            .by_address(ip)
            .filter_map(|id| self.policy.rule(id));
        let mut denying = matching.filter(|rule| rule.action == Action::Deny && rule.ports.contains(port));
        if let Some(rule) = denying.next() {
            return Err(Deny::AddressDeniedByRule {
                rule: Arc::clone(&rule.name),
            });
        }
        Ok(VettedAddr(SocketAddr::new(ip, port)))
    }
}

impl Floor {
    /// Vets an observer's address. Observers are the admin's choice, so no tenant rule applies; the floor always does.
    ///
    /// # Errors
    /// The address is on the floor.
    pub fn vet_observer(&self, ip: IpAddr, port: u16) -> Result<VettedAddr, Deny> {
        let ip = address::canonical(ip);
        self.check_address(ip)?;
        Ok(VettedAddr(SocketAddr::new(ip, port)))
    }
}
