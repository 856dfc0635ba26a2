//! One policy, compiled: who its callers are, and what it permits to them before any look-up.

use std::net::IpAddr;
use std::sync::Arc;

use super::ask::{Ask, Caller};
use super::index::{Exactness, Index};
use super::permit::{Internal, Passed, Permit};
use super::rule::{Fit, Look, Rule, Settings};
use super::{Deny, Host, Target, VettedAddr, Wall};
use crate::wire::document::{
    Action, Client, ClientAuth, Closed, Content, Limits, Listener, Mode, Revoke, Timeouts, When,
};

/// One policy, compiled: ready to decide.
#[derive(Debug)]
pub struct Policy {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) hash: String,
    /// Its content but for the rules, which stand compiled below.
    pub(super) content: Content,
    /// Those of its clients that have a credential.
    pub(super) with_credential: Caller,
    pub(super) rules: Vec<Rule>,
    /// Deny rules by range that are for plain HTTP only: they bear on addresses, whatever name led there.
    pub(super) http_denies: Vec<u32>,
    pub(super) index: Index,
}

/// The port of `http`, where a URL names none and the proxy does not speak TLS for it.
const HTTP: u16 = 80;
/// The port of `https`, where a URL names none and the proxy speaks TLS for it.
const HTTPS: u16 = 443;

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

    /// The mode that the policy asks for; what counts is [`super::Caps::mode`] of it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.content.mode
    }

    /// Whether every new request is refused.
    #[must_use]
    pub fn suspended(&self) -> bool {
        self.content.lets_nothing_through()
    }

    /// Whether it lets anything new through at all.
    fn is_open(&self) -> Result<(), Deny> {
        match (self.content.closed, self.content.suspended) {
            (Some(Closed::Unaccepted), _) => Err(Deny::PolicyClosed),
            (Some(Closed::Suspended), _) | (None, true) => Err(Deny::PolicySuspended),
            (None, false) => Ok(()),
        }
    }

    /// How the listener speaks with clients.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.content.listener
    }

    /// Who may use the proxy; empty: whoever reaches it.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.content.clients
    }

    /// How long things may take.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.content.timeouts
    }

    /// How much of everything there may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.content.limits
    }

    /// What happens to open tunnels that a new policy would refuse.
    #[must_use]
    pub fn revoke_tunnels(&self) -> Revoke {
        self.content.revoke_tunnels
    }

    /// Names of the Secrets that rules refer to: client certificates, roots and signing keys.
    pub fn rule_settings(&self) -> impl Iterator<Item = &Settings> {
        self.rules.iter().map(|rule| &rule.settings)
    }

    /// The caller that is the clients of these names; names that the policy does not know count for nothing.
    #[must_use]
    pub fn caller<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Caller {
        names.into_iter().fold(Caller::UNKNOWN, |caller, name| {
            let index = self.content.clients.iter().position(|client| client.name == name);
            index.map_or(caller, |index| caller.with(index))
        })
    }

    /// Names of the clients that a caller is.
    pub fn names_of(&self, caller: Caller) -> impl Iterator<Item = &str> {
        let named = self.content.clients.iter().enumerate();
        named
            .filter(move |(index, _)| Caller::UNKNOWN.with(*index).meets(caller))
            .map(|(_, client)| client.name.as_str())
    }

    /// Whether the caller may use the proxy at all.
    ///
    /// # Errors
    /// [`Deny::ClientUnknown`], or [`Deny::CredentialsMissing`] where the pool demands a credential.
    pub fn admits(&self, wall: &Wall, caller: Caller) -> Result<(), Deny> {
        match wall.caps.client_auth {
            ClientAuth::Optional if self.content.clients.is_empty() || caller.is_known() => Ok(()),
            ClientAuth::Optional => Err(Deny::ClientUnknown),
            ClientAuth::Required if self.with_credential.meets(caller) => Ok(()),
            ClientAuth::Required => Err(Deny::CredentialsMissing),
        }
    }

    /// Decides on a request before any look-up.
    ///
    /// Deny beats Allow whatever the order; among Allows the most specific host wins (exact, longer suffix, `*`; for
    /// addresses the longer prefix). A target written as an address matches rules by CIDR only, a name rules by host
    /// only. The pool's caps and the floor hold in every mode.
    ///
    /// # Errors
    /// The reason for the refusal, with the rule where one refused.
    pub fn permit(self: &Arc<Self>, wall: &Arc<Wall>, ask: Ask<'_>) -> Result<Permit, Deny> {
        self.is_open()?;
        self.admits(wall, ask.caller)?;
        let caller = match wall.caps.client_auth {
            ClientAuth::Optional => ask.caller,
            ClientAuth::Required => ask.caller.and(self.with_credential),
        };
        let look = Look::new(ask.target.port(), caller, ask.http);
        let decided = match ask.target.host() {
            Host::Name(name) => self.permit_name(wall, name, &look)?,
            Host::Address(ip) => self.permit_address(wall, *ip, &look)?,
        };
        let (passed, internal) = decided;
        let http_denies = self.http_denies.iter().copied().filter(|id| {
            let fit = self.rule(*id).map(|rule| rule.fits(&look));
            look.http.is_some() && !matches!(fit, None | Some(Fit::No))
        });
        Ok(Permit {
            policy: Arc::clone(self),
            wall: Arc::clone(wall),
            http_denies: http_denies.collect(),
            target: ask.target,
            caller,
            passed,
            internal,
        })
    }

    /// Decides on a request for a tunnel. `asks_tls`: the client asked the proxy for TLS, which no rule makes in a tunnel.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn permit_tunnel(
        self: &Arc<Self>,
        wall: &Arc<Wall>,
        ask: Ask<'_>,
        asks_tls: bool,
    ) -> Result<Permit, Deny> {
        let permit = self.permit(wall, ask)?;
        if asks_tls {
            return Err(permit.without_tls());
        }
        Ok(permit)
    }

    /// Decides on a forwarded request for `http://host` or `http://host:port`.
    ///
    /// Without a port it is for 443 where a rule for that port makes the proxy speak TLS, else for 80. The second value
    /// says whether the proxy speaks TLS. `asks_tls`: the client asked for it, which only a rule can grant; what asks and
    /// is not granted is refused in every mode, because it would go out in the clear.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn permit_http(
        self: &Arc<Self>,
        wall: &Arc<Wall>,
        ask: Ask<'_>,
        port_was_written: bool,
        asks_tls: bool,
    ) -> Result<(Permit, bool), Deny> {
        let originates = |permit: &Permit| {
            let tls = permit.settings().upstream_tls.as_ref();
            tls.is_some_and(|tls| tls.when == When::Always || asks_tls)
        };
        let mut no_rule_for_tls = None;
        if !port_was_written {
            let target = ask.target.with_port(HTTPS);
            let permit = self.permit(
                wall,
                Ask {
                    target,
                    ..ask.clone()
                },
            );
            match permit {
                Ok(permit) if originates(&permit) => return Ok((permit, true)),
                Ok(permit) if asks_tls => no_rule_for_tls = Some(permit.without_tls()),
                Err(Deny::NoRuleMatches { .. }) if wall.caps.check_port(HTTP).is_err() => {
                    let tls = self.unmatched(&ask.target, false, asks_tls).port() == HTTPS;
                    no_rule_for_tls = tls.then(Deny::no_rule);
                }
                Ok(_) | Err(_) => {}
            }
        }
        let target = if port_was_written {
            ask.target.clone()
        } else {
            ask.target.with_port(HTTP)
        };
        match (self.permit(wall, Ask { target, ..ask }), no_rule_for_tls) {
            (Ok(permit), _) if originates(&permit) => Ok((permit, true)),
            (Ok(permit), _) if asks_tls => Err(permit.without_tls()),
            (Ok(permit), _) => Ok((permit, false)),
            // What a pool or the rules say about port 80 says nothing to whoever meant 443.
            (Err(Deny::DeniedByPool | Deny::NoRuleMatches { .. }), Some(deny)) => Err(deny),
            (Err(deny), _) => Err(deny),
        }
    }

    /// The target of a forwarded request that no rule matched, as its sender has to see it: without a port in the URL 443,
    /// where a rule for that port would make TLS for other requests to the host, and 80 elsewhere. Whoever reads of port
    /// 80 there opens it, and sends in the clear.
    #[must_use]
    pub fn unmatched(&self, target: &Target, port_was_written: bool, asks_tls: bool) -> Target {
        let makes_tls = |rule: &Rule| {
            let tls = rule.settings.upstream_tls.as_ref();
            rule.ports.contains(HTTPS) && tls.is_some_and(|tls| tls.when == When::Always || asks_tls)
        };
        match target.host() {
            Host::Name(name) if !port_was_written => {
                let mut rules = self.index.by_name(name).filter_map(|(_, id)| self.rule(id));
                target.with_port(if rules.any(makes_tls) { HTTPS } else { HTTP })
            }
            Host::Name(_) | Host::Address(_) => target.clone(),
        }
    }

    /// Whether something that is open may go on: its target, its caller, and the very address that it leads to. With
    /// [`Revoke::OnClose`] only the wall is asked.
    #[must_use]
    pub fn still_permits(self: &Arc<Self>, wall: &Arc<Wall>, ask: Ask<'_>, address: VettedAddr) -> bool {
        let ip = address.socket_addr().ip();
        let permitted = self
            .permit(wall, ask.clone())
            .is_ok_and(|permit| permit.vet(ip).is_ok());
        let keeps =
            self.content.revoke_tunnels == Revoke::OnClose && self.content.closed != Some(Closed::Unaccepted);
        permitted || (keeps && within(wall, &ask.target, ip))
    }

    fn permit_name(&self, wall: &Wall, name: &str, look: &Look<'_>) -> Result<(Passed, Internal), Deny> {
        let port = look.port;
        let opened = wall.caps.opens_name(name, port);
        let inside = wall.floor.check_name(name);
        if opened.is_empty() {
            inside.clone()?;
        }
        wall.caps.check_port(port)?;
        wall.caps.check_name(name)?;
        let mut names_it = false;
        let decided = self.decide(wall, self.index.by_name(name), look, |exactness, _| {
            // Rules come most specific first: the rule that decides is exact only if an exact one fits.
            names_it = exactness == Exactness::Exact;
            true
        })?;
        let named = names_it && matches!(decided, Passed::ByRule(_));
        if !named {
            inside?;
        }
        let internal = if named {
            Internal::In(opened)
        } else {
            Internal::Closed
        };
        Ok((decided, internal))
    }

    fn permit_address(&self, wall: &Wall, ip: IpAddr, look: &Look<'_>) -> Result<(Passed, Internal), Deny> {
        let port = look.port;
        let internal = match wall.floor.check_address(ip) {
            Ok(()) => false,
            Err(Deny::AddressInternal) if !wall.caps.internal_cidrs.is_empty() => true,
            Err(deny) => return Err(deny),
        };
        wall.caps.check_port(port)?;
        wall.caps.check_target(ip, internal)?;
        let opens = |rule: &Rule| wall.caps.opens_address(ip, port, &rule.cidrs);
        let decided = self.decide(wall, self.by_address(wall, ip), look, |_, rule| {
            !internal || opens(rule)
        });
        match decided {
            Ok(passed @ Passed::ByRule(_)) if internal => Ok((passed, Internal::Exactly(ip))),
            Ok(_) | Err(Deny::NoRuleMatches { .. }) if internal => Err(Deny::AddressInternal),
            decided => Ok((decided?, Internal::Closed)),
        }
    }

    /// Rules by range that bear on an address, longer prefixes first; of those that name the IPv4 address inside it only
    /// the Denies: it is refused in whatever spelling, and allowed only as it is written.
    pub(super) fn by_address(&self, wall: &Wall, ip: IpAddr) -> impl Iterator<Item = (Exactness, u32)> {
        let denies =
            |(_, id): &(Exactness, u32)| self.rule(*id).is_some_and(|rule| rule.action == Action::Deny);
        let inside = wall.floor.embedded(ip).into_iter();
        let inside = inside.flat_map(|inside| self.index.by_address(inside));
        self.index.by_address(ip).chain(inside.filter(denies))
    }

    /// The first Allow that `takes`, unless any Deny matches, a rule that comes before it signs what is asked for as a
    /// tunnel, or the path cannot be compared.
    fn decide<'a>(
        &'a self,
        wall: &Wall,
        matches: impl Iterator<Item = (Exactness, u32)>,
        look: &Look<'_>,
        mut takes: impl FnMut(Exactness, &'a Rule) -> bool,
    ) -> Result<Passed, Deny> {
        let mut found = Found::default();
        for (exactness, id) in matches {
            let Some(rule) = self.rule(id) else { continue };
            if rule.forbids_tunnel(look) {
                found.unsigned(rule);
                continue;
            }
            match (rule.action, rule.fits(look)) {
                (Action::Allow, Fit::No) if rule.misses_by_http(look) => {
                    found.near = found.near.or(Some(rule))
                }
                (_, Fit::No) => {}
                (Action::Deny, Fit::Yes | Fit::Ambiguous | Fit::Hidden) => {
                    found.denied = Some(Deny::DeniedByRule {
                        rule: Arc::clone(&rule.name),
                    });
                    break;
                }
                (Action::Allow, Fit::Hidden) => found.doubt(rule, true),
                (Action::Allow, Fit::Ambiguous) => found.doubt(rule, false),
                (Action::Allow, Fit::Yes) => {
                    if found.allowed.is_none() && takes(exactness, rule) {
                        found.allowed = Some((id, rule));
                    }
                }
            }
        }
        found.verdict(wall.caps.mode(self.content.mode))
    }

    pub(super) fn rule(&self, id: u32) -> Option<&Rule> {
        self.rules.get(usize::try_from(id).ok()?)
    }
}

/// What the rules say to one request, most specific first.
#[derive(Default)]
struct Found<'a> {
    /// A Deny, or a rule that signs and comes before any Allow of the tunnel.
    denied: Option<Deny>,
    /// The Allow that decides.
    allowed: Option<(u32, &'a Rule)>,
    /// No rule may be compared with the path, whatever other rules say.
    hidden: bool,
    /// What rules ask of the proxy that come before the one that decides, and might have decided.
    doubtful: Option<&'a Settings>,
    /// They ask for different things.
    disagree: bool,
    /// An Allow that only its methods and paths keep from fitting.
    near: Option<&'a Rule>,
}

impl<'a> Found<'a> {
    /// A wider rule would let the tunnel out unsigned.
    fn unsigned(&mut self, rule: &'a Rule) {
        if self.allowed.is_none() && self.denied.is_none() {
            let rule = Arc::clone(&rule.name);
            self.denied = Some(Deny::TunnelUnsigned { rule });
        }
    }

    fn doubt(&mut self, rule: &'a Rule, hidden: bool) {
        self.hidden |= hidden;
        if self.allowed.is_none() {
            let settings = &rule.settings;
            self.disagree |= self.doubtful.is_some_and(|other| other != settings);
            self.doubtful = Some(settings);
        }
    }

    fn verdict(self, mode: Mode) -> Result<Passed, Deny> {
        // Another rule lets it through however the path is read, but must not do less to it.
        let same = |rule: &Rule| !self.disagree && self.doubtful.is_none_or(|other| *other == rule.settings);
        let denied = match (self.denied, self.allowed) {
            (Some(deny), _) => deny,
            (None, Some((id, rule))) if !self.hidden && same(rule) => return Ok(Passed::ByRule(id)),
            (None, None) if !self.hidden && self.doubtful.is_none() => Deny::NoRuleMatches {
                near: self.near.map(|rule| Arc::clone(&rule.name)),
            },
            (None, _) => Deny::PathAmbiguous,
        };
        let asks = self.disagree
            || self
                .doubtful
                .is_some_and(|settings| *settings != Settings::default());
        match (mode, &denied) {
            (Mode::Enforce, _) | (Mode::Open, Deny::DeniedByRule { .. } | Deny::TunnelUnsigned { .. }) => {
                Err(denied)
            }
            (Mode::Open, Deny::PathAmbiguous) if asks => Err(denied),
            (Mode::Report, _) => Ok(Passed::Reported(denied)),
            (Mode::Open, _) => Ok(Passed::Open),
        }
    }
}

/// Whether the wall alone lets something go on. What the internal tier has is open only by a rule.
fn within(wall: &Wall, target: &Target, ip: IpAddr) -> bool {
    let name = match target.host() {
        Host::Name(name) => wall
            .floor
            .check_name(name)
            .and_then(|()| wall.caps.check_name(name)),
        Host::Address(ip) => wall.caps.check_target(*ip, false),
    };
    let address = wall.caps.check_dialled(&wall.floor, target.host(), ip, false);
    name.is_ok()
        && address.is_ok()
        && wall.caps.check_port(target.port()).is_ok()
        && wall.floor.check_address(ip).is_ok()
}
