//! One authority and one certificate for `origin.test`, made anew for each run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::args::OriginArgs;

/// The name that origins have a certificate for.
pub(crate) const ORIGIN_NAME: &str = "origin.test";

/// PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes them in `dir`.
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        // A name of its own: with the default one for both, OpenSSL takes the certificate for a self-signed one.
        authority
            .distinguished_name
            .push(DnType::CommonName, "bench authority");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![ORIGIN_NAME.to_owned()])?
            .signed_by(&key, &Issuer::new(authority, authority_key))?;
        let made = Self {
            authority: dir.join("ca.pem"),
            certificate: dir.join("origin.pem"),
            key: dir.join("origin.key"),
        };
        fs::write(&made.authority, authority_pem)?;
        fs::write(&made.certificate, certificate.pem())?;
        fs::write(&made.key, key.serialize_pem())?;
        Ok(made)
    }

    /// A client that trusts the authority and makes a full handshake each time.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority)?)?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The same for the service whose sessions cannot be resumed.
pub(crate) fn server_without_resumption(args: &OriginArgs) -> Result<ServerConfig> {
    let mut config = server(args)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What the origin's TLS services run with.
pub(crate) fn server(args: &OriginArgs) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&args.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&args.key)?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key do not fit")
}
