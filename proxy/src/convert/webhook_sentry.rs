//! Webhook Sentry's configuration: everything public over plain HTTP to the proxy, TLS made by it on request.

use anyhow::Context as _;
use egressway_core::manifest::{Http, Limits, Name, PolicySpec, Quantity, Rule, Timeouts, UpstreamTls};

use super::Converted;
use super::keys::Keys;
use super::smokescreen_acl::none_here;
use super::values::{SERVER_TLS, any_port, go_duration, range, tier, tls_listener};

/// Its defaults, which are what a configuration means that leaves a key out.
const PORT: u16 = 9090;
const CONNECT: &str = "10s";
const READ: &str = "10s";
const LIFETIME: &str = "60s";
const BODY_BYTES: &str = "1048576";
/// Name of the Secret with the certificate that it shows to origins.
const CLIENT_TLS: &str = "client-tls";

pub(super) fn convert(mut keys: Keys) -> anyhow::Result<Converted> {
    none_here(&keys)?;
    let mut converted = Converted::default();
    let notes = &mut converted.notes;
    let (mut listener, mut plain) = (None, false);
    let mut listeners: Vec<Keys> = keys.object("listener")?.into_iter().collect();
    listeners.extend(keys.objects("listeners")?);
    if listeners.is_empty() {
        notes.push(format!(
            "listener: give --listen '[::]:{PORT}' to the proxy, where Webhook Sentry listens"
        ));
    }
    for mut one in listeners {
        if let Some(address) = one.text("address")? {
            notes.push(format!(
                "listener: give --listen ADDR:PORT for {address} to the proxy"
            ));
        }
        if one.text("type")?.as_deref() == Some("https") {
            listener = Some(tls_listener());
            notes.push(format!(
                "listener: put certFile and keyFile into Secret {SERVER_TLS} as tls.crt and tls.key"
            ));
        } else {
            plain = true;
        }
        let _ = (one.text("certFile")?, one.text("keyFile")?);
        one.rest(notes);
    }
    if plain && listener.is_some() {
        notes.push(
            "listener of type http: a policy's listener speaks TLS or does not; run a second proxy without listener.tls for it"
                .to_owned(),
        );
    }
    let client_certificate = match (keys.text("clientCertFile")?, keys.text("clientKeyFile")?) {
        (None, None) => None,
        (cert, key) => {
            notes.push(format!(
                "client certificate: put {} and {} into Secret {CLIENT_TLS} as tls.crt and tls.key",
                cert.unwrap_or_default(),
                key.unwrap_or_default()
            ));
            Some(Name {
                name: CLIENT_TLS.to_owned(),
            })
        }
    };
    let mut duration = |key: &str, default: &str| -> anyhow::Result<Option<String>> {
        let text = keys.text(key)?.unwrap_or_else(|| default.to_owned());
        Ok(go_duration(key, Some(text), notes))
    };
    let timeouts = Timeouts {
        head: None,
        connect: duration("connectTimeout", CONNECT)?,
        idle: duration("readTimeout", READ)?,
        lifetime: duration("connectionLifetime", LIFETIME)?,
    };
    let body = keys
        .text("maxResponseBodySize")?
        .unwrap_or_else(|| BODY_BYTES.to_owned());
    let body: u64 = body
        .parse()
        .context("maxResponseBodySize is no number of bytes")?;
    let mut rules = rules(client_certificate);
    if let Some(denied) = denied(&mut keys, notes)? {
        rules.push(denied);
    }
    for (key, advice) in [
        (
            "mitmIssuerCertFile",
            "TLS is never broken open: CONNECT has no rule here; clients send http:// and X-WhSentry-TLS",
        ),
        ("mitmIssuerKeyFile", "TLS is never broken open"),
        (
            "insecureSkipCertVerification",
            "certificates of destinations are always verified; name a private CA with upstreamTLS.caRef",
        ),
        (
            "insecureSkipCidrDenyList",
            "the SSRF floor always holds; --insecure-allow CIDR is for tests",
        ),
        (
            "mozillaCaCerts",
            "give --roots FILE to the proxy where the roots built into it are not wanted",
        ),
        ("accessLog", "give --log-format and --log-file to the proxy"),
        (
            "proxyLog",
            "the environment variable EGRESSWAY_LOG has the level; lines go to standard error",
        ),
        ("metrics", "are on the admin port: --admin ADDR, /metrics"),
        (
            "requestIDHeader",
            "the proxy gives each request an id of its own, X-Egressway-Id, and passes yours on",
        ),
    ] {
        keys.note(key, advice, notes);
    }
    keys.rest(notes);
    notes.push(
        "X-WhSentry-ClientCert: the rule decides which certificate is shown, not the request".to_owned(),
    );
    notes.push("destinations written as addresses get no TLS made by the proxy: a certificate is verified against a name, and who asks for it there is refused".to_owned());
    let spec = PolicySpec {
        listener,
        rules,
        timeouts: Some(timeouts),
        limits: (body > 0).then(|| Limits {
            response_body: Some(Quantity::Number(body)),
            ..Limits::default()
        }),
        ..PolicySpec::default()
    };
    converted.policies.push(("webhooks".to_owned(), spec));
    Ok(converted)
}

/// Plain HTTP to everywhere; CONNECT matches no rule with `http`.
fn rules(client_certificate: Option<Name>) -> Vec<Rule> {
    let rule = |name: &str| Rule {
        name: name.to_owned(),
        ports: any_port(),
        http: Some(Http::default()),
        ..Rule::default()
    };
    vec![
        Rule {
            hosts: Some(vec!["*".to_owned()]),
            upstream_tls: Some(UpstreamTls {
                when: Some("OnRequest".to_owned()),
                client_certificate_ref: client_certificate,
                ..UpstreamTls::default()
            }),
            ..rule("webhooks")
        },
        Rule {
            cidrs: Some(vec!["0.0.0.0/0".to_owned()]),
            ..rule("addresses")
        },
    ]
}

/// Ranges of its own deny list that the floor lets through; it refuses the others by itself.
fn denied(keys: &mut Keys, notes: &mut Vec<String>) -> anyhow::Result<Option<Rule>> {
    let mut cidrs = Vec::new();
    for text in keys.texts("cidrDenyList")? {
        match range(&text) {
            Some((net, _)) if tier(&net).is_none() => cidrs.push(net.to_string()),
            Some(_) => {}
            None => notes.push(format!("cidrDenyList {text:?}: is no range; left out")),
        }
    }
    Ok((!cidrs.is_empty()).then(|| Rule {
        name: "deny-list".to_owned(),
        action: Some("Deny".to_owned()),
        cidrs: Some(cidrs),
        ports: any_port(),
        ..Rule::default()
    }))
}
