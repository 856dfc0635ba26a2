//! What is well-formed and means nothing, or more than it seems to: rules that can never match, exceptions of a pool that
//! open nothing or far too much, promises that nobody outside can see.
//!
//! Nothing here decides about a request. The operator says it in conditions, `egressway-proxy check` on the terminal, both
//! from this code. What the compiler refuses has been refused before.

mod pool;

use std::fmt;

use ipnet::IpNet;

use super::floor::Tier;
use super::host::HostPattern;
use super::policy::Policy;
use super::rule::Rule;
use super::{Wall, cidr};
use crate::wire::document::{Action, Content, Mode, Sni, Tunnels};

pub use pool::{caps, promises};

/// Most patterns of one rule that are named.
const PATTERNS_MAX: usize = 5;
/// A label that stands for any, and that nobody has.
const ANY_LABEL: &str = "egressway-any-label";

/// Something that its author may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The field, with the name of the rule.
    pub field: String,
    /// What is odd about it, and what to do.
    pub problem: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// What of the rules of a policy has no effect inside of this wall. `content` is what the policy was compiled from.
#[must_use]
pub fn rules(policy: &Policy, content: &Content, wall: &Wall) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let allows = content.rules.iter().any(|rule| rule.action == Action::Allow);
    if !allows && wall.caps.mode(content.mode) == Mode::Enforce {
        warnings.push(Warning {
            field: "spec.rules".to_owned(),
            problem: "no rule allows anything, so every request is refused: add an Allow rule, or write suspend: true if that is meant"
                .to_owned(),
        });
    }
    for (document, rule) in content.rules.iter().zip(&policy.rules) {
        if document.action == Action::Deny {
            continue;
        }
        let look = Look { policy, wall, rule };
        let mut warn = |problem: String| {
            warnings.push(Warning {
                field: format!("spec.rules[{}]", document.name),
                problem,
            });
        };
        if let Some(problem) = look.ports() {
            warn(problem);
            continue;
        }
        let patterns = document.hosts.len().saturating_add(document.cidrs.len());
        let hosts = document
            .hosts
            .iter()
            .filter_map(|text| Some((text, look.host(text)?)));
        let cidrs = document
            .cidrs
            .iter()
            .filter_map(|text| Some((text, look.cidr(text)?)));
        let dead: Vec<String> = hosts
            .chain(cidrs)
            .map(|(text, why)| format!("{text} {why}"))
            .collect();
        if !dead.is_empty() {
            let which = if dead.len() == patterns {
                "it can never match"
            } else {
                "in part it can never match"
            };
            let more = dead.len().saturating_sub(PATTERNS_MAX);
            let mut list = dead
                .iter()
                .take(PATTERNS_MAX)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("; ");
            if more > 0 {
                list.push_str(&format!("; and {more} more"));
            }
            warn(format!("{which}: {list}"));
        }
        if document.sni == Sni::MustMatch && document.signing.is_some() && document.tunnels == Tunnels::Refuse
        {
            warn(
                "sni is about tunnels, and signing refuses them: leave one out, or write tunnels: Allow"
                    .to_owned(),
            );
        }
    }
    warnings
}

/// One Allow rule, and what may stand in its way.
struct Look<'a> {
    policy: &'a Policy,
    wall: &'a Wall,
    rule: &'a Rule,
}

impl Look<'_> {
    fn ports(&self) -> Option<String> {
        let open = self.wall.caps.ports.as_ref();
        let closed = open.is_some_and(|open| !open.overlaps(&self.rule.ports));
        closed.then(|| "it can never match: the pool opens none of its ports (spec.caps.ports)".to_owned())
    }

    /// Why a host pattern never matches a request that is let through.
    fn host(&self, text: &str) -> Option<String> {
        let pattern = HostPattern::parse(text).ok()?;
        let (probe, exact) = match &pattern {
            HostPattern::Exact(name) => (name.clone(), true),
            HostPattern::Suffix(name) => (format!("{ANY_LABEL}.{name}"), false),
            HostPattern::Any => (format!("{ANY_LABEL}.{ANY_LABEL}"), false),
        };
        let caps = &self.wall.caps;
        let excepted = exact && caps.excepts_name(&probe, &self.rule.ports);
        if self.wall.floor.check_name(&probe).is_err() && !excepted {
            return Some(
                "is a name inside of the cluster or of a metadata service, and never looked up (spec.caps.internalDestinations of the pool opens exact names)"
                    .to_owned(),
            );
        }
        if caps.deny.contains(&probe) || caps.allow.as_ref().is_some_and(|allow| !allow.overlaps(&pattern)) {
            return Some("is outside of what the pool opens (spec.caps.hosts)".to_owned());
        }
        let denying = self.policy.index.by_name(&probe).map(|(_, id)| id);
        self.denied(denying)
    }

    /// Why a range never matches a request that is let through.
    fn cidr(&self, text: &str) -> Option<String> {
        let net = cidr::parse(text).ok()?;
        let caps = &self.wall.caps;
        let excepted = caps.excepts_range(&net, &self.rule.ports);
        match self.wall.floor.tier(&net) {
            Tier::Never(what) => return Some(format!("is never reachable: {what}")),
            Tier::Internal(_) if excepted => {}
            Tier::Internal(what) => {
                return Some(format!(
                    "is private ({what}): no rule opens it without spec.caps.internalDestinations of the pool, for a range that it lies in"
                ));
            }
            Tier::Open => {
                if !caps.opens_range(&net) {
                    return Some("is outside of what the pool opens (spec.caps.cidrs; a pool that lists hosts opens no others)".to_owned());
                }
            }
        }
        if caps.deny_cidrs.covers(&net) {
            return Some("is denied by the pool (spec.caps.cidrs.deny)".to_owned());
        }
        self.denied(self.policy.index.by_range(&net))
    }

    /// The Deny rule that takes all of it.
    fn denied(&self, ids: impl Iterator<Item = u32>) -> Option<String> {
        let mut rules = ids.filter_map(|id| self.policy.rule(id));
        let deny = rules.find(|other| other.action == Action::Deny && other.takes_all_of(self.rule))?;
        Some(format!("is denied by rule {}, and Deny beats Allow", deny.name))
    }
}

/// Whether a range has addresses that customers or clients outside of private networks could ever see.
fn seen_outside(net: &IpNet) -> Result<(), &'static str> {
    match super::address::tier(net) {
        Tier::Internal(what) => Err(what),
        // Documentation and benchmarking are what laboratories and manuals have.
        Tier::Never(what) if what.starts_with("documentation") || what.starts_with("benchmarking") => Ok(()),
        Tier::Never(what) => Err(what),
        Tier::Open => Ok(()),
    }
}

#[cfg(test)]
mod tests;
