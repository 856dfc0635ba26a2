//! TLS that the proxy makes towards destinations, where a rule has it do so.
//!
//! A destination is verified against the name that was asked for and against the roots that the rule names, or the
//! process's. Whatever the rule asks for and cannot be had refuses the request: there is no connection without the
//! client certificate, with other roots, or without TLS instead. Which requests come here is decided in core.

mod connector;
pub mod failure;
pub mod roots;
mod sessions;
mod stream;
mod verifier;
pub(crate) mod x509;

use std::sync::Arc;

use egressway_core::wire::document::{Secret, UpstreamTls};

pub use self::connector::Connector;
pub use self::failure::{Failed, Failure};
pub use self::roots::Roots;
pub use self::stream::TlsOrigin;
use crate::prepared::{For, Prepared};

/// The connectors of all rules.
#[derive(Debug)]
pub(crate) struct Connectors {
    roots: Arc<Roots>,
    prepared: Prepared<UpstreamTls, Connector, Failed>,
}

impl Connectors {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            prepared: Prepared::default(),
        }
    }

    /// The connector for a rule's settings; `secret` finds the policy's Secrets by name.
    pub(crate) fn get<'s>(
        &self,
        whose: For<'_>,
        settings: &UpstreamTls,
        secret: impl Fn(&str) -> Option<&'s Secret>,
    ) -> Result<Arc<Connector>, Failed> {
        let roots = self.roots.current();
        let whose = For {
            epoch: roots.version,
            ..whose
        };
        let named = [&settings.ca, &settings.client_certificate];
        let secrets = || {
            let find = |name: &Option<String>| name.as_deref().and_then(&secret);
            named.map(find).to_vec()
        };
        self.prepared.get(whose, settings, secrets, |secrets, before| {
            let (ca, certificate) = match secrets {
                [ca, certificate] => (*ca, *certificate),
                _ => (None, None),
            };
            Connector::new(settings, ca, certificate, &roots.store, before)
        })
    }
}
