//! One rule, compiled: what besides host and address it matches, and what it asks of the proxy.

use std::sync::Arc;

use ipnet::IpNet;

use super::ask::{Caller, HttpAsk};
use super::path::{self, Path};
use super::port::PortSet;
use crate::wire::document::{Action, Signing, Sni, UpstreamTls};

/// What a deciding rule asks of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether the tunnel must begin with a TLS ClientHello for the very host.
    pub sni: Sni,
    /// TLS made by the proxy.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// A signature made by the proxy.
    pub signing: Option<Arc<Signing>>,
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
    pub(super) prefixes: Vec<Path>,
}

/// Whether a rule is for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// It would depend on how the path is read.
    Ambiguous,
}

impl Rule {
    /// Of a rule that does not fit: whether only its methods and paths keep it from that.
    pub(super) fn misses_by_http(&self, port: u16, caller: Caller) -> bool {
        let for_caller = self.clients.is_none_or(|clients| clients.meets(caller));
        self.http.is_some() && for_caller && self.ports.contains(port)
    }

    /// Everything but host and address.
    pub(super) fn fits(&self, port: u16, caller: Caller, http: Option<&HttpAsk<'_>>) -> Fit {
        let for_caller = self.clients.is_none_or(|clients| clients.meets(caller));
        if !for_caller || !self.ports.contains(port) {
            return Fit::No;
        }
        match (&self.http, http) {
            (None, _) => Fit::Yes,
            (Some(_), None) => Fit::No,
            (Some(wanted), Some(asked)) => wanted.fits(asked),
        }
    }
}

impl HttpMatch {
    fn fits(&self, asked: &HttpAsk<'_>) -> Fit {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == asked.method) {
            return Fit::No;
        }
        if self.prefixes.is_empty() {
            return Fit::Yes;
        }
        match path::normalize(asked.path) {
            Ok(path) if self.prefixes.iter().any(|prefix| path.is_under(prefix)) => Fit::Yes,
            Ok(path) if self.prefixes.iter().any(|prefix| path.may_be_under(prefix)) => Fit::Ambiguous,
            Ok(_) => Fit::No,
            Err(_) => Fit::Ambiguous,
        }
    }

    /// Whether a request can fit both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let paths = self.prefixes.is_empty()
            || other.prefixes.is_empty()
            || self.prefixes.iter().any(|one| {
                let meets = |two: &Path| one.is_under(two) || two.is_under(one);
                other.prefixes.iter().any(meets)
            });
        methods && paths
    }
}
