//! One policy: its rules, its clients, and whether they fit together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Problems;
use crate::acl::ask::{CLIENTS_MAX, Caller};
use crate::acl::cidr;
use crate::acl::host::HostPattern;
use crate::acl::index::Index;
use crate::acl::path::Prefix;
use crate::acl::policy::Policy;
use crate::acl::port::PortSet;
use crate::acl::rule::{HttpMatch, Rule, Settings};
use crate::wire::document::{self, Action, Auth, Content, Scheme, Sni, Tunnels};

/// Longest lifetime of a duration in milliseconds: a day, past which no bound deserves its name.
const MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Longest name of a rule or client: a label's (RFC 1123), as the API has it.
const NAME_BYTES_MAX: usize = 63;

pub(super) fn policy(document: &document::Policy, field: &str, problems: &mut Problems) -> Policy {
    let content = &document.content;
    let (mut names, mut hosts) = (HashSet::new(), ByHost::default());
    let (mut rules, mut index) = (Vec::with_capacity(content.rules.len()), Index::default());
    let mut http_denies = Vec::new();
    for (id, rule) in (0_u32..).zip(&content.rules) {
        let field = format!("{field} rule {}", rule.name.escape_debug());
        name(&rule.name, &field, problems);
        if !names.insert(rule.name.as_str()) {
            problems.push(&field, "stands twice");
        }
        let compiled = self::rule(rule, id, content, &mut index, &field, problems);
        if rule.action == Action::Deny && rule.http.is_some() && !rule.cidrs.is_empty() {
            http_denies.push(id);
        }
        if rule.action == Action::Allow {
            let patterns = rule.hosts.iter().chain(&rule.cidrs);
            patterns.for_each(|pattern| hosts.entry(pattern).or_default().push(id));
        }
        rules.push(compiled);
    }
    conflicts(&rules, &hosts, field, problems);
    let with_credential = clients(content, field, problems);
    settings(content, field, problems);
    Policy {
        namespace: document.namespace.clone(),
        name: document.name.clone(),
        generation: document.generation,
        hash: document.hash.clone(),
        content: Content {
            rules: Vec::new(),
            ..content.clone()
        },
        with_credential,
        rules,
        http_denies,
        index,
    }
}

/// Allow rules by the very text of host or range.
type ByHost<'a> = HashMap<&'a String, Vec<u32>>;

fn rule(
    rule: &document::Rule,
    id: u32,
    content: &Content,
    index: &mut Index,
    field: &str,
    problems: &mut Problems,
) -> Rule {
    match (rule.hosts.is_empty(), rule.cidrs.is_empty()) {
        (true, true) => problems.push(field, "needs hosts or cidrs"),
        (false, false) => problems.push(field, "has both hosts and cidrs: write a rule for each"),
        (true, false) | (false, true) => {}
    }
    if rule.ports.is_empty() {
        problems.push(field, "has no ports");
    }
    for host in &rule.hosts {
        match HostPattern::parse(host) {
            Ok(pattern) => index.add_host(pattern, id),
            Err(problem) => problems.push(field, problem),
        }
    }
    let mut cidrs = Vec::with_capacity(rule.cidrs.len());
    for net in &rule.cidrs {
        match cidr::parse(net) {
            Ok(net) => {
                index.add_cidr(net, id);
                cidrs.push(net);
            }
            Err(problem) => problems.push(field, problem),
        }
    }
    let ports = PortSet::new(&rule.ports).unwrap_or_else(|problem| {
        problems.push(field, problem);
        PortSet::default()
    });
    let mut clients = (!rule.clients.is_empty()).then_some(Caller::UNKNOWN);
    for name in &rule.clients {
        match content.clients.iter().position(|client| client.name == *name) {
            Some(index) => clients = clients.map(|clients| clients.with(index)),
            None => problems.push(
                field,
                format!("clients names {name:?}, which is no client of the policy"),
            ),
        }
    }
    makes(rule, field, problems);
    Rule {
        name: Arc::from(rule.name.as_str()),
        action: rule.action,
        ports,
        clients,
        http: rule.http.as_ref().map(|http| self::http(http, field, problems)),
        cidrs,
        settings: Settings {
            sni: rule.sni,
            upstream_tls: rule.upstream_tls.clone().map(Arc::new),
            signing: rule.signing.clone().map(Arc::new),
            tunnels: rule.tunnels,
        },
    }
}

/// What a rule asks of the proxy must make sense for what it matches.
fn makes(rule: &document::Rule, field: &str, problems: &mut Problems) {
    let asks = rule.sni == Sni::MustMatch || rule.upstream_tls.is_some() || rule.signing.is_some();
    if rule.action == Action::Deny && asks {
        problems.push(field, "a Deny rule cannot have sni, upstreamTLS or signing");
    }
    if rule.sni == Sni::MustMatch && (!rule.cidrs.is_empty() || rule.http.is_some()) {
        problems.push(
            field,
            "sni: MustMatch is for tunnels to hosts, not for cidrs or http",
        );
    }
    if rule.upstream_tls.is_some() && !rule.cidrs.is_empty() {
        problems.push(
            field,
            "upstreamTLS needs hosts: a certificate is verified against a name",
        );
    }
    let Some(signing) = &rule.signing else {
        if rule.tunnels != Tunnels::Refuse {
            problems.push(
                field,
                "tunnels goes with signing: without it a rule lets tunnels through anyway",
            );
        }
        return;
    };
    if signing.secrets.is_empty() || signing.secrets.len() > 2 {
        problems.push(field, "signing needs one key, or two during rotation");
    }
    match (signing.scheme, &signing.header) {
        (Scheme::StandardWebhooks, Some(_)) => {
            problems.push(
                field,
                "signing.header goes with HMAC-SHA256 and RSA-SHA256; StandardWebhooks has its own",
            );
        }
        (Scheme::HmacSha256 | Scheme::RsaSha256, None) => {
            problems.push(
                field,
                "signing.header is missing: the name of the field that carries the signature",
            );
        }
        (Scheme::HmacSha256 | Scheme::RsaSha256, Some(header)) if !is_free_field(header) => {
            problems.push(
                field,
                format!("signing.header {header:?} is no field that a signature can stand in"),
            );
        }
        _ => {}
    }
}

/// A field name that HTTP gives no meaning of its own on the way.
fn is_free_field(name: &str) -> bool {
    const TAKEN: &[&str] = &[
        "http2-settings",
        "max-forwards",
        "connection",
        "content-length",
        "content-type",
        "content-encoding",
        "date",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "authorization",
        "cookie",
        "user-agent",
    ];
    // Servers behind CGI and WSGI read an underscore as a hyphen.
    let lower = name.to_ascii_lowercase().replace('_', "-");
    let token = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    token
        && !TAKEN.contains(&lower.as_str())
        && !lower.starts_with("proxy-")
        && !lower.starts_with("x-egressway-")
        && !lower.starts_with("x-whsentry-")
}

fn http(http: &document::Http, field: &str, problems: &mut Problems) -> HttpMatch {
    for method in &http.methods {
        let token = !method.is_empty()
            && method.len() <= 32
            && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if !token || method == "CONNECT" {
            problems.push(
                field,
                format!("http.methods {method:?} is no method of a forwarded request; write POST"),
            );
        }
    }
    let mut prefixes = Vec::with_capacity(http.path_prefixes.len());
    for prefix in &http.path_prefixes {
        match Prefix::parse(prefix) {
            Ok(prefix) => prefixes.push(prefix),
            Err(problem) => problems.push(field, format!("http.pathPrefixes {prefix:?} {problem}")),
        }
    }
    HttpMatch {
        methods: http.methods.clone(),
        prefixes,
    }
}

/// Two Allow rules that name the same host must not disagree about what the proxy does for one request.
fn conflicts(rules: &[Rule], hosts: &ByHost<'_>, field: &str, problems: &mut Problems) {
    let rule = |id: &u32| usize::try_from(*id).ok().and_then(|id| rules.get(id));
    let mut said = HashSet::new();
    for (host, ids) in hosts {
        // Rules that ask for nothing cannot disagree; a policy of a thousand plain rules is not compared pairwise.
        let asking = ids
            .iter()
            .filter_map(rule)
            .filter(|rule| rule.settings != Settings::default());
        for one in asking {
            for other in ids.iter().filter_map(rule) {
                let disagree = one.settings != other.settings && meet(one, other);
                let (a, b) = if one.name <= other.name {
                    (one, other)
                } else {
                    (other, one)
                };
                if disagree && said.insert((Arc::clone(&a.name), Arc::clone(&b.name))) {
                    problems.push(
                        format!("{field} rules {} and {}", a.name, b.name),
                        format!("both allow {host} and differ in sni, upstreamTLS, signing or tunnels: no rule is more specific"),
                    );
                }
            }
        }
    }
}

/// Whether one request can match both.
fn meet(one: &Rule, other: &Rule) -> bool {
    let clients = match (one.clients, other.clients) {
        (Some(one), Some(other)) => one.meets(other),
        (None, _) | (_, None) => true,
    };
    let http = match (&one.http, &other.http) {
        (Some(one), Some(other)) => one.overlaps(other),
        (None, _) | (_, None) => true,
    };
    clients && http && one.ports.overlaps(&other.ports)
}

/// Names stand in log lines, metrics and refusals: nothing in them may be read as something else there.
fn name(name: &str, field: &str, problems: &mut Problems) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || ends || !name.bytes().all(plain) {
        problems.push(
            field,
            "its name is none: write up to 63 lower-case letters, digits and hyphens",
        );
    }
}

/// Checks the clients; returns those with a credential.
fn clients(content: &Content, field: &str, problems: &mut Problems) -> Caller {
    let (mut names, mut with_credential) = (HashSet::new(), Caller::UNKNOWN);
    if content.clients.len() > CLIENTS_MAX {
        problems.push(field, format!("has more than {CLIENTS_MAX} clients"));
    }
    for (index, client) in content.clients.iter().enumerate() {
        let field = format!("{field} client {}", client.name.escape_debug());
        name(&client.name, &field, problems);
        if !names.insert(client.name.as_str()) {
            problems.push(&field, "stands twice");
        }
        match &client.auth {
            None if !client.pods => problems.push(&field, "needs from, auth or both"),
            None => {}
            Some(auth) => {
                with_credential = with_credential.with(index);
                credential(auth, content, &field, problems);
            }
        }
    }
    with_credential
}

fn credential(auth: &Auth, content: &Content, field: &str, problems: &mut Problems) {
    match auth {
        Auth::ServiceAccounts(accounts) => {
            let odd = |account: &&String| account.split('/').filter(|part| !part.is_empty()).count() != 2;
            if accounts.is_empty() || accounts.iter().any(|account| odd(&account)) {
                problems.push(field, "auth.serviceAccounts needs names of ServiceAccounts");
            }
        }
        Auth::Passwords(secrets) if secrets.is_empty() => {
            problems.push(field, "auth.passwordSecretRefs needs a Secret");
        }
        Auth::Passwords(_) => {}
        Auth::Certificate(certificate) => {
            if certificate.identities.is_empty() {
                problems.push(field, "auth.certificate needs identities");
            }
            if content.listener.tls.is_none() {
                problems.push(
                    field,
                    "auth.certificate needs listener.tls: only a TLS listener sees certificates",
                );
            }
        }
    }
}

fn settings(content: &Content, field: &str, problems: &mut Problems) {
    for net in &content.listener.proxy_protocol {
        if let Err(problem) = cidr::parse(net) {
            problems.push(format!("{field} listener.proxyProtocol"), problem);
        }
    }
    let times = content.timeouts;
    let limits = content.limits;
    for (name, value, max) in [
        ("timeouts.head", times.head_ms, MILLIS_MAX),
        ("timeouts.connect", times.connect_ms, MILLIS_MAX),
        ("timeouts.idle", times.idle_ms, MILLIS_MAX),
        ("timeouts.lifetime", times.lifetime_ms, 30 * MILLIS_MAX),
        ("limits.headBytes", limits.head_bytes, 1 << 20),
        ("limits.connections", limits.connections, 1 << 20),
        ("limits.tunnels", limits.tunnels, 1 << 20),
        (
            "limits.tunnelsPerDestination",
            limits.tunnels_per_destination,
            1 << 20,
        ),
        ("limits.requestsPerSecond", limits.requests_per_second, 1 << 20),
        (
            "limits.clientRequestsPerSecond",
            limits.client_requests_per_second,
            1 << 20,
        ),
        ("limits.clientConnections", limits.client_connections, 1 << 20),
        ("limits.responseBody", limits.response_body_bytes, 1 << 40),
        ("limits.signedBody", limits.signed_body_bytes, 1 << 26),
    ] {
        if value.is_some_and(|value| value == 0 || value > max) {
            problems.push(format!("{field} {name}"), format!("is not between 1 and {max}"));
        }
    }
}
