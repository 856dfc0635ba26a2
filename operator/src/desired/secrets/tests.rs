//! Rows for Secrets: what is needed, and what is taken for which use. Each fault with its words is in `faults.rs`.

mod faults;

use std::collections::BTreeMap;

use egressway_core::wire::document::{self, Content, PasswordDigest, Scheme};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber,
};
use serde_json::{Value, json};

use super::needs::{Part, needs};
use super::{Read, Resolution, resolve};
use crate::desired::Identity;
use crate::desired::tests::settings;
use crate::egress_policy::condition::Reason;

/// Stands in every Secret of these tests, and must stand in no message.
const CANARY: &str = "c4n4ry";

fn id() -> Identity {
    Identity {
        namespace: "payments".to_owned(),
        name: "webhooks".to_owned(),
        uid: "uid-1".to_owned(),
        pool: "edge".to_owned(),
        edition: 0,
    }
}

/// A policy with every use, each with a Secret of its own.
fn content() -> Content {
    let key = |name: &str| json!([{"name": name}]);
    let rule = |name: &str, scheme: &str, secret: &str| {
        json!({"name": name, "action": "Allow", "hosts": ["a.example"], "ports": [{"port": 443}],
               "signing": {"scheme": scheme, "secrets": key(secret), "header": "x-signature"}})
    };
    serde_json::from_value(json!({
        "listener": {"tls": {"certificate": "listener"}},
        "clients": [
            {"name": "legacy", "auth": {"passwords": [{"name": "password"}, {"name": "password", "key": "next"}]}},
            {"name": "batch", "auth": {"certificate": {"ca": "client-ca", "identities": ["CN=a"]}}},
            {"name": "token", "auth": {"serviceAccounts": ["payments/sender"]}},
        ],
        "rules": [
            rule("webhook", "StandardWebhooks", "webhook"),
            rule("hmac", "HMAC-SHA256", "hmac"),
            rule("rsa", "RSA-SHA256", "rsa"),
            {"name": "tls", "action": "Allow", "hosts": ["b.example"], "ports": [{"port": 443}],
             "upstreamTLS": {"clientCertificate": "upstream", "ca": "upstream-ca"}},
        ],
    }))
    .unwrap()
}

struct Pki {
    ca: String,
    crl: String,
    cert: String,
    key: String,
    rsa: String,
}

fn pki() -> Pki {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    params.not_after = rcgen::date_time_ymd(2036, 1, 2);
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["proxy.example".to_owned()]).unwrap();
    leaf.not_after = rcgen::date_time_ymd(2035, 1, 2);
    let cert = leaf.signed_by(&leaf_key, &issuer).unwrap().pem();
    let crl = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2036, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    Pki {
        ca,
        crl: crl.signed_by(&issuer).unwrap().pem().unwrap(),
        cert,
        key: leaf_key.serialize_pem(),
        rsa: rsa.serialize_pem(),
    }
}

fn secret(name: &str, data: &[(&str, &str)]) -> Read {
    let data: BTreeMap<&str, Value> = data
        .iter()
        .map(|(key, text)| {
            (
                *key,
                serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap(),
            )
        })
        .collect();
    let object = json!({"apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "labels": {"egressway.dev/use": "proxy"}}});
    Read::Found(Box::new(serde_json::from_value(object).unwrap()))
}

/// Every Secret as it should be.
fn all(pki: &Pki) -> BTreeMap<String, Read> {
    let pair = [
        ("tls.crt", &*pki.cert),
        ("tls.key", &*pki.key),
        ("unused", CANARY),
    ];
    [
        ("listener", secret("listener", &pair)),
        ("upstream", secret("upstream", &pair)),
        (
            "password",
            secret(
                "password",
                &[
                    ("password", "c4n4ry-1\n"),
                    ("next", "c4n4ry-2"),
                    ("other", CANARY),
                ],
            ),
        ),
        (
            "client-ca",
            secret("client-ca", &[("ca.crt", &pki.ca), ("ca.crl", &pki.crl)]),
        ),
        (
            "upstream-ca",
            secret("upstream-ca", &[("ca.crt", &pki.ca), ("ca.crl", &pki.crl)]),
        ),
        (
            "webhook",
            secret("webhook", &[("secret", "whsec_YzRuNHJ5YzRuNHJ5\n")]),
        ),
        ("hmac", secret("hmac", &[("secret", "c4n4ry-3\n")])),
        ("rsa", secret("rsa", &[("tls.key", &pki.rsa)])),
    ]
    .map(|(name, read)| (name.to_owned(), read))
    .into()
}

fn run(reads: &BTreeMap<String, Read>, kept: Option<&document::Secrets>) -> Resolution {
    resolve(&id(), &needs(&content()), reads, kept, &settings(), in_year(2030))
}

fn in_year(year: i16) -> Timestamp {
    format!("{year}-01-01T00:00:00Z").parse().unwrap()
}

fn taken(resolution: &Resolution) -> &BTreeMap<String, document::Secret> {
    &resolution.document.as_ref().unwrap().policies[0].secrets
}

#[test]
fn a_policy_needs_what_it_names_and_each_secret_once() {
    let needs = needs(&content());
    let names: Vec<&str> = needs.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "client-ca",
            "hmac",
            "listener",
            "password",
            "rsa",
            "upstream",
            "upstream-ca",
            "webhook"
        ]
    );
    assert_eq!(needs["password"].len(), 2, "two keys of one Secret");
    assert_eq!(
        resolve(
            &id(),
            &super::needs::needs(&Content::default()),
            &BTreeMap::new(),
            None,
            &settings(),
            in_year(2030)
        ),
        Resolution::default()
    );
}

#[test]
fn only_the_keys_that_are_used_are_taken_and_no_password() {
    let pki = pki();
    let resolution = run(&all(&pki), None);
    assert!(resolution.problems.is_empty(), "{:?}", resolution.problems);
    let taken = taken(&resolution);
    let keys = |name: &str| taken[name].data.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(keys("listener"), ["tls.crt", "tls.key"]);
    assert_eq!(keys("client-ca"), ["ca.crl", "ca.crt"]);
    assert_eq!(keys("upstream-ca"), ["ca.crl", "ca.crt"]);
    assert_eq!(keys("rsa"), ["tls.key"]);
    assert_eq!(
        taken["webhook"].data["secret"], "whsec_YzRuNHJ5YzRuNHJ5\n",
        "as it stands"
    );
    let password = &taken["password"];
    assert!(password.data.is_empty());
    assert_eq!(
        password.passwords.keys().collect::<Vec<_>>(),
        ["next", "password"]
    );
    assert!(
        password.passwords["password"].matches(b"c4n4ry-1"),
        "without its line end"
    );
    assert_eq!(
        password.passwords["next"],
        PasswordDigest::new("uid-of-password", b"c4n4ry-2")
    );
    let json = document::to_json(resolution.document.as_ref().unwrap());
    assert!(!json.contains("c4n4ry-1") && !json.contains("unused") && !json.contains("other"));
    let ends: Vec<(&str, Part, i16)> = resolution
        .expiries
        .iter()
        .map(|expiry| {
            (
                &*expiry.secret,
                expiry.place.part,
                expiry.not_after.to_zoned(jiff::tz::TimeZone::UTC).year(),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("client-ca", Part::Client, 2036),
            ("listener", Part::Listener, 2035),
            ("upstream", Part::Upstream, 2035),
            ("upstream-ca", Part::Upstream, 2036),
        ]
    );
}
