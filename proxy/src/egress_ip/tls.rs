//! TLS towards observers: the roots of the process, or the bundle that the pool gives for one observer instead.
//!
//! No resumption and no early data: each probe is a fresh connection on purpose.

use std::sync::Arc;

use egressway_core::acl::Host;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::upstream_tls::roots::Bundle;

/// The client's side of TLS.
pub(super) fn config(
    ca_bundle: Option<&str>,
    roots: &Arc<RootCertStore>,
) -> Result<Arc<ClientConfig>, String> {
    let roots = match ca_bundle {
        None => Arc::clone(roots),
        Some(pem) => {
            Bundle::parse(pem.as_bytes())
                .map_err(|error| format!("caBundle: {error}"))?
                .store
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name that the certificate must be for: the URL's host, be it a name or an address.
pub(super) fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string()),
        Host::Address(ip) => Ok(ServerName::IpAddress((*ip).into())),
    }
}
