//! From what a client presents to the clients of the policy that it is, and what a refused one is told.
//!
//! Everything that a client has must hold together: a pod *and* a credential, where it has both. One request can be
//! several clients at once.

use std::net::IpAddr;
use std::sync::Arc;

use egressway_core::acl::{Caller, Deny, Policy, Wall};
use egressway_core::wire::document::Auth;
use egressway_core::wire::names::token_audience;

use super::clients::{ClientTable, Pod};
use super::credential::Credential;
use super::keyring::Keyring;
use super::token::{InvalidToken, Subject};

/// What a request says about who asks.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Where it comes from.
    pub ip: IpAddr,
    /// What stands in `Proxy-Authorization`.
    pub credential: &'a Credential,
    /// Names of the clients whose certificate the connection presented.
    pub certified: &'a [String],
}

/// Who asks, as far as a policy knows.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The clients.
    pub caller: Caller,
    /// The pod that the address belongs to.
    pub pod: Option<Arc<str>>,
    /// The address is in no row of the table, and a row would make it a client.
    pub may_be_a_pod: bool,
    /// The credential is one of a client's.
    pub credential_holds: bool,
    /// What is wrong with a token, for the log.
    pub invalid_token: Option<InvalidToken>,
}

/// Finds out which clients of a policy a request comes from.
#[must_use]
pub fn identify(policy: &Policy, table: &ClientTable, keyring: &Keyring, evidence: Evidence<'_>) -> Identity {
    let mut identity = Identity::default();
    if policy.clients().is_empty() {
        identity.pod = table.pod(policy, evidence.ip).map(|pod| Arc::clone(&pod.name));
        return identity;
    }
    let pod = table.pod(policy, evidence.ip);
    let keys = keyring.of(policy);
    // Verified once for all clients, and only if one asks for it.
    let mut subject: Option<Option<Subject>> = None;
    let mut names: Vec<&str> = Vec::new();
    for client in policy.clients() {
        let holds = match &client.auth {
            None => true,
            Some(Auth::Certificate(_)) => evidence.certified.contains(&client.name),
            Some(Auth::Passwords(refs)) => {
                let holds = evidence
                    .credential
                    .password()
                    .is_some_and(|password| keys.has_password(refs, password));
                identity.credential_holds |= holds;
                holds
            }
            Some(Auth::ServiceAccounts(accounts)) => {
                let subject = subject.get_or_insert_with(|| {
                    verify(policy, table, evidence.credential, &mut identity.invalid_token)
                });
                let holds = subject
                    .as_ref()
                    .is_some_and(|subject| accounts.iter().any(|account| account == subject.as_str()));
                identity.credential_holds |= holds;
                holds
            }
        };
        if !holds {
            continue;
        }
        match (client.pods, pod) {
            (false, _) => names.push(&client.name),
            (true, Some(pod)) if pod.clients.contains(&client.name) => names.push(&client.name),
            (true, Some(_)) => {}
            (true, None) => identity.may_be_a_pod = true,
        }
    }
    identity.caller = policy.caller(names);
    identity.pod = pod.map(|pod: &Arc<Pod>| Arc::clone(&pod.name));
    identity
}

fn verify(
    policy: &Policy,
    table: &ClientTable,
    credential: &Credential,
    invalid: &mut Option<InvalidToken>,
) -> Option<Subject> {
    let (issuer, token) = (table.issuer()?, credential.token()?);
    let audience = token_audience(policy.namespace(), policy.name());
    match issuer.verify(token, &audience) {
        Ok(subject) => Some(subject),
        Err(error) => {
            *invalid = Some(error);
            None
        }
    }
}

/// What is asked about a request that is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The policy, and what stands above it.
    pub policy: &'a Policy,
    /// The pool's caps.
    pub wall: &'a Wall,
    /// The client pods.
    pub table: &'a ClientTable,
    /// Where it comes from.
    pub ip: IpAddr,
    /// Who asked, as far as is known.
    pub identity: &'a Identity,
    /// What was presented.
    pub credential: &'a Credential,
}

/// What a client is told whose request is refused for the reason `deny`: a challenge (407) where a credential could
/// change the verdict, else the verdict (403).
///
/// Whom nothing admits is challenged where a credential of some client would admit it, whatever it asks for: strangers
/// learn nothing about rules. Whom the policy admits without a credential is challenged where `permits` says that the
/// clients of a credential would be let through. Whoever presented one that holds is not asked again: it would send the
/// same, as would whoever comes as the wrong pod with the right password.
#[must_use]
pub fn refusal(refused: Refused<'_>, deny: Deny, permits: impl FnOnce(Caller) -> bool) -> Deny {
    let Refused {
        policy,
        wall,
        identity,
        ..
    } = refused;
    let admitted = policy.admits(wall, identity.caller).is_ok();
    let challenged = !identity.credential_holds && {
        let caller = with_credentials(refused);
        caller != identity.caller
            && if admitted {
                permits(caller)
            } else {
                policy.admits(wall, caller).is_ok()
            }
    };
    match (challenged, admitted) {
        (true, _) if refused.credential.is_some() => Deny::CredentialsInvalid,
        (true, _) => Deny::CredentialsMissing,
        // Suspended is suspended, whoever asks.
        (false, false) if matches!(deny, Deny::CredentialsMissing) => Deny::ClientUnknown,
        (false, _) => deny,
    }
}

/// Who the source could be besides: every client that takes a credential from where it is. A source that is in no row
/// may be in the next table.
fn with_credentials(refused: Refused<'_>) -> Caller {
    let Refused {
        policy,
        table,
        ip,
        identity,
        ..
    } = refused;
    let pod = table.pod(policy, ip);
    let may_be = policy.clients().iter().filter(|client| {
        let sends = matches!(client.auth, Some(Auth::Passwords(_) | Auth::ServiceAccounts(_)));
        let stands = !client.pods || pod.is_none_or(|pod| pod.clients.contains(&client.name));
        sends && stands
    });
    let names = may_be.map(|client| client.name.as_str());
    policy.caller(policy.names_of(identity.caller).chain(names))
}

/// The values of `Proxy-Authenticate`: one for each way in which a client of the policy can answer.
#[must_use]
pub fn challenges(policy: &Policy) -> Vec<String> {
    let (mut basic, mut bearer) = (false, false);
    for client in policy.clients() {
        match client.auth {
            Some(Auth::Passwords(_)) => basic = true,
            // As the password of Basic, or by itself.
            Some(Auth::ServiceAccounts(_)) => (basic, bearer) = (true, true),
            Some(Auth::Certificate(_)) | None => {}
        }
    }
    // Names of Kubernetes objects need no escaping.
    let realm = format!("realm=\"egressway {}/{}\"", policy.namespace(), policy.name());
    let basic = basic.then(|| format!("Basic {realm}, charset=\"UTF-8\""));
    let bearer = bearer.then(|| format!("Bearer {realm}"));
    basic.into_iter().chain(bearer).collect()
}

#[cfg(test)]
mod tests;
