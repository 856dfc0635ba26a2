//! The way to the real proxy: resolved by the system, dialled, and wrapped in TLS where it speaks that.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::args::ProxyUrl;

/// To an established connection: the proxy is near.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The real proxy.
pub(super) struct Upstream {
    url: ProxyUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.url).finish()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.url.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.url.host, self.url.port)
    }
}

impl Upstream {
    pub(super) fn new(url: &ProxyUrl, ca: Option<&Path>) -> anyhow::Result<Self> {
        let tls = match (url.tls, ca) {
            (false, None) => None,
            (false, Some(_)) => anyhow::bail!("--ca is for an https:// proxy"),
            (true, ca) => {
                let mut config = ClientConfig::builder_with_provider(Arc::new(
                    rustls::crypto::aws_lc_rs::default_provider(),
                ))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots(ca)?)
                .with_no_client_auth();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                let name = ServerName::try_from(url.host.clone())
                    .context("the proxy's host is no name for a certificate")?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self {
            url: url.clone(),
            tls,
        })
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Wire>> {
        let connected = timeout(CONNECT, async {
            let stream = dial(&self.url.host, self.url.port).await?;
            crate::dial::tune(&stream)?;
            Ok(match &self.tls {
                None => Box::new(stream) as Box<dyn Wire>,
                Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
            })
        });
        connected
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the proxy is its user's own, most often a name that only the cluster's DNS knows; no client chooses it"
)]
async fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((host, port)).await
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let Some(file) = ca else {
        return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    };
    let name = file.display();
    let pem = std::fs::read(file).with_context(|| format!("failed to read {name}"))?;
    let mut roots = RootCertStore::empty();
    let pem = egressway_core::pem_text(&pem).unwrap_or_default();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.with_context(|| format!("failed to parse {name}"))?;
        roots
            .add(certificate)
            .with_context(|| format!("failed to use a certificate of {name}"))?;
    }
    anyhow::ensure!(!roots.is_empty(), "{name} holds no certificate");
    Ok(roots)
}
