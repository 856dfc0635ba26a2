//! The pool's caps: the outer wall that holds in every mode, and the only exceptions to the internal tier.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cidr::CidrMap;
use super::host::{HostPattern, HostSet};
use super::port::PortSet;
use super::{Deny, Floor, Host};
use crate::wire::document::{ClientAuth, Mode};

/// The caps of a pool, compiled. The default lets everything through and opens nothing.
#[derive(Debug, Default)]
pub struct Caps {
    pub(super) modes: Option<Vec<Mode>>,
    pub(super) ports: Option<PortSet>,
    pub(super) allow: Option<HostSet>,
    pub(super) deny: HostSet,
    pub(super) allow_cidrs: Option<CidrMap<()>>,
    pub(super) deny_cidrs: CidrMap<()>,
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

    /// Refuses targets written as addresses that the pool does not open: one that lists names opens the addresses that it
    /// lists besides, and no others. `excepted`: an exception to the internal tier has to name the address, which then is
    /// listed there.
    ///
    /// # Errors
    /// [`Deny::DeniedByPool`].
    pub(super) fn check_target(&self, ip: IpAddr, excepted: bool) -> Result<(), Deny> {
        let listed = match &self.allow_cidrs {
            Some(cidrs) => cidrs.contains(ip),
            None => self.allow.is_none(),
        };
        if listed || excepted {
            Ok(())
        } else {
            Err(Deny::DeniedByPool)
        }
    }

    /// Refuses addresses about to be dialled that the pool denies, an IPv4 address inside of an IPv6 one included; and
    /// those of names, where the pool lists addresses and no names.
    ///
    /// # Errors
    /// [`Deny::DeniedByPool`].
    pub(super) fn check_dialled(
        &self,
        floor: &Floor,
        host: &Host,
        ip: IpAddr,
        excepted: bool,
    ) -> Result<(), Deny> {
        let denied = !self.deny_cidrs.is_empty()
            && (self.deny_cidrs.contains(ip)
                || floor
                    .embedded(ip)
                    .is_some_and(|inside| self.deny_cidrs.contains(inside)));
        let unlisted = match (host, &self.allow, &self.allow_cidrs) {
            (Host::Name(_), None, Some(cidrs)) => !excepted && !cidrs.contains(ip),
            (Host::Name(_), _, _) | (Host::Address(_), _, _) => false,
        };
        if denied || unlisted {
            Err(Deny::DeniedByPool)
        } else {
            Ok(())
        }
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

    /// Whether an exception by range is for all of a rule's range, on some of its ports.
    pub(super) fn excepts_range(&self, net: &IpNet, ports: &PortSet) -> bool {
        let mut exceptions = self.internal_cidrs.iter();
        exceptions.any(|(exception, open)| exception.contains(net) && open.overlaps(ports))
    }

    /// Whether an exception names this name, on some of these ports.
    pub(super) fn excepts_name(&self, name: &str, ports: &PortSet) -> bool {
        let mut entries = self.internal_hosts.get(name).into_iter().flatten();
        entries.any(|(_, open)| open.overlaps(ports))
    }

    /// Whether targets written as addresses of the range may pass: all of them, or some.
    pub(super) fn opens_range(&self, net: &IpNet) -> bool {
        match &self.allow_cidrs {
            Some(cidrs) => cidrs.covers(net) || cidrs.has_within(net),
            None => self.allow.is_none(),
        }
    }

    pub(super) fn add_deny(&mut self, pattern: HostPattern) {
        self.deny.insert(pattern);
    }
}
