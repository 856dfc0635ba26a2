//! The pool's document, parsed: whom to ask, how often, and what is promised for this pod's cell.
//!
//! Pure. What means nothing is refused here, together with the other documents, so that a round has nothing left that
//! could be wrong with its input.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::cidr;
use egressway_core::acl::compile::Problems;
use egressway_core::acl::target::Target;
use egressway_core::egress::{Promise, Terms};
use egressway_core::wire::document::{self, Pool};
use http::Uri;
use http::uri::Scheme;
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};

use super::tls;
use crate::upstream_tls::Roots;

/// Most observers of a pool. The quorum needs two or three; each costs up to sixteen connections a round and pod.
pub const OBSERVERS_MAX: usize = 8;
/// Shortest round. Anything faster asks other people's servers for what a NAT cannot change that often.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Fewest and most connections to one observer over one family in a round: a NAT with several addresses spreads
/// connections over them, and with twice as many connections as addresses a window of three rounds meets most.
const PROBES: std::ops::RangeInclusive<usize> = 2..=8;
/// The same where nothing is promised, and so nobody knows how many addresses there are.
const PROBES_IN_DISCOVERY: usize = 4;

/// What one round does, and how its outcome is judged.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask.
    pub observers: Vec<Arc<Observer>>,
    /// What is promised and how to judge.
    pub terms: Terms,
    /// From the start of one round to the start of the next.
    pub interval: Duration,
}

/// One observer.
#[derive(Debug)]
pub struct Observer {
    /// Its name in the pool.
    pub name: String,
    /// Where to connect.
    pub target: Target,
    /// What is asked for.
    pub path: String,
    /// Set for `https`.
    pub tls: Option<(Arc<ClientConfig>, rustls::pki_types::ServerName<'static>)>,
}

/// An address family, as reports spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The spelling in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Plan {
    /// Parses the pool's document for the pods of one cell.
    ///
    /// # Errors
    /// Every problem.
    pub fn of(pool: &Pool, cell: &str) -> Result<Self, Problems> {
        Self::with_roots(pool, cell, &Roots::built_in().current().store)
    }

    /// The same with other roots for observers that the pool names none for.
    ///
    /// # Errors
    /// The same.
    pub(super) fn with_roots(pool: &Pool, cell: &str, roots: &Arc<RootCertStore>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        if pool.version != document::VERSION {
            let (found, reads) = (pool.version, document::VERSION);
            problems.push(
                "version",
                format!("{found} is not {reads}: upgrade the proxy first"),
            );
        }
        let observers = observers(&pool.observation, roots, &mut problems);
        let quorum = usize::try_from(pool.observation.quorum).unwrap_or(usize::MAX);
        if !observers.is_empty() && !(1..=observers.len()).contains(&quorum) {
            problems.push(
                "observation.quorum",
                format!(
                    "{quorum} of {} observers can never agree on anything",
                    observers.len()
                ),
            );
        }
        let (declared, promised) = promise(pool, cell, &mut problems);
        let plan = Self {
            terms: Terms {
                quorum,
                declared,
                promised,
                on_mismatch: pool.observation.on_mismatch,
                observed: !observers.is_empty(),
            },
            observers,
            interval: Duration::from_millis(pool.observation.interval_ms).max(INTERVAL_MIN),
        };
        problems.into_result(plan)
    }

    /// How many fresh connections each observer gets over a family in one round.
    #[must_use]
    pub fn probes(&self, family: Family) -> usize {
        if !self.terms.declared {
            return PROBES_IN_DISCOVERY;
        }
        let nets = self.terms.promised.iter().map(|promise| promise.net);
        let promised = nets.filter(|net| Family::of(net.addr()) == family);
        let addresses = promised.fold(0_usize, |sum, net| sum.saturating_add(size(net)));
        addresses.saturating_mul(2).clamp(*PROBES.start(), *PROBES.end())
    }
}

/// A cell that the pool does not know is on its way out: nothing is promised for it, and not "anything goes".
fn promise(pool: &Pool, cell: &str, problems: &mut Problems) -> (bool, Vec<Promise>) {
    let mut names = HashSet::new();
    let mut own = (true, Vec::new());
    for candidate in &pool.cells {
        let field = format!("cell {}", candidate.name);
        if !names.insert(candidate.name.as_str()) {
            problems.push(&field, "stands twice");
        }
        let mut promised = Vec::with_capacity(candidate.promised.len());
        for promise in &candidate.promised {
            match cidr::parse(&promise.cidr) {
                Ok(net) => promised.push(Promise {
                    net,
                    not_before: promise.not_before,
                    not_after: promise.not_after,
                }),
                Err(problem) => problems.push(&field, problem),
            }
        }
        if candidate.name == cell {
            own = (candidate.declared || !promised.is_empty(), promised);
        }
    }
    own
}

fn observers(
    observation: &document::Observation,
    roots: &Arc<RootCertStore>,
    problems: &mut Problems,
) -> Vec<Arc<Observer>> {
    if observation.observers.len() > OBSERVERS_MAX {
        problems.push("observation.observers", format!("more than {OBSERVERS_MAX}"));
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut observers = Vec::with_capacity(observation.observers.len());
    for observer in &observation.observers {
        let field = format!("observer {}", observer.name);
        if !names.insert(observer.name.as_str()) {
            problems.push(&field, "stands twice");
        }
        match parse(observer, roots) {
            Ok(observer) => observers.push(Arc::new(observer)),
            Err(problem) => problems.push(&field, problem),
        }
    }
    observers
}

fn parse(observer: &document::Observer, roots: &Arc<RootCertStore>) -> Result<Observer, String> {
    let uri: Uri = observer
        .url
        .parse()
        .map_err(|error| format!("the URL is malformed: {error}"))?;
    let secure = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(_) | None => return Err("the URL needs http:// or https://".to_owned()),
    };
    let authority = uri.authority().ok_or("the URL has no host")?.as_str();
    let target = Target::parse_with_default(authority, if secure { 443 } else { 80 })
        .map_err(|error| format!("the URL is malformed: {error}"))?;
    let tls = match (secure, &observer.ca_bundle) {
        (true, bundle) => Some((
            tls::config(bundle.as_deref(), roots)?,
            tls::server_name(target.host())?,
        )),
        (false, None) => None,
        (false, Some(_)) => return Err("caBundle needs an https:// URL".to_owned()),
    };
    Ok(Observer {
        name: observer.name.clone(),
        target,
        path: uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
            .to_owned(),
        tls,
    })
}

fn size(net: IpNet) -> usize {
    let bits = u32::from(net.max_prefix_len().saturating_sub(net.prefix_len()));
    1_usize.checked_shl(bits).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use egressway_core::wire::document::{Cell, Observation};

    use super::*;

    fn pool(observers: &[(&str, &str)], quorum: u32, promised: &[&str]) -> Pool {
        Pool {
            version: 1,
            name: "p".to_owned(),
            observation: Observation {
                observers: observers
                    .iter()
                    .map(|(name, url)| document::Observer {
                        name: (*name).to_owned(),
                        url: (*url).to_owned(),
                        ca_bundle: None,
                    })
                    .collect(),
                quorum,
                interval_ms: 60_000,
                ..Observation::default()
            },
            cells: vec![Cell {
                name: "a".to_owned(),
                promised: promised
                    .iter()
                    .map(|net| document::Promised::always(net))
                    .collect(),
                declared: !promised.is_empty(),
                draining: false,
            }],
            ..Pool::default()
        }
    }

    #[track_caller]
    fn refused(pool: &Pool, expected: &str) {
        let problems = Plan::of(pool, "a").unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }

    #[test]
    fn urls_are_parsed_like_any_other_target() {
        let plan = Plan::of(
            &pool(
                &[
                    ("one", "http://IP.Example./a?b"),
                    ("two", "https://[2620:4f:8000::1]:8443"),
                ],
                1,
                &[],
            ),
            "a",
        )
        .unwrap();
        let [one, two] = plan.observers.as_slice() else {
            unreachable!()
        };
        assert_eq!(
            (one.target.to_string().as_str(), one.path.as_str()),
            ("ip.example:80", "/a?b")
        );
        assert_eq!(
            (two.target.to_string().as_str(), two.path.as_str()),
            ("[2620:4f:8000::1]:8443", "/")
        );
        assert!(one.tls.is_none() && two.tls.is_some());
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_field() {
        refused(
            &pool(&[("one", "ftp://a.example")], 1, &[]),
            "observer one: the URL needs http",
        );
        refused(
            &pool(&[("one", "http://u@a.example")], 1, &[]),
            "user information",
        );
        refused(&pool(&[("one", "http://127.1")], 1, &[]), "dotted quad");
        refused(&pool(&[("one", "a.example")], 1, &[]), "needs http");
        refused(
            &pool(&[("one", "http://a.example"); 2], 1, &[]),
            "observer one: stands twice",
        );
        refused(
            &pool(&[("one", "http://a.example")], 2, &[]),
            "observation.quorum",
        );
        refused(
            &pool(&[("one", "http://a.example")], 0, &[]),
            "observation.quorum",
        );
        refused(&pool(&[], 0, &["10.0.0.1/8"]), "cell a");
        refused(&pool(&[("o", "http://a.example"); 9], 2, &[]), "more than 8");
        let mut newer = pool(&[], 0, &[]);
        newer.version = 2;
        refused(&newer, "upgrade the proxy");
    }

    #[test]
    fn connections_follow_the_promised_addresses_of_the_family() {
        let probes = |promised: &[&str]| {
            let plan = Plan::of(&pool(&[], 0, promised), "a").unwrap();
            (plan.probes(Family::V4), plan.probes(Family::V6))
        };
        assert_eq!(probes(&[]), (4, 4));
        assert_eq!(probes(&["192.31.196.1/32"]), (2, 2));
        assert_eq!(probes(&["192.31.196.0/31", "192.31.196.9/32"]), (6, 2));
        assert_eq!(probes(&["192.31.196.0/24", "2620:4f:8000::/48"]), (8, 8));
    }

    #[test]
    fn nothing_is_promised_for_a_cell_that_the_pool_does_not_know() {
        let plan = Plan::of(&pool(&[], 0, &[]), "other").unwrap();
        assert!(plan.terms.declared && plan.terms.promised.is_empty());
    }
}
