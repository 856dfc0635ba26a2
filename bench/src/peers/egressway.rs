//! Our proxy: as a fleet's pod, documents from a directory, the decision log in a file. For TLS to origins it runs
//! alone, from a policy as people write it; for signatures, too.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use egressway_core::wire::document::{
    Content, Floor, Observation, Policies, Policy, Pool, PortRange, Rule, VERSION, to_json,
};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::{Service, Site, Speech};
use crate::certificates::ORIGIN_NAME;
use crate::load::By;
use crate::net;
use crate::workloads::{SCHEMES, Scheme};

/// The Secret with the origin's authority, and its key.
const AUTHORITY_SECRET: &str = "bench-ca";
const AUTHORITY_KEY: &str = "ca.crt";
/// The same for the keys of signatures.
const HMAC: (&str, &str) = ("bench-hmac", "secret");
const RSA: (&str, &str) = ("bench-rsa", "tls.key");

pub(super) fn command(proxy: &Path, site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let address = || net::free_proxy_address().map(|address| address.to_string());
    let mut command = Command::new(proxy);
    command.args(["--listen", &service.listen.to_string(), "--admin", &address()?]);
    command.args(["--insecure-allow", "127.0.0.0/8"]);
    match service.speech {
        Speech::Tunnels | Speech::Requests => {
            write_documents(dir, service.by)?;
            command.arg("--acl-dir").arg(dir).args(["--report", &address()?]);
        }
        Speech::Origination | Speech::Signing => {
            let policy = dir.join("policy.yaml");
            let secrets = dir.join("secrets");
            fs::write(&policy, manifest(service)?)?;
            write_secrets(site, &secrets)?;
            command.arg("--policy").arg(policy);
            command.arg("--secrets-dir").arg(secrets);
        }
    }
    command.args(["--resolver", &service.resolver.to_string()]);
    Ok(command)
}

/// What the rules of a manifest refer to.
fn write_secrets(site: &Site, dir: &Path) -> Result<()> {
    let authority = fs::read_to_string(&site.certificates.authority)?;
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256)?.serialize_pem();
    for (secret, key, content) in [
        (AUTHORITY_SECRET, AUTHORITY_KEY, &*authority),
        (HMAC.0, HMAC.1, "a secret of the bench, of no use elsewhere"),
        (RSA.0, RSA.1, &*rsa),
    ] {
        fs::create_dir_all(dir.join(secret))?;
        fs::write(dir.join(secret).join(key), content)?;
    }
    Ok(())
}

/// One policy that allows the origin's addresses or its name, and a pool that observes nothing.
fn write_documents(dir: &Path, by: By) -> Result<()> {
    let (hosts, cidrs) = match by {
        By::Address => (Vec::new(), vec!["127.0.2.0/24".to_owned()]),
        By::Name => (vec![ORIGIN_NAME.to_owned()], Vec::new()),
    };
    let rule = Rule {
        name: "origins".to_owned(),
        hosts,
        cidrs,
        ports: vec![PortRange {
            port: 1,
            end_port: Some(u16::MAX),
        }],
        ..Rule::default()
    };
    let content = Content {
        rules: vec![rule],
        ..Content::default()
    };
    let policies = Policies {
        version: VERSION,
        policies: vec![Policy::seal("bench", "bench", 1, content)],
    };
    let pool = Pool {
        version: VERSION,
        name: "bench".to_owned(),
        observation: Observation {
            quorum: 1,
            interval_ms: 60_000,
            ..Observation::default()
        },
        ..Pool::default()
    };
    let floor = Floor {
        version: VERSION,
        ..Floor::default()
    };
    fs::write(dir.join("policies.json"), to_json(&policies))?;
    fs::write(dir.join("floor.json"), to_json(&floor))?;
    fs::write(dir.join("pool.json"), to_json(&pool))?;
    Ok(())
}

/// The rules of the service, as people write them. JSON is YAML, too.
fn manifest(service: &Service) -> Result<String> {
    let rules = match service.speech {
        Speech::Signing => signing_rules(service),
        Speech::Origination | Speech::Tunnels | Speech::Requests => vec![origination_rule(service)],
    };
    Ok(serde_json::to_string_pretty(&json!({
        "apiVersion": "egressway.dev/v1alpha1",
        "kind": "EgressPolicy",
        "metadata": {"name": "bench", "namespace": "bench"},
        "spec": {"rules": rules},
    }))?)
}

/// TLS to the origin by its name, on each of its ports.
fn origination_rule(service: &Service) -> Value {
    let targets = service.targets.iter();
    let ports: Vec<_> = targets.map(|target| json!({"port": target.port()})).collect();
    json!({
        "name": "orig",
        "hosts": [ORIGIN_NAME],
        "ports": ports,
        "upstreamTLS": {"caRef": {"name": AUTHORITY_SECRET}},
    })
}

/// A rule for each of the origin's addresses; the first does not sign.
fn signing_rules(service: &Service) -> Vec<Value> {
    let rule = |(number, (scheme, target)): (usize, (&Scheme, &SocketAddr))| {
        let mut rule = json!({
            "name": format!("rule-{number}"),
            "cidrs": [format!("{}/32", target.ip())],
            "ports": [{"port": target.port()}],
            "http": {"methods": ["POST"]},
        });
        if let Some(name) = scheme.name {
            let (secret, key) = if name.starts_with("RSA") { RSA } else { HMAC };
            let mut signing = json!({"scheme": name, "secretRefs": [{"name": secret, "key": key}]});
            if name != "StandardWebhooks" {
                signing["header"] = json!("X-Signature");
            }
            rule["signing"] = signing;
        }
        rule
    };
    SCHEMES
        .iter()
        .zip(&service.targets)
        .enumerate()
        .map(rule)
        .collect()
}

#[cfg(test)]
mod tests {
    use egressway_core::acl::compile;
    use egressway_core::manifest::{Place, PolicySpec, content};
    use egressway_core::wire::document::Scheme;

    use super::*;
    use crate::net::{origin_address, origin_addresses};

    fn content_of(speech: Speech, targets: Vec<SocketAddr>) -> Content {
        let service = Service {
            speech,
            by: By::Address,
            targets,
            resolver: origin_address(53),
            listen: origin_address(4),
        };
        let manifest: Value = serde_json::from_str(&manifest(&service).unwrap()).unwrap();
        let spec: PolicySpec = serde_json::from_value(manifest.get("spec").unwrap().clone()).unwrap();
        let content = content(&spec, "bench", Place::Alone).unwrap();
        let policies = Policies {
            version: VERSION,
            policies: vec![Policy::seal("bench", "bench", 1, content.clone())],
        };
        assert!(compile::policies(&policies).is_ok());
        content
    }

    #[test]
    fn the_policy_for_tls_means_something() {
        let content = content_of(Speech::Origination, [1, 2, 3].map(origin_address).to_vec());
        let tls = content.rules.first().and_then(|rule| rule.upstream_tls.clone());
        assert_eq!(tls.unwrap().ca.as_deref(), Some(AUTHORITY_SECRET));
    }

    #[test]
    fn each_address_has_a_signature_of_its_own_and_the_first_has_none() {
        let content = content_of(Speech::Signing, origin_addresses(1));
        let schemes: Vec<_> = content
            .rules
            .iter()
            .map(|rule| rule.signing.as_ref().map(|signing| signing.scheme))
            .collect();
        let expected = [Scheme::StandardWebhooks, Scheme::HmacSha256, Scheme::RsaSha256].map(Some);
        assert_eq!(schemes, [&[None], &expected[..]].concat());
    }
}
