//! What each name server says about a name, by the code that a proxy asks with: for `--dns`.
//!
//! Every server is asked, also those whose turn would never come; what the proxy would make of it is shown elsewhere.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::resolve::question::Meaning;
use crate::resolve::{Resolver, ServerAnswer};

/// One answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DnsAnswer {
    server: SocketAddr,
    /// `A` or `AAAA`.
    family: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    /// Seconds, where the server said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    /// Why it is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    millis: f64,
}

/// Asks all of them, in the order of their list.
pub(super) async fn ask_each(resolver: &Resolver, name: &str) -> Vec<DnsAnswer> {
    resolver
        .ask_each(name)
        .await
        .into_iter()
        .map(DnsAnswer::from)
        .collect()
}

impl From<ServerAnswer> for DnsAnswer {
    fn from(answer: ServerAnswer) -> Self {
        let (addresses, ttl, problem) = match answer.outcome {
            Ok(Meaning::Found { addresses, ttl }) => (addresses, Some(ttl), None),
            Ok(Meaning::Missing { ttl }) => (Vec::new(), ttl, None),
            Err(flaw) => (Vec::new(), None, Some(flaw.to_string())),
        };
        Self {
            server: answer.server,
            family: answer.family.as_str(),
            addresses,
            ttl,
            problem,
            millis: (answer.took.as_secs_f64() * 10_000.0).round() / 10.0,
        }
    }
}

impl fmt::Display for DnsAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.server, self.family)?;
        match (&self.problem, self.addresses.as_slice()) {
            (Some(problem), _) => f.write_str(problem)?,
            (None, []) => f.write_str("no such name, or no such record")?,
            (None, addresses) => {
                for (n, ip) in addresses.iter().enumerate() {
                    write!(f, "{}{ip}", if n == 0 { "" } else { ", " })?;
                }
            }
        }
        if let Some(ttl) = self.ttl {
            write!(f, ", good for {ttl} s")?;
        }
        write!(f, " ({} ms)", self.millis)
    }
}
