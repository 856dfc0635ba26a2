//! What comes of a configuration loads, and says to targets what the configuration said.

mod notes;

use egressway_core::acl::{Ask, Host, Target};
use egressway_core::manifest::Place;

use super::*;
use crate::alone::{self, Manifest};
use crate::documents::{Settings, compile_manifest};

/// Converts, reads the output as the proxy would, and asks.
#[track_caller]
fn check(
    from: From,
    text: &str,
    service: Option<&str>,
    client: Option<&str>,
    verdicts: &[(&str, bool)],
) -> Vec<String> {
    let converted = convert(from, service, text).unwrap();
    let yaml = output::yaml("source.yaml", from, &converted).unwrap();
    let manifest = Manifest::parse("out.yaml", &yaml).unwrap_or_else(|refused| panic!("{refused}\n{yaml}"));
    assert_eq!(manifest.policies.len(), 1, "{yaml}");
    let documents = alone::documents(
        "out.yaml",
        &manifest.policies[0],
        manifest.pools.first(),
        None,
        Place::Alone,
    )
    .unwrap_or_else(|refused| panic!("{refused}\n{yaml}"));
    let in_force = compile_manifest(&documents, &Settings::default()).unwrap();
    let policy = in_force.policy().unwrap();
    let caller = policy.caller(client);
    for (target, expected) in verdicts {
        let allowed = match target.strip_prefix("http://") {
            None => policy
                .permit(
                    &in_force.wall,
                    Ask::tunnel(Target::parse(target).unwrap()).by(caller),
                )
                .is_ok(),
            Some(rest) => {
                let (authority, path) = rest.split_once('/').unwrap();
                let (target, written) = Target::parse_optional_port(authority, 80).unwrap();
                let path = format!("/{path}");
                // Its senders ask for TLS, but for addresses, which no certificate is verified against.
                let asks_tls = matches!((from, target.host()), (From::WebhookSentry, Host::Name(_)));
                let ask = Ask::tunnel(target).by(caller).http("POST", &path);
                policy.permit_http(&in_force.wall, ask, written, asks_tls).is_ok()
            }
        };
        assert_eq!(allowed, *expected, "{target}\n{yaml}");
    }
    converted.notes
}

#[track_caller]
fn named(notes: &[String], words: &[&str]) {
    for word in words {
        assert!(
            notes.iter().any(|note| note.contains(word)),
            "{word} is not named in {notes:#?}"
        );
    }
}

const ACL: &str = r#"
version: v1
services:
- name: enforce_svc
  project: team
  action: enforce
  allowed_domains: [api.example.com, "*.example.org", 192.175.48.7]
  allowed_external_proxies: [proxy.example.net]
  mitm_domains: [{domain: api.example.com}]
- name: report-svc
  project: team
  action: report
- name: open-svc
  project: team
  action: open
- name: overrides
  project: team
  action: enforce
  allowed_domains: [x.bad.example]
default: {project: other, action: enforce, allowed_domains: [default.example]}
global_allow_list: [shared.example, "*.mixed.example"]
global_deny_list: ["*.bad.example", no.mixed.example]
unknown_key: 1
"#;

#[test]
fn a_smokescreen_acl_keeps_its_verdicts() {
    let acl = From::SmokescreenAcl;
    let notes = check(
        acl,
        ACL,
        Some("enforce_svc"),
        Some("enforce-svc"),
        &[
            ("api.example.com:443", true),
            ("api.example.com:8443", true),
            ("a.b.example.org:80", true),
            ("example.org:443", false),
            ("192.175.48.7:443", true),
            ("192.175.48.8:443", false),
            ("shared.example:443", true),
            ("yes.mixed.example:443", true),
            ("no.mixed.example:443", false),
            ("x.bad.example:443", false),
            ("other.example:443", false),
            ("http://api.example.com/x", true),
        ],
    );
    named(
        &notes,
        &[
            "project team",
            "allowed_external_proxies",
            "mitm_domains",
            "unknown_key",
            "server-tls",
        ],
    );
    check(
        acl,
        ACL,
        Some("enforce_svc"),
        None,
        &[("api.example.com:443", false)],
    );
    check(
        acl,
        ACL,
        Some("report-svc"),
        Some("report-svc"),
        &[
            ("any.example:443", true),
            ("x.bad.example:443", false),
            ("no.mixed.example:443", false),
            ("192.175.48.8:80", true),
        ],
    );
    check(
        acl,
        ACL,
        Some("open-svc"),
        Some("open-svc"),
        &[
            ("any.example:443", true),
            ("x.bad.example:443", false),
            ("10.0.0.1:443", false),
        ],
    );
    check(
        acl,
        ACL,
        Some("overrides"),
        Some("overrides"),
        &[
            ("x.bad.example:443", true),
            ("y.bad.example:443", false),
            ("yes.mixed.example:443", true),
            ("no.mixed.example:443", false),
        ],
    );
    check(
        acl,
        ACL,
        Some("default"),
        None,
        &[("default.example:443", true), ("api.example.com:443", false)],
    );
}

#[test]
fn a_whole_acl_is_a_policy_for_each_service() {
    let converted = convert(From::SmokescreenAcl, None, ACL).unwrap();
    let yaml = output::yaml("a\nb.yaml", From::SmokescreenAcl, &converted).unwrap();
    let manifest = Manifest::parse("out.yaml", &yaml).unwrap();
    let names: Vec<_> = manifest
        .policies
        .iter()
        .map(|policy| policy.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["enforce-svc", "report-svc", "open-svc", "overrides", "default"]
    );
    for policy in &manifest.policies {
        alone::documents("out.yaml", policy, manifest.pools.first(), None, Place::Alone).unwrap();
    }
    assert!(convert(From::SmokescreenAcl, Some("nobody"), ACL).is_err());
    assert!(convert(From::SmokescreenAcl, None, "version: v2\nservices: []\n").is_err());
    assert!(convert(From::SmokescreenAcl, None, "- a\n").is_err());
}

#[test]
fn a_smokescreen_configuration_keeps_its_ranges() {
    let text = r#"
ip: 0.0.0.0
port: 4750
deny_ranges: [192.175.48.0/24]
allow_ranges: [192.175.48.64/26, 10.20.0.0/16, 127.0.0.0/8]
deny_addresses: ["192.31.196.1:8443"]
connect_timeout: 5s
idle_timeout: 1.5s
max_concurrent_connect_tunnels: 100
max_request_rate: 12.5
max_request_burst: 20
exit_timeout: 30m
tls: {cert_file: c.pem, key_file: k.pem, client_ca_files: [ca.pem]}
statsd_address: 127.0.0.1:8200
time_connect: true
"#;
    let notes = check(
        From::SmokescreenConfig,
        text,
        None,
        None,
        &[
            ("any.example:443", true),
            ("192.31.196.2:8443", true),
            ("192.31.196.1:8443", false),
            ("192.31.196.1:443", true),
            ("192.175.48.1:443", false),
            ("192.175.48.64:443", true),
            ("192.175.48.128:443", false),
            ("10.20.3.4:443", true),
            ("10.21.3.4:443", false),
            ("127.0.0.1:80", false),
        ],
    );
    named(
        &notes,
        &[
            "--listen 0.0.0.0:4750",
            "127.0.0.0/8",
            "idle_timeout",
            "max_request_burst",
            "--drain",
            "client_ca_files",
            "statsd_address",
            "time_connect",
            "10.20.0.0/16",
        ],
    );
    let spec = convert(From::SmokescreenConfig, None, text)
        .unwrap()
        .policies
        .remove(0)
        .1;
    assert_eq!(spec.timeouts.unwrap().connect.as_deref(), Some("5s"));
    let limits = spec.limits.unwrap();
    assert_eq!(
        (limits.tunnels, limits.requests_per_second),
        (Some(100), Some(13))
    );
    let notes = check(
        From::SmokescreenConfig,
        "acl_file: acl.yaml\n",
        None,
        None,
        &[("any.example:443", false)],
    );
    named(&notes, &["acl_file"]);
}

#[test]
fn moles_acl_is_a_password_and_a_deny_list() {
    let text = r#"
version: v1
services: [{name: authed, project: users, action: report}]
default: {name: default, project: none, action: enforce}
global_deny_list: ["*.internal"]
"#;
    let notes = check(
        From::Mole,
        text,
        None,
        Some("authed"),
        &[
            ("any.example:443", true),
            ("192.175.48.1:8080", true),
            ("a.internal:443", false),
            ("10.0.0.1:443", false),
        ],
    );
    named(&notes, &["PROXY_PASSWORD", "project", "default"]);
    check(From::Mole, text, None, None, &[("any.example:443", false)]);
}

#[test]
fn webhook_sentry_is_plain_http_with_tls_on_request() {
    let text = r#"
listener: {type: https, address: ":9090", certFile: c, keyFile: k}
connectTimeout: 3s
maxResponseBodySize: 2048
clientCertFile: client.crt
clientKeyFile: client.key
mitmIssuerCertFile: ca.crt
insecureSkipCertVerification: true
cidrDenyList: [192.175.48.0/24, 10.0.0.0/8]
accessLog: {type: json, file: a.log}
metrics: {address: ":2112"}
requestIDHeader: Request-ID
"#;
    let notes = check(
        From::WebhookSentry,
        text,
        None,
        None,
        &[
            ("http://hooks.example/a", true),
            ("http://hooks.example:8443/a", true),
            ("hooks.example:443", false),
            ("http://192.31.196.1/a", true),
            ("http://192.175.48.1/a", false),
            ("http://10.0.0.1/a", false),
        ],
    );
    named(
        &notes,
        &[
            ":9090",
            "server-tls",
            "client-tls",
            "mitmIssuerCertFile",
            "insecureSkipCertVerification",
            "accessLog",
            "metrics",
            "requestIDHeader",
        ],
    );
    let spec = convert(From::WebhookSentry, None, text)
        .unwrap()
        .policies
        .remove(0)
        .1;
    let times = spec.timeouts.unwrap();
    assert_eq!(
        (
            times.connect.as_deref(),
            times.idle.as_deref(),
            times.lifetime.as_deref()
        ),
        (Some("3s"), Some("10s"), Some("60s"))
    );
}
