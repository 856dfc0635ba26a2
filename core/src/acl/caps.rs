//! The pool's caps: the outer wall that holds in every mode, and the only exceptions to the internal tier.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Deny;
use super::host::{HostPattern, HostSet};
use super::port::PortSet;
use crate::wire::document::{ClientAuth, Mode};

/// The caps of a pool, compiled. The default lets everything through and opens nothing.
#[derive(Debug, Default)]
pub struct Caps {
    pub(super) modes: Option<Vec<Mode>>,
    pub(super) ports: Option<PortSet>,
    pub(super) allow: Option<HostSet>,
    pub(super) deny: HostSet,
    pub(super) internal_cidrs: Vec<(IpNet, PortSet)>,
    pub(super) internal_hosts: HashMap<String, Vec<(Vec<IpNet>, PortSet)>>,
    pub(super) client_auth: ClientAuth,
}

impl Caps {
    /// The mode that a policy really has: one that the pool does not let it have is enforced.
    #[must_use]
    pub fn mode(&self, wanted: Mode) -> Mode {
        match &self.modes {
            Some(modes) if !modes.contains(&wanted) => Mode::Enforce,
            Some(_) | None => wanted,
        }
    }

    /// Whether clients must present a credential.
    #[must_use]
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Refuses ports that the pool does not open.
    ///
    /// # Errors
    /// [`Deny::DeniedByPool`].
    pub(super) fn check_port(&self, port: u16) -> Result<(), Deny> {
        match &self.ports {
            Some(ports) if !ports.contains(port) => Err(Deny::DeniedByPool),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses names that the pool does not open.
    ///
    /// # Errors
    /// [`Deny::DeniedByPool`].
    pub(super) fn check_name(&self, name: &str) -> Result<(), Deny> {
        let denied =
            self.deny.contains(name) || self.allow.as_ref().is_some_and(|allow| !allow.contains(name));
        if denied { Err(Deny::DeniedByPool) } else { Ok(()) }
    }

    /// Whether an exception by range may open an address of the internal tier for a rule with these ranges.
    pub(super) fn opens_address(&self, ip: IpAddr, port: u16, rule: &[IpNet]) -> bool {
        self.internal_cidrs.iter().any(|(net, ports)| {
            let named = |own: &IpNet| net.contains(own) && own.contains(&ip);
            ports.contains(port) && net.contains(&ip) && rule.iter().any(named)
        })
    }

    /// Where the addresses of a name may lie in the internal tier: empty when no exception names it.
    pub(super) fn opens_name(&self, name: &str, port: u16) -> Vec<IpNet> {
        let entries = self.internal_hosts.get(name).into_iter().flatten();
        let nets = entries
            .filter(|(_, ports)| ports.contains(port))
            .map(|(nets, _)| nets);
        nets.flatten().copied().collect()
    }

    pub(super) fn add_deny(&mut self, pattern: HostPattern) {
        self.deny.insert(pattern);
    }
}
