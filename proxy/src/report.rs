//! The report: what this pod enforces and sees, answered to whoever holds the fleet's key, and to nobody else.
//!
//! The pod calls nobody and holds no Kubernetes credential; the operator asks. A refusal says nothing about its cause,
//! and the answer is signed over the nonce and the pod's UID, so that no other pod and no older answer can stand in.

mod nonces;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egressway_core::wire::auth::{self, KEY_BYTES_MIN, Message};
use egressway_core::wire::report::{PATH, PolicyInForce, Report, VERSION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::nonces::Nonces;
use crate::args::Identity;
use crate::endpoint::{Answer, Endpoint, Limits, text, typed};
use crate::state::{InForce, State};

/// One operator asks, now and then two during a hand-over; the rest of the room is for strangers to be refused in.
pub const LIMITS: Limits = Limits {
    connections: 32,
    exchange: Duration::from_secs(5),
};
/// Largest key; 32 bytes are what the operator draws.
const KEY_BYTES_MAX: u64 = 4096;

/// Most Secrets that are named; the rest is counted.
const PROBLEMS_MAX: usize = 10;

/// Answers the operator.
#[derive(Debug)]
pub struct Reporter {
    identity: Identity,
    key_file: PathBuf,
    state: Arc<State>,
    nonces: Mutex<Nonces>,
}

impl Reporter {
    /// The key is read at each question, so that a rotated one counts at once.
    #[must_use]
    pub fn new(identity: Identity, key_file: PathBuf, state: Arc<State>) -> Arc<Self> {
        Arc::new(Self {
            identity,
            key_file,
            state,
            nonces: Mutex::new(Nonces::default()),
        })
    }

    /// Answers until `stop`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let endpoint = Endpoint {
            name: "report",
            listener,
            limits: LIMITS,
            tls: None,
        };
        endpoint.serve(stop, move |_, request| self.answer(request)).await;
    }

    /// Whether there is a key that could authenticate anybody; asked once at start, for the log.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key().is_some()
    }

    fn answer<B>(&self, request: &Request<B>) -> Answer {
        let Some(key) = self.key() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no report key\n");
        };
        let Some(nonce) = self.authenticate(&key, request.headers()) else {
            return text(StatusCode::UNAUTHORIZED, "not authenticated\n");
        };
        if request.uri().path() != PATH {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET\n");
        }
        // Plain structs of text and numbers; there is nothing in them that JSON cannot hold.
        let body = serde_json::to_vec(&self.report()).unwrap_or_default();
        let signature = auth::sign(&key, &nonce, &self.identity.pod_uid, Message::Answer(&body));
        let mut answer = typed(StatusCode::OK, "application/json", body);
        if let Ok(signature) = HeaderValue::try_from(signature) {
            answer.headers_mut().insert(auth::SIGNATURE_HEADER, signature);
        }
        answer
    }

    /// The nonce of a question that is signed with the key, means this pod, and was not asked before.
    fn authenticate(&self, key: &[u8], headers: &HeaderMap) -> Option<String> {
        let field = |name| {
            let mut values = headers.get_all(name).iter();
            let only = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(only)
        };
        let (nonce, pod) = (field(auth::NONCE_HEADER)?, field(auth::POD_HEADER)?);
        let own = &self.identity.pod_uid;
        if own.is_empty() || pod != own {
            return None;
        }
        if !auth::verify(key, nonce, own, Message::Request, field(auth::SIGNATURE_HEADER)?) {
            return None;
        }
        // Only nonces that the key signed get here, so nobody without it can fill the memory.
        let fresh = self.nonces.lock().is_ok_and(|mut nonces| nonces.insert(nonce));
        fresh.then(|| nonce.to_owned())
    }

    fn key(&self) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        let file = std::fs::File::open(&self.key_file).ok()?;
        file.take(KEY_BYTES_MAX).read_to_end(&mut key).ok()?;
        (key.len() >= KEY_BYTES_MIN).then_some(key)
    }

    fn report(&self) -> Report {
        let in_force = self.state.in_force();
        Report {
            version: VERSION,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            pod: self.identity.pod_name.clone(),
            uid: self.identity.pod_uid.clone(),
            cell: self.identity.cell.clone(),
            phase: self.state.phase(),
            policies: in_force
                .policies
                .iter()
                .map(|policy| PolicyInForce {
                    namespace: policy.namespace().to_owned(),
                    name: policy.name().to_owned(),
                    generation: policy.generation(),
                    hash: policy.hash().to_owned(),
                    would_deny: self.state.would_denies().of(policy),
                })
                .collect(),
            floor_hash: in_force.wall.floor.hash().to_owned(),
            pool_hash: in_force.pool_hash.clone(),
            clients_hash: in_force.clients.hash().to_owned(),
            secrets_hash: in_force.secrets.hash().to_owned(),
            load_error: self.state.load_error().or_else(|| broken_secrets(&in_force)),
            egress: self.state.egress().as_ref().clone(),
            active: self.state.active(),
        }
    }
}

/// Secrets that cannot be used are no reason to refuse documents, but the operator has to know; nothing of what they
/// hold is said.
fn broken_secrets(in_force: &InForce) -> Option<String> {
    let (problems, more) = {
        let all = in_force.secrets.problems();
        all.split_at(all.len().min(PROBLEMS_MAX))
    };
    let mut text = problems.join("; ");
    if !more.is_empty() {
        text.push_str(&format!("; and {} more", more.len()));
    }
    (!text.is_empty()).then_some(text)
}
