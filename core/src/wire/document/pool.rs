//! `pool.json`: what the pool's admin decides for every pod that stands on it.

use serde::{Deserialize, Serialize};

use super::{Mode, PortRange, is_default};

/// `pool.json`: what the pool's admin decides for every pod that stands on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Name of the EgressPool.
    pub name: String,
    /// Who is asked for the egress address, and what follows.
    pub observation: Observation,
    /// The cells; a pod finds its own by name.
    pub cells: Vec<Cell>,
    /// The outer wall around every policy of the pool.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caps: Caps,
}

/// The outer wall: holds for every policy of the pool, in every mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caps {
    /// Modes that a policy may have; any other is enforced as Enforce. Absent: every mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modes: Option<Vec<Mode>>,
    /// Ports that may be reached; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Names that may be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCaps>,
    /// Addresses that may be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<CidrCaps>,
    /// The only exceptions to the internal tier of the floor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub internal_destinations: Vec<InternalDestination>,
    /// Whether clients must present a credential.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_auth: ClientAuth,
}

/// Names that policies of a pool may reach. Where some are allowed, targets written as addresses are not, but for those
/// that [`CidrCaps`] allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostCaps {
    /// Host patterns; empty: every name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Host patterns that beat `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// Addresses that policies of a pool may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CidrCaps {
    /// Ranges that targets written as addresses must lie in; where no names are allowed, the addresses of names too. Empty:
    /// every address, or none where names are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Ranges that nothing is dialled in, whatever name leads there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// One exception to the internal tier of the floor: a range, or a name whose addresses lie in ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalDestination {
    /// A range; opened for rules whose own range lies inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// An exact name; opened for rules that name exactly it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where the addresses of `host` must lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// Destination ports; never empty.
    pub ports: Vec<PortRange>,
}

/// Whether clients must present a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// The address of a client pod is enough where the policy says so.
    #[default]
    Optional,
    /// A client that is known by its address alone is not served.
    Required,
}

/// One cell as its pods see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cell {
    /// Name, unique within the pool.
    pub name: String,
    /// The addresses promised, each with its dates: a pod decides by its own clock which count, so that a promise begins
    /// and ends whoever else is down. Empty in discovery.
    #[serde(default)]
    pub promised: Vec<Promised>,
    /// True when the pool declares addresses for this cell, even if none is promised at any moment.
    #[serde(default)]
    pub declared: bool,
    /// True while the cell takes no new requests (state Draining).
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub draining: bool,
}

/// A range that is promised, for a time.
///
/// One that is promised for ever is spelled as its range alone, as before promises had dates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Spelled", into = "Spelled")]
pub struct Promised {
    /// The range.
    pub cidr: String,
    /// Seconds since the Unix epoch, before which it is not in use.
    pub not_before: Option<u64>,
    /// Seconds since the Unix epoch, from which on it is not in use any more.
    pub not_after: Option<u64>,
}

/// A [`Promised`] as it stands in the document.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled {
    Always(String),
    Dated(Dated),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dated {
    cidr: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_after: Option<u64>,
}

impl From<Spelled> for Promised {
    fn from(spelled: Spelled) -> Self {
        match spelled {
            Spelled::Always(cidr) => Self::always(&cidr),
            Spelled::Dated(dated) => Self {
                cidr: dated.cidr,
                not_before: dated.not_before,
                not_after: dated.not_after,
            },
        }
    }
}

impl From<Promised> for Spelled {
    fn from(promised: Promised) -> Self {
        match promised {
            Promised {
                cidr,
                not_before: None,
                not_after: None,
            } => Self::Always(cidr),
            Promised {
                cidr,
                not_before,
                not_after,
            } => Self::Dated(Dated {
                cidr,
                not_before,
                not_after,
            }),
        }
    }
}

impl Promised {
    /// A range that is promised for ever.
    #[must_use]
    pub fn always(cidr: &str) -> Self {
        Self {
            cidr: cidr.to_owned(),
            ..Self::default()
        }
    }
}

/// How pods find out their egress address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observation {
    /// Whom to ask; empty switches observation off.
    pub observers: Vec<Observer>,
    /// How many distinct observers must have seen an address before it is believed.
    pub quorum: u32,
    /// Milliseconds from the start of one round to the start of the next.
    pub interval_ms: u64,
    /// What a pod does when a quorum saw an address that is not promised.
    pub on_mismatch: OnMismatch,
}

/// One observer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observer {
    /// Unique within the pool.
    pub name: String,
    /// `http://` or `https://` URL whose answer is the caller's address as text.
    pub url: String,
    /// PEM bundle that replaces the compiled-in roots for this observer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// What a pod does when a quorum saw an address that is not promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMismatch {
    /// Stop being ready and answer 503 to new requests.
    Quarantine,
    /// Go on and report.
    #[default]
    Warn,
    /// Go on, report, and leave the condition alone.
    Off,
}
