//! An EgressPolicy's spec as the content that a proxy enforces.

use super::policy::{self, PolicySpec};
use crate::acl::compile::Problems;
use crate::wire::document::{
    self, Action, Client, ClientCertificate, Content, Encoding, Http, Listener, ListenerTls, Mode, Revoke,
    Rule, Scheme, SecretRef, Signing, Sni, TlsVersion, Tunnels, UpstreamTls, When,
};
use crate::{duration, quantity};

/// Where the policy is enforced, which is what absent `clients` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a fleet: the pods of the policy's namespace.
    Cluster,
    /// Alone: whoever reaches the listener.
    Alone,
}

/// Name of the client that stands for the pods of the namespace where a policy names no clients.
pub const ALL_PODS: &str = "namespace";
/// The port of an Allow rule that names none.
const HTTPS: document::PortRange = document::PortRange {
    port: 443,
    end_port: None,
};
/// The ports of a Deny rule that names none.
const EVERY_PORT: document::PortRange = document::PortRange {
    port: 1,
    end_port: Some(u16::MAX),
};

/// The content of a policy. What it means is compiled by [`crate::acl::compile`], which finds the rest of the problems.
///
/// # Errors
/// Every value that is none of its kind, with its field.
pub fn content(spec: &PolicySpec, namespace: &str, place: Place) -> Result<Content, Problems> {
    let (content, problems) = draft(spec, namespace, place);
    problems.into_result(content)
}

/// The same for whoever goes on to look for the compiler's problems in one go: what is none of its kind has its default.
#[must_use]
pub fn draft(spec: &PolicySpec, namespace: &str, place: Place) -> (Content, Problems) {
    let mut problems = Problems::default();
    let p = &mut problems;
    let clients = match (&spec.clients, place) {
        (Some(clients), _) => {
            if clients.is_empty() {
                p.push("spec.clients", "is empty: leave it out, or name a client");
            }
            clients
                .iter()
                .map(|client| self::client(client, namespace, place, p))
                .collect()
        }
        (None, Place::Cluster) => vec![Client {
            name: ALL_PODS.to_owned(),
            pods: true,
            auth: None,
        }],
        (None, Place::Alone) => Vec::new(),
    };
    let times = spec.timeouts.clone().unwrap_or_default();
    let limits = spec.limits.clone().unwrap_or_default();
    let content = Content {
        suspended: spec.suspend.unwrap_or(false),
        closed: None,
        mode: choose("spec.mode", spec.mode.as_deref(), MODES, p),
        listener: spec.listener.as_ref().map(listener).unwrap_or_default(),
        clients,
        rules: spec.rules.iter().map(|rule| self::rule(rule, p)).collect(),
        timeouts: document::Timeouts {
            head_ms: millis("spec.timeouts.head", times.head.as_deref(), p),
            connect_ms: millis("spec.timeouts.connect", times.connect.as_deref(), p),
            idle_ms: millis("spec.timeouts.idle", times.idle.as_deref(), p),
            lifetime_ms: millis("spec.timeouts.lifetime", times.lifetime.as_deref(), p),
        },
        limits: document::Limits {
            head_bytes: bytes("spec.limits.headBytes", limits.head_bytes.as_ref(), p),
            connections: count("spec.limits.connections", limits.connections, p),
            tunnels: count("spec.limits.tunnels", limits.tunnels, p),
            tunnels_per_destination: count(
                "spec.limits.tunnelsPerDestination",
                limits.tunnels_per_destination,
                p,
            ),
            requests_per_second: count("spec.limits.requestsPerSecond", limits.requests_per_second, p),
            client_requests_per_second: count(
                "spec.limits.clientRequestsPerSecond",
                limits.client_requests_per_second,
                p,
            ),
            client_connections: count("spec.limits.clientConnections", limits.client_connections, p),
            response_body_bytes: bytes("spec.limits.responseBody", limits.response_body.as_ref(), p),
            signed_body_bytes: bytes("spec.limits.signedBody", limits.signed_body.as_ref(), p),
        },
        revoke_tunnels: choose("spec.revokeTunnels", spec.revoke_tunnels.as_deref(), REVOKE, p),
    };
    (content, problems)
}

pub(super) const MODES: &[(&str, Mode)] = &[
    ("Enforce", Mode::Enforce),
    ("Report", Mode::Report),
    ("Open", Mode::Open),
];
const REVOKE: &[(&str, Revoke)] = &[("Immediate", Revoke::Immediate), ("OnClose", Revoke::OnClose)];
const ACTIONS: &[(&str, Action)] = &[("Allow", Action::Allow), ("Deny", Action::Deny)];
const SNI: &[(&str, Sni)] = &[("Ignore", Sni::Ignore), ("MustMatch", Sni::MustMatch)];
const TUNNELS: &[(&str, Tunnels)] = &[("Refuse", Tunnels::Refuse), ("Allow", Tunnels::Allow)];
const WHEN: &[(&str, When)] = &[("Always", When::Always), ("OnRequest", When::OnRequest)];
const VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
const ENCODINGS: &[(&str, Encoding)] = &[
    ("Hex", Encoding::Hex),
    ("Base64", Encoding::Base64),
    ("PrefixedHex", Encoding::PrefixedHex),
];
const SCHEMES: &[(&str, Scheme)] = &[
    ("StandardWebhooks", Scheme::StandardWebhooks),
    ("HMAC-SHA256", Scheme::HmacSha256),
    ("RSA-SHA256", Scheme::RsaSha256),
];

fn listener(listener: &policy::Listener) -> Listener {
    let sources = listener
        .proxy_protocol
        .as_ref()
        .map(|proxy| proxy.sources.clone());
    Listener {
        tls: listener.tls.as_ref().map(|tls| ListenerTls {
            certificate: tls.certificate_ref.name.clone(),
        }),
        proxy_protocol: sources.unwrap_or_default(),
    }
}

fn client(client: &policy::Client, namespace: &str, place: Place, problems: &mut Problems) -> Client {
    let field = format!("spec.clients {}", client.name);
    if client.from.is_some() && place == Place::Alone {
        problems.push(
            &field,
            "from names pods, and there are none outside of a cluster: use auth",
        );
    }
    let given = client.auth.as_ref().map(|auth| {
        (
            &auth.service_accounts,
            &auth.password_secret_refs,
            &auth.certificate,
        )
    });
    let auth = match given {
        None => None,
        Some((Some(accounts), None, None)) => {
            let full = |account: &String| format!("{namespace}/{account}");
            Some(document::Auth::ServiceAccounts(
                accounts.iter().map(full).collect(),
            ))
        }
        Some((None, Some(refs), None)) => {
            Some(document::Auth::Passwords(refs.iter().map(secret_ref).collect()))
        }
        Some((None, None, Some(certificate))) => Some(document::Auth::Certificate(ClientCertificate {
            ca: certificate.ca_ref.name.clone(),
            identities: certificate.identities.clone(),
        })),
        Some(_) => {
            problems.push(
                &field,
                "auth has exactly one of serviceAccounts, passwordSecretRefs and certificate; write a client for each",
            );
            None
        }
    };
    Client {
        name: client.name.clone(),
        pods: client.from.is_some(),
        auth,
    }
}

fn rule(rule: &policy::Rule, problems: &mut Problems) -> Rule {
    let field = |name: &str| format!("spec.rules {} {name}", rule.name);
    let signing = rule.signing.as_ref();
    if signing.is_some_and(|signing| signing.scheme == "StandardWebhooks" && signing.encoding.is_some()) {
        problems.push(
            field("signing.encoding"),
            "goes with HMAC-SHA256 and RSA-SHA256; StandardWebhooks has its own",
        );
    }
    let http = rule.http.as_ref().map(|http| Http {
        methods: http.methods.clone().unwrap_or_default(),
        path_prefixes: http.path_prefixes.clone().unwrap_or_default(),
    });
    let action = choose(&field("action"), rule.action.as_deref(), ACTIONS, problems);
    // Whoever denies a host and names no port does not mean to leave its other ports open.
    let unnamed = match action {
        Action::Allow => HTTPS,
        Action::Deny => EVERY_PORT,
    };
    Rule {
        name: rule.name.clone(),
        action,
        hosts: rule.hosts.clone().unwrap_or_default(),
        cidrs: rule.cidrs.clone().unwrap_or_default(),
        ports: rule.ports.as_deref().map_or_else(|| vec![unnamed], ports),
        clients: rule.clients.clone().unwrap_or_default(),
        http,
        sni: choose(&field("sni"), rule.sni.as_deref(), SNI, problems),
        upstream_tls: rule.upstream_tls.as_ref().map(|tls| UpstreamTls {
            when: choose(&field("upstreamTLS.when"), tls.when.as_deref(), WHEN, problems),
            client_certificate: tls.client_certificate_ref.as_ref().map(|name| name.name.clone()),
            ca: tls.ca_ref.as_ref().map(|name| name.name.clone()),
            min_version: choose(
                &field("upstreamTLS.minVersion"),
                tls.min_version.as_deref(),
                VERSIONS,
                problems,
            ),
        }),
        signing: rule.signing.as_ref().map(|signing| Signing {
            scheme: choose(&field("signing.scheme"), Some(&signing.scheme), SCHEMES, problems),
            secrets: signing.secret_refs.iter().map(secret_ref).collect(),
            header: signing.header.clone(),
            encoding: choose(
                &field("signing.encoding"),
                signing.encoding.as_deref(),
                ENCODINGS,
                problems,
            ),
        }),
        tunnels: choose(&field("tunnels"), rule.tunnels.as_deref(), TUNNELS, problems),
    }
}

fn secret_ref(secret: &policy::SecretKeyRef) -> SecretRef {
    SecretRef {
        name: secret.name.clone(),
        key: secret.key.clone(),
    }
}

/// Ports that are no ports become 0, which the compiler refuses.
pub(super) fn ports(ranges: &[policy::PortRange]) -> Vec<document::PortRange> {
    let port = |port: i64| u16::try_from(port).unwrap_or(0);
    let range = |range: &policy::PortRange| document::PortRange {
        port: port(range.port),
        end_port: range.end_port.map(port),
    };
    ranges.iter().map(range).collect()
}

/// The value of a word; absent, the default.
pub(super) fn choose<T: Copy + Default>(
    field: &str,
    word: Option<&str>,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> T {
    let Some(word) = word else { return T::default() };
    match words.iter().find(|(known, _)| *known == word) {
        Some((_, value)) => *value,
        None => {
            let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
            problems.push(field, format!("{word:?} is none of {}", known.join(", ")));
            T::default()
        }
    }
}

fn millis(field: &str, text: Option<&str>, problems: &mut Problems) -> Option<u64> {
    let parsed = duration::parse(text?);
    let duration = parsed.map_err(|error| problems.push(field, error)).ok()?;
    Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn bytes(field: &str, quantity: Option<&policy::Quantity>, problems: &mut Problems) -> Option<u64> {
    match quantity? {
        policy::Quantity::Number(bytes) => Some(*bytes),
        policy::Quantity::Text(text) => quantity::parse(text)
            .map_err(|error| problems.push(field, error))
            .ok(),
    }
}

fn count(field: &str, number: Option<i64>, problems: &mut Problems) -> Option<u64> {
    let number = number?;
    u64::try_from(number)
        .map_err(|_| problems.push(field, format!("{number} is negative")))
        .ok()
}
