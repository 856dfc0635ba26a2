//! What the rule that decided has the proxy do to a forwarded request: TLS towards the origin, and a signature.
//!
//! A client can ask for TLS where a rule offers it, and for nothing else: which certificate, which roots and which key are
//! the rule's, and what a client sent in a field that the proxy writes never passes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use egressway_core::acl::Permit;
use egressway_core::wire::document::{Secret, Signing};
use rustls::HandshakeKind;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Server;
use super::connection::Connection;
use super::head::Head;
use super::held::{Held, Memory, NotHeld};
use super::hop::EndToEnd;
use super::origin::Origin;
use super::pool::TlsId;
use super::reason::{Fault, Reason};
use super::request::Request;
use crate::limits;
use crate::metrics::OutcomeLabels;
use crate::prepared::{For, Prepared};
use crate::signing::key::{Broken, KeyError};
use crate::signing::{self, Added, Occasion, Signer};
use crate::state::InForce;
use crate::upstream_tls::{Connector, Connectors, Failed, Roots};

/// What of it all requests share.
#[derive(Debug)]
pub(super) struct Makers {
    pub(super) connectors: Connectors,
    signers: Prepared<Signing, Signer, KeyError>,
    pub(super) memory: Memory,
}

impl Makers {
    pub(super) fn new(roots: Arc<Roots>) -> Self {
        Self {
            connectors: Connectors::new(roots),
            signers: Prepared::default(),
            memory: Memory::default(),
        }
    }

    /// The same within a budget of memory.
    pub(super) fn within(self, memory: &limits::memory::Memory) -> Self {
        Self {
            memory: Memory::of(memory),
            ..self
        }
    }
}

/// The terms of one request.
#[derive(Debug)]
pub(super) struct Terms {
    connector: Option<Arc<Connector>>,
    signer: Option<Arc<Signer>>,
}

/// A request's body, and the fields that sign it.
#[derive(Debug)]
pub(super) struct Signed {
    /// None where the terms changed while it was held, to such without a signature.
    signer: Option<Arc<Signer>>,
    pub(super) added: Vec<Added>,
    pub(super) body: Bytes,
    _held: Held,
}

impl Signed {
    /// Whether the proxy alone writes this field.
    pub(super) fn owns(&self, name: &[u8]) -> bool {
        self.signer.as_ref().is_some_and(|signer| signer.owns(name))
    }
}

/// Whether the client asks the proxy for TLS: `X-Egressway-TLS` or `X-WhSentry-TLS` with anything but nothing, `0` and
/// `false`. Whoever writes `1` or `yes` means it, and what was to go over TLS must not go in the clear. Both end here in
/// any case.
pub(super) fn asks_for_tls(head: &Head) -> bool {
    let says_no = |value: &[u8]| value.is_empty() || value == b"0" || value.eq_ignore_ascii_case(b"false");
    ["x-egressway-tls", "x-whsentry-tls"]
        .into_iter()
        .flat_map(|name| head.fields.all(name))
        .any(|value| !says_no(value))
}

impl Server {
    /// The terms of a request that was permitted, by the documents that permitted it; `tls` is what core decided about it.
    pub(super) fn terms(&self, request: &mut Request, permit: &Permit, tls: bool) -> Result<Terms, Reason> {
        let settings = permit.settings();
        let in_force = &Arc::clone(&request.documents);
        let policy = permit.policy();
        let whose = For {
            in_force,
            policy,
            epoch: 0,
        };
        let secret = |name: &str| secret(in_force, permit, name);
        let connector = match &settings.upstream_tls {
            Some(tls_settings) if tls => {
                let connector = self.makers.connectors.get(whose, tls_settings, secret);
                Some(connector.map_err(|failed| failure(request, failed))?)
            }
            Some(_) | None => None,
        };
        let signer = match &settings.signing {
            Some(signing) => {
                let secrets = || signing.secrets.iter().map(|one| secret(&one.name)).collect();
                let made = self
                    .makers
                    .signers
                    .get(whose, signing, secrets, |_, _| Signer::new(signing, secret));
                Some(made.map_err(|error| unusable(request, &error))?)
            }
            None => None,
        };
        Ok(Terms { connector, signer })
    }

    /// Shakes hands over a connected stream, within what is left of the time to connect.
    pub(super) async fn handshake(
        &self,
        request: &mut Request,
        permit: &Permit,
        connector: &Connector,
        stream: TcpStream,
    ) -> Result<Origin, Reason> {
        let left = request
            .limits
            .connect
            .saturating_sub(request.connect.unwrap_or_default());
        let started = Instant::now();
        let connected = connector
            .connect(permit.target().host(), stream, started + left)
            .await;
        let outcome = match &connected {
            Ok((_, HandshakeKind::Resumed)) => "resumed",
            Ok((_, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)) => "full",
            Err(failed) => failed.failure.kind.code(),
        };
        self.metrics
            .tls_handshakes
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
        let took: Duration = started.elapsed();
        request.connect = Some(request.connect.unwrap_or_default() + took);
        connected
            .map(|(origin, _)| Origin::from(origin))
            .map_err(|failed| failure(request, failed))
    }
}

impl Terms {
    /// How connections of this request differ from others to the same target.
    pub(super) fn tls_id(&self) -> Option<TlsId> {
        self.connector.as_ref().map(|connector| TlsId(connector.id()))
    }

    pub(super) fn connector(&self) -> Option<&Connector> {
        self.connector.as_deref()
    }

    /// Whether these are the terms that others are: the same TLS, and a signature by the same key.
    pub(super) fn are(&self, others: &Self) -> bool {
        let signer = match (&self.signer, &others.signer) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        signer && self.tls_id() == others.tls_id()
    }

    /// Reads and signs the body, if the rule has it signed. A body that was held `before`, on other terms, is what there is
    /// of it, and goes out from memory whether it is signed or not.
    pub(super) async fn sign(
        &self,
        server: &Server,
        client: &mut Connection,
        head: &Head,
        request: &mut Request,
        before: Option<Signed>,
    ) -> Result<Option<Signed>, NotHeld> {
        let Some(signer) = &self.signer else {
            return Ok(before.map(|before| Signed {
                signer: None,
                added: Vec::new(),
                ..before
            }));
        };
        let (body, held) = match before {
            Some(before) => (before.body, before._held),
            None => {
                let mut held = Held::read(server, client, head, &request.limits).await?;
                (held.bytes.split().freeze(), held)
            }
        };
        let id = sent_id(head);
        let signed = match occasion() {
            Some(occasion) if signer.is_slow() => {
                let (signer, body) = (Arc::clone(signer), body.clone());
                let signed = spawn_blocking(move || signer.sign(&body, None, occasion)).await;
                signed.unwrap_or_else(|_| Err(cannot_sign()))
            }
            Some(occasion) => signer.sign(&body, id, occasion),
            None => Err(cannot_sign()),
        };
        let added = signed.map_err(|error| {
            unusable(request, &error);
            NotHeld::Refused(Fault::SigningKeyUnavailable)
        })?;
        Ok(Some(Signed {
            signer: Some(Arc::clone(signer)),
            added,
            body,
            _held: held,
        }))
    }
}

/// Notes in the log what failed.
pub(super) fn failure(request: &mut Request, failed: Failed) -> Reason {
    request.detail = Some(failed.detail);
    Fault::Tls(failed.failure).into()
}

fn unusable(request: &mut Request, error: &KeyError) -> Reason {
    request.detail = Some(error.to_string().into());
    Fault::SigningKeyUnavailable.into()
}

fn cannot_sign() -> KeyError {
    KeyError::Broken("of the rule".to_owned(), Broken::CannotSign)
}

/// The client's own message id; what Connection names was for the proxy, and two say nothing.
fn sent_id(head: &Head) -> Option<&[u8]> {
    let fields = EndToEnd::of(&head.fields);
    let mut sent = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(signing::ID.as_bytes()));
    match (sent.next(), sent.next()) {
        (Some((_, id)), None) => Some(id),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// `None` where the kernel has no randomness to give.
fn occasion() -> Option<Occasion> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    let seconds = since.as_secs();
    Some(Occasion { seconds, random })
}

fn secret<'a>(in_force: &'a InForce, permit: &Permit, name: &str) -> Option<&'a Secret> {
    in_force.secrets.of(permit.policy()).secret(name)
}
