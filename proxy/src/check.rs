//! `egressway-proxy check`: what a policy says to a target, and why, without a proxy.
//!
//! It asks the very engine that a proxy asks. Offline unless told to resolve; it dials nothing, ever.

mod dns;
mod show;
mod target;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use egressway_core::acl::{Ask, Caller, Deny, Host, Permit, Policy, Wall};
use egressway_core::wire::document::{self, PolicySecrets, When};

use self::show::{Address, Explained, Tls, Verdict};
use self::target::Asked;
use crate::alone::{self, Manifest, Named, Refused, SecretsDir, needed};
use crate::args::{CheckArgs, Output};
use crate::documents::{Settings, compile_manifest, compile_with_secrets};
use crate::input;
use crate::resolve::Resolver;
use crate::server::reason::{Fault, Reason};
use crate::state::InForce;

/// Largest file: it may hold the policies of a whole cluster, a proxy's holds one.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Every target is allowed, or there was none to ask about.
const ALLOWED: u8 = 0;
/// At least one is not.
const DENIED: u8 = 1;

/// Answers on standard output; the exit code says whether everything is allowed.
///
/// # Errors
/// The policy cannot be enforced, or the question makes no sense.
pub async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let file = input::name(&args.policy);
    let text = input::read(&args.policy, BYTES_MAX).with_context(|| format!("failed to read {file}"))?;
    let manifest = Manifest::parse(&file, &text)?;
    let checked = check_all(&args, &file, &manifest)?;
    let mut out = std::io::stdout().lock();
    if args.targets.is_empty() {
        for one in &checked {
            writeln!(out, "{}", show::summary(one, args.output)?)?;
        }
        return Ok(ALLOWED.into());
    }
    let checked = match (checked.as_slice(), &args.name) {
        ([one], _) => one,
        (several, None) => bail!("{file} holds {} policies: say which with --name", several.len()),
        (_, Some(name)) => bail!("{file} holds several policies {name}, or none"),
    };
    let resolver = resolver(&args)?;
    let policy = checked.in_force.policy().context("nothing is in force")?;
    let caller = caller(policy, args.client.as_deref())?;
    let mut answers = Vec::with_capacity(args.targets.len());
    for text in &args.targets {
        let asked = target::parse(text, args.method.as_deref())?;
        let mut explained = explain(
            policy,
            &checked.in_force.wall,
            caller,
            &asked,
            args.client.is_some(),
        );
        if let (Some(resolver), Some(permit)) = (&resolver, explained.1) {
            resolve(resolver, &permit, &mut explained.0).await;
            if let (true, Host::Name(name)) = (args.dns, permit.target().host()) {
                explained.0.dns = Some(dns::ask_each(resolver, name).await);
            }
        }
        answers.push(explained.0);
    }
    writeln!(out, "{}", show::answers(&answers, args.output)?)?;
    let all = answers.iter().all(|answer| answer.verdict.lets_through());
    Ok(ExitCode::from(if all { ALLOWED } else { DENIED }))
}

/// A policy of the file, compiled.
#[derive(Debug)]
struct Checked {
    in_force: InForce,
    documents: alone::Documents,
    /// What has no effect, or more than its author may have meant.
    warnings: Vec<String>,
}

fn check_all(args: &CheckArgs, file: &str, manifest: &Manifest) -> anyhow::Result<Vec<Checked>> {
    let wanted = |policy: &&Named<_>| args.name.as_ref().is_none_or(|name| policy.name == *name);
    let floor = args.floor.as_deref().map(|file| {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        serde_json::from_str::<document::Floor>(&text)
            .with_context(|| format!("failed to parse {}", file.display()))
    });
    let floor = floor.transpose()?;
    let pool = match manifest.pools.as_slice() {
        [] => None,
        [only] => Some(only),
        [..] => bail!("{file} holds more than one EgressPool"),
    };
    let (mut refused, mut checked) = (Refused::default(), Vec::new());
    for policy in manifest.policies.iter().filter(wanted) {
        match alone::documents(file, policy, pool, None, alone::place(&policy.spec)) {
            Ok(documents) => checked.push(documents),
            Err(problems) => refused.merge(problems),
        }
    }
    refused.into_result(())?;
    if checked.is_empty() {
        bail!(
            "{file} holds no EgressPolicy{}",
            args.name
                .as_ref()
                .map(|name| format!(" named {name}"))
                .unwrap_or_default()
        );
    }
    let settings = Settings {
        insecure_allow: args.insecure_allow.clone(),
        ..Settings::default()
    };
    let secrets = args.secrets_dir.clone().map(|dir| SecretsDir::new(Some(dir)));
    checked
        .into_iter()
        .map(|mut documents| {
            if let Some(floor) = &floor {
                let own = std::mem::replace(&mut documents.floor, floor.clone());
                documents.floor.nat64_prefixes.extend(own.nat64_prefixes);
            }
            if let (Some(secrets), Some(policy)) = (&secrets, documents.policies.policies.first()) {
                documents.secrets.policies = vec![PolicySecrets {
                    namespace: policy.namespace.clone(),
                    name: policy.name.clone(),
                    secrets: secrets.read(&needed(&policy.content))?,
                }];
            }
            let in_force = if secrets.is_some() {
                compile_with_secrets(&documents, &settings)?
            } else {
                compile_manifest(&documents, &settings)?
            };
            for remark in in_force.secrets.remarks() {
                eprintln!("{file}: note: {remark}");
            }
            let content = documents.policies.policies.first().map(|policy| &policy.content);
            let warnings = match (in_force.policy(), content) {
                (Some(policy), Some(content)) => alone::warnings(
                    policy,
                    content,
                    &in_force.wall,
                    &documents.pool.caps,
                    pool.map(|pool| &pool.spec),
                    floor.is_some().then_some(&*in_force.wall.floor),
                ),
                (None, _) | (_, None) => Vec::new(),
            };
            Ok(Checked {
                in_force,
                documents,
                warnings,
            })
        })
        .collect()
}

fn resolver(args: &CheckArgs) -> anyhow::Result<Option<Resolver>> {
    let resolver = match (args.resolver.as_slice(), args.resolve || args.dns) {
        ([], false) => return Ok(None),
        ([], true) => Resolver::from_system(),
        (servers, _) => {
            Resolver::with_nameservers(servers.to_vec()).context("failed to set up the resolver")?
        }
    };
    Ok(Some(resolver))
}

fn caller(policy: &Policy, client: Option<&str>) -> anyhow::Result<Caller> {
    let Some(client) = client else {
        return Ok(Caller::UNKNOWN);
    };
    let caller = policy.caller([client]);
    if !caller.is_known() {
        let names: Vec<_> = policy
            .clients()
            .iter()
            .map(|client| client.name.as_str())
            .collect();
        bail!(
            "the policy has no client {client:?}; it has {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
    }
    Ok(caller)
}

/// Everything that is known without a look-up.
fn explain(
    policy: &std::sync::Arc<Policy>,
    wall: &std::sync::Arc<Wall>,
    caller: Caller,
    asked: &Asked,
    client_named: bool,
) -> (Explained, Option<Permit>) {
    let ask = Ask::tunnel(asked.target.clone()).by(caller);
    let permitted = match &asked.http {
        None => policy.permit(wall, ask).map(|permit| (permit, Tls::None)),
        Some(http) => {
            let ask = ask.http(&http.method, &http.path);
            let permitted = policy.permit_http(wall, ask.clone(), http.port_was_written, false);
            match permitted {
                Ok((permit, true)) => Ok((permit, Tls::Always)),
                Ok((permit, false)) => {
                    let tls = permit.settings().upstream_tls.as_ref();
                    let on_request = tls.is_some_and(|tls| tls.when == When::OnRequest);
                    Ok((permit, if on_request { Tls::OnRequest } else { Tls::None }))
                }
                // A rule for port 443 may speak TLS for requests that ask, where no rule is for port 80.
                Err(deny) => match policy.permit_http(wall, ask, http.port_was_written, true) {
                    Ok((permit, _)) => Ok((permit, Tls::OnlyOnRequest)),
                    Err(_) => Err(deny),
                },
            }
        }
    };
    let mut explained = Explained::new(policy, wall, asked);
    match permitted {
        Err(deny) => {
            if let (Deny::NoRuleMatches { .. }, Some(http)) = (&deny, &asked.http) {
                explained.destination = policy
                    .unmatched(&asked.target, http.port_was_written, false)
                    .to_string();
            }
            explained.refused(Verdict::Deny, &deny.into());
            if !client_named && !policy.clients().is_empty() {
                explained.hint = Some("the policy names clients: say which one asks with --client");
            }
            (explained, None)
        }
        Ok((permit, tls)) => {
            explained.permitted(&permit, tls);
            if let Host::Address(ip) = permit.target().host() {
                if let Err(deny) = permit.vet(*ip) {
                    explained.refused(Verdict::Deny, &deny.into());
                    return (explained, None);
                }
                return (explained, None);
            }
            (explained, Some(permit))
        }
    }
}

/// One look-up, and what the floor says to each address.
async fn resolve(resolver: &Resolver, permit: &Permit, explained: &mut Explained) {
    let Host::Name(name) = permit.target().host() else {
        return;
    };
    let ips = match resolver.resolve(name).await {
        Ok(ips) => ips,
        Err(error) => {
            let fault = Fault::from(&error);
            return explained.refused(Verdict::Error, &Reason::Fault(fault));
        }
    };
    let mut refused: Option<Deny> = None;
    let mut passes = false;
    for ip in ips.iter().copied() {
        let vetted = permit.vet(ip);
        passes |= vetted.is_ok();
        explained
            .addresses
            .get_or_insert_default()
            .push(Address::new(ip, vetted.as_ref().err()));
        refused = refused.or_else(|| vetted.err());
    }
    if let (false, Some(deny)) = (passes, refused) {
        explained.refused(Verdict::Deny, &deny.into());
    }
}

impl Output {
    fn is_json(self) -> bool {
        match self {
            Self::Json => true,
            Self::Text => false,
        }
    }
}
