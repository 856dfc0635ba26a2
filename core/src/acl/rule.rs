//! One rule, compiled: what besides host and address it matches, and what it asks of the proxy.

use std::cell::OnceCell;
use std::sync::Arc;

use ipnet::IpNet;

use super::ask::{Caller, HttpAsk};
use super::path::{self, Doubt, Prefix, Reading};
use super::port::PortSet;
use crate::wire::document::{Action, Signing, Sni, Tunnels, UpstreamTls};

/// What a deciding rule asks of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether the tunnel must begin with a TLS ClientHello for the very host.
    pub sni: Sni,
    /// TLS made by the proxy.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// A signature made by the proxy.
    pub signing: Option<Arc<Signing>>,
    /// What becomes of tunnels, in which nothing can be signed.
    pub tunnels: Tunnels,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    pub(super) ports: PortSet,
    /// `None`: every client.
    pub(super) clients: Option<Caller>,
    pub(super) http: Option<HttpMatch>,
    /// Its ranges, for the exceptions of the internal tier.
    pub(super) cidrs: Vec<IpNet>,
    pub(super) settings: Settings,
}

/// Methods and paths.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpMatch {
    pub(super) methods: Vec<String>,
    pub(super) prefixes: Vec<Prefix>,
}

/// A request as one rule after the other looks at it. Its path is read at most once, and only where a rule compares paths.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) port: u16,
    pub(super) caller: Caller,
    pub(super) http: Option<HttpAsk<'a>>,
    path: OnceCell<Result<Reading<'a>, Doubt>>,
}

/// Whether a rule is for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// It would depend on how the path is read.
    Ambiguous,
    /// The path hides what no rule may be compared with.
    Hidden,
}

impl<'a> Look<'a> {
    pub(super) fn new(port: u16, caller: Caller, http: Option<HttpAsk<'a>>) -> Self {
        Self {
            port,
            caller,
            http,
            path: OnceCell::new(),
        }
    }
}

impl Rule {
    /// Everything but host and address.
    pub(super) fn fits(&self, look: &Look<'_>) -> Fit {
        if !self.is_for(look) {
            return Fit::No;
        }
        match (&self.http, &look.http) {
            (None, _) => Fit::Yes,
            (Some(_), None) => Fit::No,
            (Some(wanted), Some(asked)) => wanted.fits(self.action, asked, &look.path),
        }
    }

    /// Of a rule that does not fit: whether only its methods and paths keep it from that.
    pub(super) fn misses_by_http(&self, look: &Look<'_>) -> bool {
        self.http.is_some() && self.is_for(look)
    }

    /// Whether the rule signs what is asked for as a tunnel, in which nothing can be signed. That it is for some plain
    /// requests alone makes no difference: inside of the tunnel they would go out unsigned.
    pub(super) fn forbids_tunnel(&self, look: &Look<'_>) -> bool {
        let signs = self.settings.signing.is_some() && self.settings.tunnels == Tunnels::Refuse;
        self.action == Action::Allow && signs && look.http.is_none() && self.is_for(look)
    }

    /// Whether whatever the other rule is for, host and address aside, this one is for as well.
    pub(super) fn takes_all_of(&self, other: &Self) -> bool {
        let clients = match (self.clients, other.clients) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own.and(others) == others,
        };
        clients && self.http.is_none() && self.ports.covers(&other.ports)
    }

    fn is_for(&self, look: &Look<'_>) -> bool {
        self.clients.is_none_or(|clients| clients.meets(look.caller)) && self.ports.contains(look.port)
    }
}

impl HttpMatch {
    fn fits<'a>(
        &self,
        action: Action,
        asked: &HttpAsk<'a>,
        path: &OnceCell<Result<Reading<'a>, Doubt>>,
    ) -> Fit {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == asked.method) {
            return Fit::No;
        }
        if self.prefixes.is_empty() {
            return Fit::Yes;
        }
        let path = match path.get_or_init(|| path::read(asked.path)) {
            Ok(path) => path,
            Err(Doubt::Hidden) => return Fit::Hidden,
            Err(Doubt::Odd) => return Fit::Ambiguous,
        };
        let mut prefixes = self.prefixes.iter();
        if prefixes.any(|prefix| path.is_under(prefix)) {
            return Fit::Yes;
        }
        let mut prefixes = self.prefixes.iter();
        if action == Action::Deny && prefixes.any(|prefix| path.looks_under(prefix)) {
            return Fit::Yes;
        }
        if self.prefixes.iter().any(|prefix| path.may_be_under(prefix)) {
            return Fit::Ambiguous;
        }
        Fit::No
    }

    /// Whether a request can fit both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let paths = self.prefixes.is_empty()
            || other.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|one| other.prefixes.iter().any(|two| one.meets(two)));
        methods && paths
    }
}
