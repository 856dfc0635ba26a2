//! Pure: the contract with its states, and what was seen outside of it.
//!
//! A report never adds to the contract where the pool declares addresses: it only moves states. Whatever else was seen
//! is listed apart, one observer's odd answer included.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use egressway_core::wire::report::Seen;
use egressway_crds::{EgressIp, EgressPolicyStatus, UnexpectedIp};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Facts, PodView};
use crate::egress_pool::validate::{CellState, Promise, ValidCell, ValidPool};

/// How long an address of a discovery that is no longer seen stays listed: customers may still have it.
const STALE_SECONDS_MAX: i64 = 24 * 3600;
/// Most addresses listed as unexpected; a lying observer can make up any number.
const UNEXPECTED_MAX: usize = 32;
/// Most pods named per unexpected address.
const PODS_MAX: usize = 10;

/// The addresses of a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// What customers allow.
    pub listed: Vec<EgressIp>,
    /// What nobody promised.
    pub unexpected: Vec<UnexpectedIp>,
    /// What is promised, for another cell than that of the pod that leaves from it. It stands in the contract, so it is
    /// no address that nobody promised.
    pub crossed: Vec<Crossed>,
}

/// A pod that leaves from an address that is promised for another cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// The address.
    pub ip: IpAddr,
    /// Name of the pod.
    pub pod: String,
    /// The cell that it is promised for.
    pub home: String,
    /// A quorum saw it.
    pub confirmed: bool,
}

impl Addresses {
    /// Whether traffic really leaves from where it must not.
    #[must_use]
    pub fn drifts(&self) -> bool {
        self.unexpected.iter().any(|entry| entry.confirmed)
            || self.crossed.iter().any(|entry| entry.confirmed)
    }
}

/// What pods of one cell saw.
struct CellSeen<'a> {
    pods: Vec<&'a PodView>,
}

impl CellSeen<'_> {
    fn confirmed(&self) -> BTreeSet<IpAddr> {
        self.entries()
            .filter(|(_, seen)| seen.confirmed)
            .map(|(_, seen)| seen.ip)
            .collect()
    }

    fn entries(&self) -> impl Iterator<Item = (&PodView, &Seen)> {
        let reports = self
            .pods
            .iter()
            .filter_map(|pod| Some((*pod, pod.report.as_ref()?)));
        reports.flat_map(|(pod, report)| report.egress.seen.iter().map(move |seen| (pod, seen)))
    }

    /// There are pods, and none of them has finished a round yet: a rollout that replaced all of a cell's pods says
    /// nothing about its addresses.
    fn nobody_looked(&self) -> bool {
        let rounds = |pod: &PodView| pod.report.as_ref().map_or(0, |report| report.egress.rounds);
        !self.pods.is_empty() && self.pods.iter().all(|pod| rounds(pod) == 0)
    }

    fn last_seen(&self, ip: IpAddr) -> Option<Timestamp> {
        let last = self
            .entries()
            .filter(|(_, seen)| seen.ip == ip)
            .map(|(_, seen)| seen.last_seen)
            .max()?;
        Timestamp::from_second(i64::try_from(last).ok()?).ok()
    }
}

/// Computes them.
#[must_use]
pub fn addresses(facts: &Facts<'_>, previous: &EgressPolicyStatus) -> Addresses {
    let Some(pool) = facts.pool.filter(|_| facts.validated.valid.is_some()) else {
        // Without a pool that means something nothing new can be said; what was promised is not taken back.
        return Addresses {
            listed: previous.egress_ips.clone(),
            ..Addresses::default()
        };
    };
    let mut listed: BTreeMap<(u8, IpAddrKey, String), EgressIp> = BTreeMap::new();
    let mut unexpected: BTreeMap<IpAddr, UnexpectedIp> = BTreeMap::new();
    let mut crossed = Vec::new();
    for cell in &pool.cells {
        let pods = facts
            .pods
            .iter()
            .filter(|pod| pod.cell == cell.name && pod.counts() && !pod.unreachable)
            .collect();
        let seen = CellSeen { pods };
        let entries = match &cell.promises {
            Some(promises) => promised(facts, cell, promises, &seen, previous),
            None => discovered(facts, cell, &seen, previous),
        };
        for entry in entries {
            let (address, len) = key(&entry.ip);
            listed
                .entry((u8::from(address.is_ipv6()), IpAddrKey(address), len))
                .or_insert(entry);
        }
        if cell.state != CellState::Disabled {
            let home = |ip| home(facts, pool, cell, ip);
            crossed.extend(
                seen.entries()
                    .filter(|(_, sighting)| !sighting.observers.is_empty())
                    .filter_map(|(pod, sighting)| {
                        Some(Crossed {
                            ip: sighting.ip,
                            pod: pod.name.clone(),
                            home: home(sighting.ip)?.to_owned(),
                            confirmed: sighting.confirmed,
                        })
                    }),
            );
            drifted(facts, cell, &seen, previous, &mut unexpected, |ip| {
                home(ip).is_some()
            });
        }
    }
    Addresses {
        listed: listed.into_values().collect(),
        unexpected: unexpected.into_values().take(UNEXPECTED_MAX).collect(),
        crossed,
    }
}

/// The other cell that an address is promised for now, where it is not promised for this one.
fn home<'a>(facts: &Facts<'_>, pool: &'a ValidPool, cell: &ValidCell, ip: IpAddr) -> Option<&'a str> {
    let promises = |cell: &ValidCell| {
        let mut promises = cell.promises.iter().flatten();
        promises.any(|promise| promise.in_force(facts.now) && promise.net.contains(&ip))
    };
    let mut others = pool.cells.iter().filter(|other| other.name != cell.name);
    let home = others.find(|other| promises(other))?;
    (!promises(cell)).then_some(home.name.as_str())
}

/// Orders addresses by number, so that .9 comes before .10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct IpAddrKey(IpAddr);

fn key(text: &str) -> (IpAddr, String) {
    let address = text.split('/').next().and_then(|ip| ip.parse().ok());
    (
        address.unwrap_or_else(|| IpAddr::from([0, 0, 0, 0])),
        text.to_owned(),
    )
}

fn promised(
    facts: &Facts<'_>,
    cell: &ValidCell,
    promises: &[Promise],
    seen: &CellSeen<'_>,
    previous: &EgressPolicyStatus,
) -> Vec<EgressIp> {
    let confirmed = seen.confirmed();
    let mut entries = Vec::new();
    for promise in promises.iter().filter(|promise| !promise.over(facts.now)) {
        let single = promise.net.prefix_len() == promise.net.max_prefix_len();
        let planned = promise.not_before.is_some_and(|time| time > facts.now);
        if !single {
            let state = if planned {
                "Planned"
            } else {
                retiring_or(promise, "Declared")
            };
            entries.push(entry(
                facts,
                cell,
                &promise.text(),
                promise.net,
                state,
                promise,
                None,
                previous,
            ));
        }
        let within: BTreeSet<IpAddr> = if single {
            [promise.net.addr()].into()
        } else {
            let remembered = previous.egress_ips.iter().filter(|old| old.cell == cell.name);
            let remembered = remembered.filter_map(|old| old.ip.parse().ok());
            confirmed
                .iter()
                .copied()
                .chain(remembered)
                .filter(|ip| promise.net.contains(ip))
                .collect()
        };
        for ip in within {
            let was_seen = old(previous, cell, &ip.to_string())
                .is_some_and(|old| matches!(old.state.as_str(), "Verified" | "Unconfirmed" | "Stale"));
            let was_verified =
                old(previous, cell, &ip.to_string()).is_some_and(|old| old.state == "Verified");
            let state = match (planned, confirmed.contains(&ip), was_seen) {
                (true, _, _) => "Planned",
                (false, true, _) => "Verified",
                (false, false, true) if was_verified && seen.nobody_looked() => "Verified",
                (false, false, true) => retiring_or(promise, "Stale"),
                (false, false, false) => retiring_or(promise, "Declared"),
            };
            let last_seen = (state == "Stale").then(|| stale_since(facts, cell, seen, ip, previous));
            entries.push(entry(
                facts,
                cell,
                &ip.to_string(),
                promise.net,
                state,
                promise,
                last_seen,
                previous,
            ));
        }
    }
    entries
}

fn retiring_or(promise: &Promise, otherwise: &'static str) -> &'static str {
    if promise.not_after.is_some() {
        "Retiring"
    } else {
        otherwise
    }
}

fn discovered(
    facts: &Facts<'_>,
    cell: &ValidCell,
    seen: &CellSeen<'_>,
    previous: &EgressPolicyStatus,
) -> Vec<EgressIp> {
    let confirmed = seen.confirmed();
    let remembered = previous.egress_ips.iter().filter(|old| old.cell == cell.name);
    let remembered: BTreeSet<IpAddr> = remembered.filter_map(|old| old.ip.parse().ok()).collect();
    let none = Promise {
        net: IpNet::from(IpAddr::from([0; 4])),
        not_before: None,
        not_after: None,
        not_after_text: None,
    };
    let mut entries = Vec::new();
    for ip in confirmed.union(&remembered) {
        let was = old(previous, cell, &ip.to_string()).is_some_and(|old| old.state == "Unconfirmed");
        let now = confirmed.contains(ip) || (was && seen.nobody_looked());
        let last_seen = (!now).then(|| stale_since(facts, cell, seen, *ip, previous));
        let too_old =
            last_seen.is_some_and(|last| facts.now.as_second() - last.as_second() > STALE_SECONDS_MAX);
        if too_old {
            continue;
        }
        let state = if now { "Unconfirmed" } else { "Stale" };
        entries.push(entry(
            facts,
            cell,
            &ip.to_string(),
            IpNet::from(*ip),
            state,
            &none,
            last_seen,
            previous,
        ));
    }
    entries
}

/// When a stale address was seen last: what a pod remembers, else what status said, else now.
fn stale_since(
    facts: &Facts<'_>,
    cell: &ValidCell,
    seen: &CellSeen<'_>,
    ip: IpAddr,
    previous: &EgressPolicyStatus,
) -> Timestamp {
    let said = old(previous, cell, &ip.to_string())
        .and_then(|old| old.last_seen.as_ref())
        .map(|time| time.0);
    said.or_else(|| seen.last_seen(ip)).unwrap_or(facts.now)
}

fn old<'a>(previous: &'a EgressPolicyStatus, cell: &ValidCell, ip: &str) -> Option<&'a EgressIp> {
    previous
        .egress_ips
        .iter()
        .find(|old| old.ip == ip && old.cell == cell.name)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one constructor for the three kinds of entry"
)]
fn entry(
    facts: &Facts<'_>,
    cell: &ValidCell,
    ip: &str,
    net: IpNet,
    state: &str,
    promise: &Promise,
    last_seen: Option<Timestamp>,
    previous: &EgressPolicyStatus,
) -> EgressIp {
    let since = old(previous, cell, ip)
        .filter(|old| old.state == state)
        .map(|old| old.since.clone());
    EgressIp {
        ip: ip.to_owned(),
        family: family(net.addr()).to_owned(),
        cell: cell.name.clone(),
        state: state.to_owned(),
        since: since.unwrap_or_else(|| Time(whole_seconds(facts.now))),
        not_after: promise.not_after_text.clone(),
        last_seen: last_seen.map(|time| Time(whole_seconds(time))),
    }
}

fn drifted(
    facts: &Facts<'_>,
    cell: &ValidCell,
    seen: &CellSeen<'_>,
    previous: &EgressPolicyStatus,
    unexpected: &mut BTreeMap<IpAddr, UnexpectedIp>,
    is_crossed: impl Fn(IpAddr) -> bool,
) {
    let confirmed = seen.confirmed();
    let in_force = |ip: IpAddr| match &cell.promises {
        Some(promises) => promises
            .iter()
            .any(|promise| promise.in_force(facts.now) && promise.net.contains(&ip)),
        // In discovery an odd answer is one that contradicts what a quorum saw in the same family.
        None => confirmed.contains(&ip) || !confirmed.iter().any(|other| other.is_ipv4() == ip.is_ipv4()),
    };
    for (pod, sighting) in seen
        .entries()
        .filter(|(_, s)| !s.observers.is_empty() && !in_force(s.ip) && !is_crossed(s.ip))
    {
        let seconds = i64::try_from(sighting.last_seen).unwrap_or(0);
        let minute = Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap_or(facts.now);
        let text = sighting.ip.to_string();
        let since = previous
            .unexpected_ips
            .iter()
            .find(|old| old.ip == text)
            .map_or(Time(minute), |old| old.since.clone());
        let entry = unexpected.entry(sighting.ip).or_insert_with(|| UnexpectedIp {
            ip: text,
            family: family(sighting.ip).to_owned(),
            confirmed: false,
            pods: Vec::new(),
            observers: Vec::new(),
            since,
            last_seen: Time(minute),
        });
        entry.confirmed |= sighting.confirmed;
        entry.last_seen = entry.last_seen.clone().max(Time(minute));
        if entry.pods.len() < PODS_MAX && !entry.pods.contains(&pod.name) {
            entry.pods.push(pod.name.clone());
        }
        for observer in &sighting.observers {
            if !entry.observers.contains(observer) {
                entry.observers.push(observer.clone());
                entry.observers.sort();
            }
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// The API server keeps seconds; more would never compare equal.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
