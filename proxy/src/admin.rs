//! Health and metrics on a port of their own, so that a full data path cannot fail a probe.
//!
//! Unauthenticated, and nothing secret: no target, no client, no error text of a request. What is for the holder of a
//! token alone is [`Control`]'s.

mod control;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::control::{Control, LogLevel};
use crate::endpoint::{Answer, Endpoint, Limits, read_only, text, typed};
use crate::state::State;

/// A kubelet, a scraper or two and a person.
pub const LIMITS: Limits = Limits {
    connections: 64,
    exchange: Duration::from_secs(5),
};
/// What `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers probes and scrapes.
#[derive(Debug)]
pub struct Admin {
    state: Arc<State>,
    registry: Registry,
    control: Option<Control>,
}

impl Admin {
    /// With every metric of the process registered.
    #[must_use]
    pub fn new(state: Arc<State>, registry: Registry) -> Self {
        Self {
            state,
            registry,
            control: None,
        }
    }

    /// With what only the holder of a token may see and do; without it none of that is there.
    #[must_use]
    pub fn with_control(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Answers until `stop`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let endpoint = Endpoint {
            name: "admin",
            listener,
            limits: LIMITS,
            tls: None,
        };
        endpoint.serve(stop, move |_, request| self.answer(request)).await;
    }

    fn answer(&self, request: &Request<Bytes>) -> Answer {
        if let Some(answer) = self
            .control
            .as_ref()
            .and_then(|control| control.answer(request, &self.state))
        {
            return answer;
        }
        if let Err(refusal) = read_only(request.method()) {
            return *refusal;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "not found; try /livez /readyz /metrics\n"),
        }
    }

    /// The body is for the person who asks why.
    fn ready(&self) -> Answer {
        let phase = self.state.phase();
        if self.state.ready() {
            // Still ready: what is in force is the last that was good. Why is in the process's own lines.
            let newest = match self.state.load_error() {
                None => "ok\n",
                Some(_) => "ok, but the newest documents are refused and the last good ones stay in force\n",
            };
            return text(StatusCode::OK, newest);
        }
        let policy = if self.state.in_force().policies.is_empty() {
            "no policy in force"
        } else {
            "policy in force"
        };
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: phase {phase:?}, {policy}\n"),
        )
    }

    fn metrics(&self) -> Answer {
        let mut body = String::new();
        match encode(&mut body, &self.registry) {
            Ok(()) => typed(StatusCode::OK, OPENMETRICS, body),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "failed to encode metrics\n"),
        }
    }
}
