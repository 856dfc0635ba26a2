//! Our proxy: as a fleet's pod, documents from a directory, the decision log in a file. For TLS to origins it runs
//! alone, from a policy as people write it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use egressway_core::wire::document::{
    Content, Floor, Observation, Policies, Policy, Pool, PortRange, Rule, VERSION, to_json,
};
use serde_json::json;

use super::{Service, Site, Speech};
use crate::certificates::ORIGIN_NAME;
use crate::net;

/// The Secret with the origin's authority, and its key.
const AUTHORITY_SECRET: &str = "bench-ca";
const AUTHORITY_KEY: &str = "ca.crt";

pub(super) fn command(site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let address = || net::free_proxy_address().map(|address| address.to_string());
    let mut command = Command::new(&site.proxy);
    command.args(["--listen", &service.listen.to_string(), "--admin", &address()?]);
    command.args(["--insecure-allow", "127.0.0.0/8"]);
    match service.speech {
        Speech::Tunnels | Speech::Requests => {
            write_documents(dir)?;
            command.arg("--acl-dir").arg(dir).args(["--report", &address()?]);
        }
        Speech::Origination => {
            let policy = dir.join("policy.yaml");
            fs::write(&policy, manifest(service)?)?;
            let secrets = dir.join("secrets");
            fs::create_dir_all(secrets.join(AUTHORITY_SECRET))?;
            fs::copy(
                &site.certificates.authority,
                secrets.join(AUTHORITY_SECRET).join(AUTHORITY_KEY),
            )?;
            command.arg("--policy").arg(policy);
            command.arg("--secrets-dir").arg(secrets);
            command.args(["--resolver", &service.resolver.to_string()]);
        }
    }
    Ok(command)
}

/// One policy that allows the origin's addresses, and a pool that observes nothing.
fn write_documents(dir: &Path) -> Result<()> {
    let rule = Rule {
        name: "origins".to_owned(),
        cidrs: vec!["127.0.2.0/24".to_owned()],
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

/// TLS to the origin by its name, on each of its ports. JSON is YAML, too.
fn manifest(service: &Service) -> Result<String> {
    let ports: Vec<_> = service
        .targets
        .iter()
        .map(|target| json!({"port": target.port()}))
        .collect();
    let rule = json!({
        "name": "orig",
        "hosts": [ORIGIN_NAME],
        "ports": ports,
        "upstreamTLS": {"caRef": {"name": AUTHORITY_SECRET}},
    });
    Ok(serde_json::to_string_pretty(&json!({
        "apiVersion": "egressway.dev/v1alpha1",
        "kind": "EgressPolicy",
        "metadata": {"name": "bench", "namespace": "bench"},
        "spec": {"rules": [rule]},
    }))?)
}

#[cfg(test)]
mod tests {
    use egressway_core::acl::compile;
    use egressway_core::manifest::{Place, PolicySpec, content};

    use super::*;
    use crate::net::origin_address;

    #[test]
    fn the_policy_for_tls_means_something() {
        let service = Service {
            speech: Speech::Origination,
            targets: [1, 2, 3].map(origin_address).to_vec(),
            resolver: origin_address(53),
            listen: origin_address(4),
        };
        let manifest: serde_json::Value = serde_json::from_str(&manifest(&service).unwrap()).unwrap();
        let spec: PolicySpec = serde_json::from_value(manifest.get("spec").unwrap().clone()).unwrap();
        let content = content(&spec, "bench", Place::Alone).unwrap();
        let tls = content
            .rules
            .first()
            .and_then(|rule| rule.upstream_tls.clone())
            .unwrap();
        assert_eq!(tls.ca.as_deref(), Some(AUTHORITY_SECRET));
        let policies = Policies {
            version: VERSION,
            policies: vec![Policy::seal("bench", "bench", 1, content)],
        };
        assert!(compile::policies(&policies).is_ok());
    }
}
