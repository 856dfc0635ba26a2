//! The two proofs: a request that passed the rules, and an address that passed the floor.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;

use super::ask::Caller;
use super::rule::{Fit, Look, Settings};
use super::{Deny, Floor, Policy, Target, Wall, address};
use crate::wire::document::{Action, Mode, Tunnels};

/// Proof that a request passed the rules of a policy; the only thing that can vet addresses.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) policy: Arc<Policy>,
    pub(super) wall: Arc<Wall>,
    pub(super) target: Target,
    pub(super) caller: Caller,
    pub(super) passed: Passed,
    pub(super) internal: Internal,
    /// Deny rules by range for plain HTTP that fit the request.
    pub(super) http_denies: Vec<u32>,
}

/// An address that passed the floor and every Deny by CIDR; the only thing that the proxy can dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VettedAddr(SocketAddr);

/// Why a request passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// An Allow rule, by its number.
    ByRule(u32),
    /// The mode is Open.
    Open,
    /// The mode is Report; this is what Enforce would have said.
    Reported(Deny),
}

/// Which addresses of the internal tier are open to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Internal {
    Closed,
    /// The one that the target is written as.
    Exactly(IpAddr),
    /// Those in the ranges of an exception for the name.
    In(Vec<IpNet>),
}

static NO_SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

impl VettedAddr {
    /// The address to connect to.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.0
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

    /// Who asked.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Name of the rule that decided, or in mode Report of the one that would have refused.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<str>> {
        match &self.passed {
            Passed::ByRule(id) => self.policy.rule(*id).map(|rule| &rule.name),
            Passed::Reported(deny) => deny.rule_name(),
            Passed::Open => None,
        }
    }

    /// The refusal of a request that asked for TLS where this decides.
    pub(super) fn without_tls(&self) -> Deny {
        let rule = match self.passed {
            Passed::ByRule(_) => self.rule().cloned(),
            Passed::Open | Passed::Reported(_) => None,
        };
        Deny::TlsNotOffered { rule }
    }

    /// In mode Report: what mode Enforce would have said.
    #[must_use]
    pub fn would_deny(&self) -> Option<&Deny> {
        match &self.passed {
            Passed::Reported(deny) => Some(deny),
            Passed::ByRule(_) | Passed::Open => None,
        }
    }

    /// What the deciding rule asks of the proxy.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        match &self.passed {
            Passed::ByRule(id) => self.policy.rule(*id).map_or(&NO_SETTINGS, |rule| &rule.settings),
            Passed::Open | Passed::Reported(_) => &NO_SETTINGS,
        }
    }

    /// Decides whether a forwarded request may become a tunnel: what passes behind its 101 nobody signs.
    ///
    /// # Errors
    /// [`Deny::TunnelUnsigned`].
    pub fn check_upgrade(&self) -> Result<(), Deny> {
        let settings = self.settings();
        match (&settings.signing, settings.tunnels, self.rule()) {
            (Some(_), Tunnels::Refuse, Some(rule)) => {
                let rule = Arc::clone(rule);
                Err(Deny::TunnelUnsigned { rule })
            }
            (_, Tunnels::Refuse | Tunnels::Allow, _) => Ok(()),
        }
    }

    /// Decides on one address of the target: a DNS answer, or the address that the target is written as.
    ///
    /// # Errors
    /// The address is on the floor, or outside of what the pool opens, or a Deny rule names a range with it (except in mode
    /// Report).
    pub fn vet(&self, ip: IpAddr) -> Result<VettedAddr, Deny> {
        let ip = address::canonical(ip);
        let excepted = match self.wall.floor.check_address(ip) {
            Err(Deny::AddressInternal) if self.opens(ip) => true,
            verdict => {
                verdict?;
                false
            }
        };
        let (floor, host) = (&self.wall.floor, self.target.host());
        self.wall.caps.check_dialled(floor, host, ip, excepted)?;
        match self.denied_by_range(ip) {
            Some(deny) if self.wall.caps.mode(self.policy.mode()) != Mode::Report => Err(deny),
            Some(_) | None => Ok(VettedAddr(SocketAddr::new(ip, self.target.port()))),
        }
    }

    /// In mode Report: what mode Enforce would have said to this address.
    #[must_use]
    pub fn would_deny_address(&self, address: VettedAddr) -> Option<Deny> {
        self.denied_by_range(address.0.ip())
    }

    fn opens(&self, ip: IpAddr) -> bool {
        match &self.internal {
            Internal::Closed => false,
            Internal::Exactly(open) => *open == ip,
            Internal::In(nets) => nets.iter().any(|net| net.contains(&ip)),
        }
    }

    fn denied_by_range(&self, ip: IpAddr) -> Option<Deny> {
        let look = Look::new(self.target.port(), self.caller, None);
        let matching = self.policy.by_address(&self.wall, ip);
        let mut denying = matching.filter_map(|(_, id)| {
            let rule = self.policy.rule(id)?;
            let fits = self.http_denies.contains(&id) || rule.fits(&look) == Fit::Yes;
            (rule.action == Action::Deny && fits).then_some(rule)
        });
        denying.next().map(|rule| Deny::AddressDeniedByRule {
            rule: Arc::clone(&rule.name),
        })
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
