//! The observer: an HTTP echo that answers with the address a connection came from.
//!
//! A team hosts it *outside* of the cluster, where it sees the address that a NAT gave a connection; inside it would
//! see the pod's. It answers with the TCP peer alone: no field of the request can change it, so behind a load balancer
//! that does not keep the client's address it answers with the balancer's, and is useless by design rather than wrong
//! by configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use egressway_core::pem_text;
use http::{Request, StatusCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::ObserverArgs;
use crate::endpoint::{self, Answer, Endpoint, Limits};

/// An answer takes milliseconds; 512 at once is thousands a second, and small enough for the smallest machine.
pub const LIMITS: Limits = Limits {
    connections: 512,
    exchange: Duration::from_secs(10),
};

/// A bound observer.
#[derive(Debug)]
pub struct Observer {
    endpoints: Vec<Endpoint>,
}

impl Observer {
    /// Reads the certificate and binds every address.
    ///
    /// # Errors
    /// What could not be read or bound.
    pub fn bind(args: &ObserverArgs) -> anyhow::Result<Self> {
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(cert), Some(key)) => Some(tls(&std::fs::read(cert)?, &std::fs::read(key)?)?),
            (None, None) => None,
            // clap requires both or none.
            (Some(_), None) | (None, Some(_)) => anyhow::bail!("--tls-cert and --tls-key belong together"),
        };
        let endpoints = args
            .listen
            .iter()
            .map(|addr| {
                Ok(Endpoint {
                    name: "observer",
                    listener: crate::listen::bind(*addr)
                        .with_context(|| format!("failed to listen on {addr}"))?,
                    limits: LIMITS,
                    tls: tls.clone(),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { endpoints })
    }

    /// Where it listens, in the order of the arguments.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.listener.local_addr())
            .collect()
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// The kernel does not say where it listens.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        info!(addresses = ?self.addresses()?, version = env!("CARGO_PKG_VERSION"), "observer listens");
        let mut endpoints = JoinSet::new();
        for endpoint in self.endpoints {
            endpoints.spawn(endpoint.serve(stop.clone(), echo));
        }
        endpoints.join_all().await;
        Ok(())
    }
}

/// Serves one plain listener until `stop`; for tests and for embedding.
pub async fn serve(listener: TcpListener, stop: CancellationToken) {
    let endpoint = Endpoint {
        name: "observer",
        listener,
        limits: LIMITS,
        tls: None,
    };
    endpoint.serve(stop, echo).await;
}

fn echo(peer: SocketAddr, request: &Request<Bytes>) -> Answer {
    match endpoint::read_only(request.method()) {
        Ok(()) => endpoint::text(StatusCode::OK, format!("{}\n", peer.ip().to_canonical())),
        Err(refusal) => *refusal,
    }
}

fn tls(cert: &[u8], key: &[u8]) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let cert = pem_text(cert).context("--tls-cert holds no PEM")?;
    let key = pem_text(key).context("--tls-key holds no PEM")?;
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("failed to parse --tls-cert")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("failed to parse --tls-key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key do not fit")?;
    Ok(Arc::new(config))
}
