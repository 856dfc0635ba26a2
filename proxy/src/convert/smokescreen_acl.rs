//! Smokescreen's ACL, version 1: a policy for each service, its client known by the common name of its certificate.
//!
//! Smokescreen asks in this order: the service's own list, the global deny list, the global allow list, the action. A
//! Deny rule of ours beats every Allow rule, so entries of the deny list that a service overrides are left out for it.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use egressway_core::manifest::{Caps, HostCaps, PolicySpec, PoolSpec};

use super::Converted;
use super::keys::Keys;
use super::values::{
    CLIENT_CA, Hosts, SERVER_TLS, certificate_client, covers, numbered, overlap, slug, tls_listener,
};

/// What is done with a host on no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Enforce,
    Report,
    Open,
}

impl Action {
    pub(super) fn parse(text: Option<&str>) -> anyhow::Result<Self> {
        match text {
            Some("enforce") => Ok(Self::Enforce),
            Some("report") => Ok(Self::Report),
            Some("open") => Ok(Self::Open),
            Some(other) => bail!("action {other:?} is none of enforce, report and open"),
            None => bail!("action is missing: enforce, report or open"),
        }
    }

    const fn mode(self) -> Option<&'static str> {
        match self {
            Self::Enforce => None,
            Self::Report => Some("Report"),
            Self::Open => Some("Open"),
        }
    }
}

/// One service, or the default.
struct Service {
    /// Absent for the default.
    name: Option<String>,
    action: Action,
    allowed: Hosts,
}

/// The lists that hold for every service.
struct Global {
    allow: Hosts,
    deny: Hosts,
}

/// Every ACL says its version: what does not is another file, which must not become a policy.
pub(super) fn version(keys: &mut Keys) -> anyhow::Result<()> {
    match keys.text("version")?.as_deref() {
        Some("v1") => Ok(()),
        Some(other) => bail!("version {other:?} is not v1"),
        None => bail!("version is missing: this is no ACL"),
    }
}

/// Refuses an ACL where a configuration is expected: read as one it would let everything out.
pub(super) fn none_here(keys: &Keys) -> anyhow::Result<()> {
    if keys.has("services") || keys.has("global_deny_list") {
        bail!("this is an ACL: use --from smokescreen-acl, or mole");
    }
    Ok(())
}

pub(super) fn convert(mut keys: Keys, only: Option<&str>) -> anyhow::Result<Converted> {
    let mut converted = Converted::default();
    let notes = &mut converted.notes;
    version(&mut keys)?;
    let global = Global {
        allow: Hosts::allowed(keys.texts("global_allow_list")?, "global_allow_list", notes),
        deny: Hosts::of(keys.texts("global_deny_list")?, "global_deny_list", notes),
    };
    let chosen = |name: &str| only.is_none_or(|only| only == name);
    let (mut services, mut names) = (Vec::new(), HashSet::new());
    for mut service in keys.objects("services")? {
        let name = service.text("name")?.context("a service has no name")?;
        anyhow::ensure!(names.insert(name.clone()), "service {name} stands twice");
        let (wanted, mut own) = (chosen(&name), Vec::new());
        let service = self::service(service, Some(name), &mut own)?;
        if wanted {
            notes.append(&mut own);
            services.push(service);
        }
    }
    if let Some(default) = keys.object("default")?.filter(|_| chosen("default")) {
        services.push(service(default, None, notes)?);
        notes.push(
            "default: the policy named default has no clients, so that whoever reaches it may use it; Smokescreen has it \
             for certificates that name no service"
                .to_owned(),
        );
    }
    keys.rest(notes);
    if let Some(only) = only {
        anyhow::ensure!(!services.is_empty(), "there is no service {only}");
    }
    if services.iter().any(|service| service.name.is_some()) {
        notes.push(format!(
            "certificates: put the listener's into Secret {SERVER_TLS} (tls.crt, tls.key) and the clients' CA into Secret \
             {CLIENT_CA} (ca.crt, and ca.crl where you revoke)"
        ));
    }
    if services.len() > 1 {
        notes.push("each policy is a proxy of its own: outside of a cluster convert one at a time with --service NAME".to_owned());
    }
    converted.pool = pool(&services, &global, notes);
    for service in &services {
        let shown = service.name.as_deref().unwrap_or("default");
        let (base, mut name) = (slug(shown), slug(shown));
        let taken = |name: &String| converted.policies.iter().any(|(other, _)| other == name);
        if taken(&name) {
            let free = (2..)
                .map(|number| numbered(&base, number))
                .find(|name| !taken(name));
            name = free.unwrap_or(name);
            notes.push(format!(
                "{shown}: its policy is named {name}, since {base} is another's"
            ));
        }
        converted.policies.push((name, policy(service, &global, notes)));
    }
    Ok(converted)
}

fn service(mut keys: Keys, name: Option<String>, notes: &mut Vec<String>) -> anyhow::Result<Service> {
    let shown = name.clone().unwrap_or_else(|| "default".to_owned());
    let field = format!("{shown}: allowed_domains");
    let service = Service {
        action: Action::parse(keys.text("action")?.as_deref()).with_context(|| shown.clone())?,
        allowed: Hosts::allowed(keys.texts("allowed_domains")?, &field, notes),
        name,
    };
    keys.note(
        "project",
        "was for logs and metrics only; label the policy instead",
        notes,
    );
    keys.note(
        "allowed_external_proxies",
        "there is no chaining to another proxy",
        notes,
    );
    keys.note(
        "mitm_domains",
        "TLS is never broken open; a rule with upstreamTLS makes TLS for plain HTTP requests",
        notes,
    );
    keys.rest(notes);
    Ok(service)
}

fn policy(service: &Service, global: &Global, notes: &mut Vec<String>) -> PolicySpec {
    let shown = service.name.as_deref().unwrap_or("default");
    let mut rules = service.allowed.clone().rules("allowed", None);
    rules.extend(global.allow.clone().rules("global-allow", None));
    let mut deny = Hosts {
        cidrs: global.deny.cidrs.clone(),
        names: Vec::new(),
    };
    for denied in &global.deny.names {
        let overriding = service
            .allowed
            .names
            .iter()
            .filter(|allowed| overlap(allowed, denied));
        let (mut overridden, mut within) = (false, Vec::new());
        for allowed in overriding {
            overridden |= covers(allowed, denied);
            within.push(allowed.as_str());
        }
        let otherwise_open = service.action != Action::Enforce
            || global.allow.names.iter().any(|allowed| overlap(allowed, denied));
        if overridden || (!within.is_empty() && !otherwise_open) {
            // What the service allows is allowed; what it does not name is refused anyway.
            continue;
        }
        if !within.is_empty() {
            notes.push(format!(
                "{shown}: {} is refused here: Smokescreen allows it although global_deny_list has {denied}; a Deny rule beats \
                 every Allow rule",
                within.join(", ")
            ));
        }
        deny.names.push(denied.clone());
    }
    deny.cidrs.retain(|cidr| !service.allowed.cidrs.contains(cidr));
    if !deny.is_empty() && service.action != Action::Report {
        rules.extend(deny.rules("global-deny", Some("Deny")));
    }
    if service.action != Action::Enforce {
        notes.push(format!(
            "{shown}: targets written as IPv6 addresses are let through as others are; Smokescreen refuses all of them"
        ));
    }
    let named = service.name.as_deref();
    PolicySpec {
        mode: service.action.mode().map(ToOwned::to_owned),
        listener: named.map(|_| tls_listener()),
        clients: named.map(|name| vec![certificate_client(&slug(name), name)]),
        rules,
        ..PolicySpec::default()
    }
}

/// In mode Report a Deny rule only reports, and Smokescreen's global deny list always refuses: then it stands in the
/// caps of a pool, which hold in every mode.
fn pool(services: &[Service], global: &Global, notes: &mut Vec<String>) -> Option<(String, PoolSpec)> {
    let reports = services.iter().any(|service| service.action == Action::Report);
    if !reports || global.deny.names.is_empty() {
        return None;
    }
    let mut deny = Vec::new();
    for denied in &global.deny.names {
        let by = services
            .iter()
            .find(|service| service.allowed.names.iter().any(|own| overlap(own, denied)));
        match by {
            None => deny.push(denied.clone()),
            Some(service) => notes.push(format!(
                "global_deny_list {denied}: not in the pool's caps, because {} allows some of it; services with action report \
                 let it through and log it",
                service.name.as_deref().unwrap_or("default")
            )),
        }
    }
    let mut modes = vec!["Enforce".to_owned(), "Report".to_owned()];
    modes.extend(
        services
            .iter()
            .any(|service| service.action == Action::Open)
            .then(|| "Open".to_owned()),
    );
    notes.push("EgressPool: carries the global deny list, which holds in mode Report too; in a cluster put its caps into the pool that you have".to_owned());
    let spec = PoolSpec {
        caps: Some(Caps {
            modes: Some(modes),
            hosts: (!deny.is_empty()).then_some(HostCaps {
                allow: None,
                deny: Some(deny),
            }),
            ..Caps::default()
        }),
        ..PoolSpec::default()
    };
    Some(("converted".to_owned(), spec))
}
