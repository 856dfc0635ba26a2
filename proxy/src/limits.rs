//! The bounds of the data path: the proxy's defaults, what a policy sets instead, and the counts that they are held to.
//!
//! Each pod has its own; pods do not coordinate. Nothing here knows requests or replies.

pub mod cgroup;
pub mod descriptors;
pub mod gauges;
pub mod governor;
pub mod memory;
pub mod places;
pub mod rate;
pub mod source;
pub mod strangers;

use std::time::Duration;

use egressway_core::acl::Policy;

/// Connections from which on some are kept back for clients that have few.
const SHARED_FROM: usize = 256;

/// Bounds of the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at one time. A tunnel takes two descriptors; the default leaves half of 20,000 for them.
    pub connections: usize,
    /// The most of them that a policy can ask for: what the process may open.
    pub connections_max: usize,
    /// Bytes of a head. nginx takes 32 KiB too; cookies of 16 KiB are seen in the wild.
    pub head_bytes: usize,
    /// From the first byte of a head, or from the connection's start, to its end: slow heads are an attack.
    pub head_time: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// To an established connection, over all addresses of a name, TLS included.
    pub connect: Duration,
    /// Nothing moves, in a tunnel or a forwarded request: below 240 s (Azure) and 350 s (AWS), after which NAT
    /// gateways drop a connection without a word.
    pub idle: Duration,
    /// Longest time of a tunnel or a forwarded request in all; for ever if absent.
    pub lifetime: Option<Duration>,
    /// Open tunnels and forwarded requests at one time; as many as there are connections if absent.
    pub tunnels: Option<usize>,
    /// The same to one destination address and port.
    pub tunnels_per_destination: Option<usize>,
    /// New requests a second over all clients.
    pub requests_per_second: Option<u64>,
    /// New requests a second of one client address.
    pub client_requests_per_second: Option<u64>,
    /// Open connections of one client address at one time.
    pub client_connections: Option<usize>,
    /// Most bytes of an answer's body to a forwarded request; unlimited if absent.
    pub response_bytes_max: Option<u64>,
    /// Most bytes of a request's body that is signed, and so held in memory: most senders of webhooks stay below
    /// 256 KiB, the largest ones in common use (GitHub, 25 MB) are the exception.
    pub signed_bytes_max: u64,
    /// Least bytes a second of such a body, in each window: what is held for somebody who sends nothing is kept from others.
    pub signed_rate: u64,
    /// How often that is looked at.
    pub signed_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 9_500,
            connections_max: usize::MAX,
            head_bytes: 32 * 1024,
            head_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            lifetime: None,
            tunnels: None,
            tunnels_per_destination: None,
            requests_per_second: None,
            client_requests_per_second: None,
            client_connections: None,
            response_bytes_max: None,
            signed_bytes_max: 1024 * 1024,
            signed_rate: 8 * 1024,
            signed_window: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The rates alone: whoever is held to other ones is asked again.
    #[must_use]
    pub fn rates(&self) -> (Option<u64>, Option<u64>) {
        (self.requests_per_second, self.client_requests_per_second)
    }

    /// These, with what the policy sets instead.
    #[must_use]
    pub fn with(self, policy: &Policy) -> Self {
        let (times, limits) = (policy.timeouts(), policy.limits());
        let count = |limit: Option<u64>| limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let time = |millis: Option<u64>| millis.map(Duration::from_millis);
        Self {
            connections: count(limits.connections)
                .unwrap_or(self.connections)
                .min(self.connections_max),
            connections_max: self.connections_max,
            head_bytes: count(limits.head_bytes).unwrap_or(self.head_bytes),
            head_time: time(times.head_ms).unwrap_or(self.head_time),
            keep_alive: self.keep_alive,
            connect: time(times.connect_ms).unwrap_or(self.connect),
            idle: time(times.idle_ms).unwrap_or(self.idle),
            lifetime: time(times.lifetime_ms).or(self.lifetime),
            tunnels: count(limits.tunnels).or(self.tunnels),
            tunnels_per_destination: count(limits.tunnels_per_destination).or(self.tunnels_per_destination),
            requests_per_second: limits.requests_per_second.or(self.requests_per_second),
            client_requests_per_second: limits
                .client_requests_per_second
                .or(self.client_requests_per_second),
            client_connections: count(limits.client_connections).or(self.client_connections),
            response_bytes_max: limits.response_body_bytes.or(self.response_bytes_max),
            signed_bytes_max: limits.signed_body_bytes.unwrap_or(self.signed_bytes_max),
            signed_rate: self.signed_rate,
            signed_window: self.signed_window,
        }
    }

    /// Connections of one client address: what is set, else seven eighths of all, so that one client leaves some to others.
    /// A pod that takes few connections has no eighth worth keeping back.
    #[must_use]
    pub fn connections_of_client(&self) -> usize {
        let all = self.connections;
        let kept_back = if all < SHARED_FROM { 0 } else { all / 8 };
        self.client_connections.unwrap_or(all - kept_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_places_to_others_unless_the_policy_says_otherwise() {
        for (connections, set, expected) in [
            (9_500, None, 8_313),
            (256, None, 224),
            (255, None, 255),
            (9_500, Some(10), 10),
            (9_500, Some(20_000), 20_000),
        ] {
            let limits = Limits {
                connections,
                client_connections: set,
                ..Limits::default()
            };
            assert_eq!(limits.connections_of_client(), expected, "{connections} {set:?}");
        }
    }
}
