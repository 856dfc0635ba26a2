//! What only the holder of a token may see and do on the admin port: the open tunnels, what is in force, the log level.
//!
//! For a proxy that runs alone. In a fleet nobody mounts a token: the operator asks the report, which has a key of its
//! own. The file is read for each request, so that a token can be replaced.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use egressway_core::wire::document::PasswordDigest;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::endpoint::{Answer, read_only, text, typed};
use crate::log_filter;
use crate::state::State;
use crate::tunnel::live::TunnelInfo;

/// Longest token.
const TOKEN_BYTES_MAX: u64 = 4 * 1024;

/// Changes what the process logs about itself.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// Changed by this.
    pub fn new(change: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    /// For a process whose log is somebody else's.
    #[must_use]
    pub fn fixed() -> Self {
        Self::new(|_| Err("the log of this process cannot be changed".to_owned()))
    }
}

/// What the token opens.
pub struct Control {
    token_file: PathBuf,
    tunnels: Box<dyn Fn() -> Vec<TunnelInfo> + Send + Sync>,
    log_level: LogLevel,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.token_file).finish()
    }
}

/// What is in force, without anything secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy<'a> {
    namespace: &'a str,
    name: &'a str,
    generation: i64,
    hash: &'a str,
    /// The one that counts: what the policy asks for, as far as the pool lets it.
    mode: egressway_core::wire::document::Mode,
    rules: usize,
    clients: usize,
    suspended: bool,
}

impl Control {
    /// Reads the token once, so that a wrong path is noticed at the start.
    ///
    /// # Errors
    /// There is no token in the file.
    pub fn new(
        token_file: PathBuf,
        tunnels: impl Fn() -> Vec<TunnelInfo> + Send + Sync + 'static,
        log_level: LogLevel,
    ) -> io::Result<Self> {
        let control = Self {
            token_file,
            tunnels: Box::new(tunnels),
            log_level,
        };
        control.token()?;
        Ok(control)
    }

    /// `None` for every path that is not its own.
    pub(super) fn answer(&self, request: &Request<Bytes>, state: &State) -> Option<Answer> {
        let path = request.uri().path();
        if !["/tunnels", "/policy", "/log-level"].contains(&path) {
            return None;
        }
        if !self.holds_token(request) {
            let mut answer = text(StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN\n");
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(answer);
        }
        if path == "/log-level" {
            return Some(self.change_log_level(request));
        }
        if let Err(refusal) = read_only(request.method()) {
            return Some(*refusal);
        }
        Some(if path == "/tunnels" {
            json(&(self.tunnels)())
        } else {
            policies(state)
        })
    }

    fn change_log_level(&self, request: &Request<Bytes>) -> Answer {
        if *request.method() != Method::PUT {
            return text(StatusCode::METHOD_NOT_ALLOWED, "PUT\n");
        }
        let directive = String::from_utf8_lossy(request.body());
        let directive = directive.trim();
        if directive.is_empty() {
            return text(
                StatusCode::BAD_REQUEST,
                "write a level such as debug, or target=level,...\n",
            );
        }
        let filter = match log_filter::parse(directive) {
            Ok(filter) => filter,
            Err(problem) => return text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        };
        match (self.log_level.0)(filter) {
            Ok(()) => {
                warn!(directive, "the log level was changed on the admin port");
                text(StatusCode::OK, "ok\n")
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    /// Compared as digests, in constant time.
    fn holds_token(&self, request: &Request<Bytes>) -> bool {
        let presented = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|value| value.split_once(' '));
        let Some((scheme, token)) = presented else {
            return false;
        };
        match self.token() {
            Ok(own) => {
                scheme.eq_ignore_ascii_case("bearer")
                    && PasswordDigest::new("admin", &own).matches(token.trim().as_bytes())
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to read the admin token"
                );
                false
            }
        }
    }

    fn token(&self) -> io::Result<Vec<u8>> {
        let mut token = Vec::new();
        File::open(&self.token_file)?
            .take(TOKEN_BYTES_MAX)
            .read_to_end(&mut token)?;
        let token = token.trim_ascii().to_vec();
        if token.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
        }
        Ok(token)
    }
}

fn policies(state: &State) -> Answer {
    let in_force = state.in_force();
    let policies = in_force.policies.iter().map(|policy| Policy {
        namespace: policy.namespace(),
        name: policy.name(),
        generation: policy.generation(),
        hash: policy.hash(),
        mode: in_force.wall.caps.mode(policy.mode()),
        rules: policy.rule_settings().count(),
        clients: policy.clients().len(),
        suspended: policy.suspended(),
    });
    json(&policies.collect::<Vec<_>>())
}

fn json<T: Serialize>(body: &T) -> Answer {
    match serde_json::to_string_pretty(body) {
        Ok(body) => typed(StatusCode::OK, "application/json", format!("{body}\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "failed to encode the answer\n"),
    }
}
