//! mole's `acl.yaml`: Smokescreen's ACL with one service, `authed`, whose clients know one password.
//!
//! mole has its service on `report` in order to let everything public through; that is mode Open here, in which Deny
//! rules hold.

use anyhow::Context as _;
use egressway_core::manifest::{Auth, Client, PolicySpec, SecretKeyRef};

use super::Converted;
use super::keys::Keys;
use super::smokescreen_acl::Action;
use super::values::{Hosts, overlap};

/// The one role that mole knows.
const ROLE: &str = "authed";
/// Name of the Secret with the password.
const SECRET: &str = "proxy-password";

pub(super) fn convert(mut keys: Keys) -> anyhow::Result<Converted> {
    let mut converted = Converted::default();
    let notes = &mut converted.notes;
    keys.text("version")?;
    let (mut action, mut allowed) = (Action::Report, Hosts::default());
    for mut service in keys.objects("services")? {
        let name = service.text("name")?.context("a service has no name")?;
        if name == ROLE {
            action = Action::parse(service.text("action")?.as_deref())?;
            allowed = Hosts::allowed(service.texts("allowed_domains")?, "allowed_domains", notes);
            service.note("project", "was for logs and metrics only", notes);
            service.rest(notes);
        } else {
            notes.push(format!(
                "services {name}: mole knows no other service than {ROLE}; left out"
            ));
        }
    }
    let global_allow = Hosts::allowed(keys.texts("global_allow_list")?, "global_allow_list", notes);
    let mut deny = Hosts::of(keys.texts("global_deny_list")?, "global_deny_list", notes);
    deny.names.retain(|denied| {
        let overridden = allowed.names.iter().any(|own| overlap(own, denied));
        if overridden {
            notes.push(format!(
                "global_deny_list {denied}: left out, because allowed_domains names some of it"
            ));
        }
        !overridden
    });
    keys.note("default", "clients without the password are not served", notes);
    keys.rest(notes);
    notes.push(format!(
        "PROXY_PASSWORD: put it into Secret {SECRET}, key password; a second entry of passwordSecretRefs serves rotation"
    ));
    let mut rules = allowed.rules("allowed", None);
    rules.extend(global_allow.rules("global-allow", None));
    rules.extend(deny.rules("global-deny", Some("Deny")));
    let client = Client {
        name: ROLE.to_owned(),
        from: None,
        auth: Some(Auth {
            password_secret_refs: Some(vec![SecretKeyRef {
                name: SECRET.to_owned(),
                key: None,
            }]),
            ..Auth::default()
        }),
    };
    let mode = match action {
        Action::Enforce => None,
        Action::Report | Action::Open => Some("Open".to_owned()),
    };
    let spec = PolicySpec {
        mode,
        clients: Some(vec![client]),
        rules,
        ..PolicySpec::default()
    };
    converted.policies.push(("mole".to_owned(), spec));
    Ok(converted)
}
