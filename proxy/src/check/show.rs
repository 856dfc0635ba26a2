//! Answers as text for people and as JSON for programs.

use std::fmt::Write as _;
use std::net::IpAddr;

use egressway_core::acl::{Deny, Permit, Policy, Wall};
use egressway_core::wire::document::{Mode, Scheme, Sni};
use serde::Serialize;

use super::Checked;
use super::dns::DnsAnswer;
use super::target::Asked;
use crate::alone::needed;
use crate::args::Output;
use crate::server::reason::Reason;

/// The method of a tunnel.
const TUNNEL: &str = "CONNECT";

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    Allow,
    Deny,
    /// Let through, and logged as what Enforce would refuse.
    Report,
    /// No rule refuses, and it fails all the same.
    Error,
}

impl Verdict {
    pub(super) const fn lets_through(self) -> bool {
        match self {
            Self::Allow | Self::Report => true,
            Self::Deny | Self::Error => false,
        }
    }
}

/// Whether the proxy speaks TLS to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Tls {
    None,
    Always,
    OnRequest,
    /// Without asking for it the request is refused.
    OnlyOnRequest,
}

/// One address of a name.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Address {
    ip: IpAddr,
    /// Absent where it may be dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Address {
    pub(super) fn new(ip: IpAddr, deny: Option<&Deny>) -> Self {
        Self {
            ip,
            reason: deny.map(Deny::code),
        }
    }
}

/// What a policy says to one target.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    target: String,
    pub(super) verdict: Verdict,
    policy: String,
    mode: Mode,
    /// `host:port` that would be dialled.
    pub(super) destination: String,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
    #[serde(skip)]
    pub(super) hint: Option<&'static str>,
    tls: Tls,
    sni_must_match: bool,
    /// How the proxy signs this very request.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing: Option<Scheme>,
    /// How it would sign a plain request, where this is a tunnel that the rule lets through beside them.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsigned: Option<Scheme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) addresses: Option<Vec<Address>>,
    /// What each name server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns: Option<Vec<DnsAnswer>>,
}

impl Explained {
    pub(super) fn new(policy: &Policy, wall: &Wall, asked: &Asked) -> Self {
        Self {
            target: asked.text.clone(),
            verdict: Verdict::Allow,
            policy: format!("{}/{}", policy.namespace(), policy.name()),
            mode: wall.caps.mode(policy.mode()),
            destination: asked.target.to_string(),
            method: asked
                .http
                .as_ref()
                .map_or_else(|| TUNNEL.to_owned(), |http| http.method.clone()),
            rule: None,
            reason: None,
            status: None,
            message: None,
            next: None,
            hint: None,
            tls: Tls::None,
            sni_must_match: false,
            signing: None,
            unsigned: None,
            addresses: None,
            dns: None,
        }
    }

    pub(super) fn refused(&mut self, verdict: Verdict, reason: &Reason) {
        self.verdict = verdict;
        if let Reason::Deny(deny) = reason {
            self.rule = deny.rule().map(ToOwned::to_owned).or_else(|| self.rule.take());
        }
        self.reason = Some(reason.code());
        self.status = Some(reason.status().as_u16());
        self.message = Some(reason.sentence());
        self.next = Some(reason.next_step());
    }

    pub(super) fn permitted(&mut self, permit: &Permit, tls: Tls) {
        self.destination = permit.target().to_string();
        self.rule = permit.rule().map(ToString::to_string);
        self.tls = tls;
        let settings = permit.settings();
        self.sni_must_match = settings.sni == Sni::MustMatch;
        let signing = settings.signing.as_ref().map(|signing| signing.scheme);
        if self.is_tunnel() {
            self.unsigned = signing;
        } else {
            self.signing = signing;
        }
        if let Some(deny) = permit.would_deny() {
            let reason = Reason::from(deny.clone());
            self.refused(Verdict::Report, &reason);
            self.status = None;
        }
    }

    fn is_tunnel(&self) -> bool {
        self.method == TUNNEL
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let word = match self.verdict {
            Verdict::Allow => "ALLOW",
            Verdict::Deny => "DENY",
            Verdict::Report => "REPORT",
            Verdict::Error => "ERROR",
        };
        let _ = write!(text, "{word} {}", self.target);
        match (self.verdict, &self.rule, &self.message) {
            (Verdict::Allow, Some(rule), _) => {
                let _ = write!(text, " by rule {rule} of {}", self.policy);
            }
            (Verdict::Allow, None, _) => {
                let _ = write!(
                    text,
                    " by mode {:?} of {}: no rule names it",
                    self.mode, self.policy
                );
            }
            (Verdict::Report, _, Some(message)) => {
                let _ = write!(
                    text,
                    ": let through by mode Report of {}; mode Enforce would refuse: {message}",
                    self.policy
                );
            }
            (_, _, Some(message)) => {
                let _ = write!(text, ": {message}, says {}", self.policy);
            }
            (_, _, None) => {}
        }
        let mut line = |label: &str, value: String| {
            let _ = write!(text, "\n  {label:<12}{value}");
        };
        line("request", format!("{} {}", self.method, self.destination));
        match (self.reason, self.status) {
            (Some(reason), Some(status)) => line("reason", format!("{reason} (status {status})")),
            (Some(reason), None) => line("reason", reason.to_owned()),
            (None, _) => {}
        }
        if let Some(next) = self.next {
            line("next", next.to_owned());
        }
        if let Some(hint) = self.hint {
            line("hint", hint.to_owned());
        }
        match self.tls {
            Tls::None => {}
            Tls::Always => line("TLS", "made by the proxy".to_owned()),
            Tls::OnRequest => line(
                "TLS",
                "made by the proxy where the request has X-Egressway-TLS: true".to_owned(),
            ),
            Tls::OnlyOnRequest => {
                line(
                    "TLS",
                    "made by the proxy; without X-Egressway-TLS: true the request is refused".to_owned(),
                );
            }
        }
        if self.sni_must_match {
            line(
                "SNI",
                "the tunnel must begin with a TLS ClientHello for this host".to_owned(),
            );
        }
        if let Some(signing) = self.signing {
            line("signing", format!("{}, over the body", signing.name()));
        }
        if let Some(signing) = self.unsigned {
            line(
                "signing",
                format!(
                    "none in a tunnel; http:// requests are signed by {}",
                    signing.name()
                ),
            );
        }
        for address in self.addresses.iter().flatten() {
            let verdict = address
                .reason
                .map_or_else(|| "passes".to_owned(), |reason| format!("refused: {reason}"));
            line("address", format!("{} {verdict}", address.ip));
        }
        for answer in self.dns.iter().flatten() {
            line("name server", answer.to_string());
        }
        text
    }
}

/// All answers.
pub(super) fn answers(answers: &[Explained], output: Output) -> anyhow::Result<String> {
    if output.is_json() {
        return Ok(serde_json::to_string_pretty(answers)?);
    }
    let texts: Vec<_> = answers.iter().map(Explained::text).collect();
    Ok(texts.join("\n"))
}

/// What a good policy holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    policy: String,
    hash: String,
    mode: Mode,
    rules: usize,
    hosts: usize,
    cidrs: usize,
    clients: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pool: String,
    /// `NAME/KEY` of what it needs.
    secrets: Vec<String>,
    /// What only a cluster acts on.
    without_effect: Vec<String>,
    /// What has no effect anywhere, or more than its author may have meant.
    warnings: Vec<String>,
}

/// One line, or one object, for a policy that can be enforced.
pub(super) fn summary(checked: &Checked, output: Output) -> anyhow::Result<String> {
    let documents = &checked.documents;
    let Some(policy) = documents.policies.policies.first() else {
        return Ok(String::new());
    };
    let (rules, content) = (&policy.content.rules, &policy.content);
    let secrets = needed(content);
    let summary = Summary {
        policy: format!("{}/{}", policy.namespace, policy.name),
        hash: policy.hash.clone(),
        mode: checked.in_force.wall.caps.mode(content.mode),
        rules: rules.len(),
        hosts: rules.iter().map(|rule| rule.hosts.len()).sum(),
        cidrs: rules.iter().map(|rule| rule.cidrs.len()).sum(),
        clients: content.clients.len(),
        pool: documents.pool.name.clone(),
        secrets: secrets
            .iter()
            .filter(|one| !one.is_optional())
            .map(|one| format!("{}/{}", one.name, one.key))
            .collect(),
        without_effect: documents.idle.clone(),
        warnings: checked.warnings.clone(),
    };
    if output.is_json() {
        return Ok(serde_json::to_string_pretty(&summary)?);
    }
    let mut text = format!(
        "policy ok: {}: {} rules, {} hosts, {} ranges, {} clients, mode {:?}",
        summary.policy, summary.rules, summary.hosts, summary.cidrs, summary.clients, summary.mode
    );
    if content.mode != summary.mode {
        let _ = write!(
            text,
            " (it asks for {:?}, the pool does not let it)",
            content.mode
        );
    }
    for (label, list) in [
        ("Secrets", &summary.secrets),
        ("without effect outside of a cluster", &summary.without_effect),
    ] {
        if !list.is_empty() {
            let _ = write!(text, "\n  {label}: {}", list.join(", "));
        }
    }
    for warning in &summary.warnings {
        let _ = write!(text, "\n  warning: {warning}");
    }
    Ok(text)
}
