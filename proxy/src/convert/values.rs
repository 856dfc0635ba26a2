//! Values of other proxies as ours: host globs, ranges, durations, names.

use std::net::IpAddr;

use egressway_core::acl::host::HostPattern;
use egressway_core::acl::{Deny, Floor, cidr};
use egressway_core::duration;
use egressway_core::manifest::{Auth, Certificate, Client, Listener, ListenerTls, Name, PortRange, Rule};
use ipnet::IpNet;

/// Longest name of a policy.
const NAME_MAX: usize = 63;
/// Name of the Secret with the listener's certificate.
pub(super) const SERVER_TLS: &str = "server-tls";
/// Name of the Secret with the CA of client certificates.
pub(super) const CLIENT_CA: &str = "client-ca";

/// Ports of proxies that look at hosts only.
pub(super) fn any_port() -> Option<Vec<PortRange>> {
    Some(vec![PortRange {
        port: 1,
        end_port: Some(65535),
    }])
}

/// Hosts as rules have them: names and ranges apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hosts {
    pub(super) names: Vec<String>,
    pub(super) cidrs: Vec<String>,
}

impl Hosts {
    /// Sorts globs; what is none is named.
    pub(super) fn of(globs: Vec<String>, field: &str, notes: &mut Vec<String>) -> Self {
        let mut hosts = Self::default();
        for glob in globs {
            // Hosts have no case; ours are written in lower case.
            let glob = glob.to_ascii_lowercase();
            if let Ok(ip) = glob.parse::<IpAddr>() {
                hosts.cidrs.push(IpNet::from(ip).to_string());
            } else if let Err(problem) = HostPattern::parse(&glob) {
                notes.push(format!("{field}: {problem}; left out"));
            } else {
                hosts.names.push(glob);
            }
        }
        hosts
    }

    /// Those of an allow list: what the compiled-in floor refuses all the same is named.
    pub(super) fn allowed(globs: Vec<String>, field: &str, notes: &mut Vec<String>) -> Self {
        let (hosts, floor) = (Self::of(globs, field, notes), Floor::new(&[]));
        for name in hosts.names.iter().filter(|name| *name != "*") {
            // Any name of a pattern: what decides is its suffix.
            let one = name.strip_prefix("*.").map(|suffix| format!("a.{suffix}"));
            if floor.check_name(one.as_deref().unwrap_or(name)).is_err() {
                notes.push(format!(
                    "{field} {name}: is looked up only where caps.internalDestinations of a pool has that very host, and its cidrs"
                ));
            }
        }
        for cidr in &hosts.cidrs {
            let refused = range(cidr).and_then(|(net, _)| tier(&net));
            notes.extend(refused.map(|deny| {
                if deny == Deny::AddressInternal {
                    format!("{field} {cidr}: is private: only caps.internalDestinations of a pool opens it")
                } else {
                    format!("{field} {cidr}: nothing opens it, whatever a rule says")
                }
            }));
        }
        hosts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.cidrs.is_empty()
    }

    /// One rule for names and one for ranges.
    pub(super) fn rules(self, name: &str, action: Option<&str>) -> Vec<Rule> {
        let rule = |name: String, hosts: Option<Vec<String>>, cidrs: Option<Vec<String>>| Rule {
            name,
            action: action.map(ToOwned::to_owned),
            hosts,
            cidrs,
            ports: any_port(),
            ..Rule::default()
        };
        let mut rules = Vec::new();
        if !self.names.is_empty() {
            rules.push(rule(name.to_owned(), Some(self.names), None));
        }
        if !self.cidrs.is_empty() {
            rules.push(rule(format!("{name}-addresses"), None, Some(self.cidrs)));
        }
        rules
    }
}

/// Whether every name that `inner` matches is matched by `outer`.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    let suffix = |pattern: &str| pattern.strip_prefix("*.").map(|suffix| format!(".{suffix}"));
    match (suffix(outer), suffix(inner)) {
        _ if outer == inner || outer == "*" => true,
        (Some(outer), Some(inner)) => inner.ends_with(&outer),
        (Some(outer), None) => inner.ends_with(&outer),
        (None, _) => false,
    }
}

/// Whether a name can match both.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// A range or an address, with a port where one stands behind (`192.175.48.1:443`, `[2620:4f::1]:443`).
pub(super) fn range(text: &str) -> Option<(IpNet, Option<i64>)> {
    if let Ok(net) = cidr::parse(text) {
        return Some((net, None));
    }
    // Others take a range by any of its addresses.
    if let Ok(net) = text.parse::<IpNet>() {
        return Some((net.trunc(), None));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((IpNet::from(ip), None));
    }
    let socket: std::net::SocketAddr = text.parse().ok()?;
    Some((IpNet::from(socket.ip()), Some(i64::from(socket.port()))))
}

/// Whether the internal tier of the compiled-in floor refuses a range, or the tier that nothing opens.
pub(super) fn tier(net: &IpNet) -> Option<Deny> {
    Floor::new(&[]).check_address(net.network()).err()
}

/// A range without holes in it: what is left when each hole is cut out.
pub(super) fn carve(net: IpNet, holes: &[IpNet]) -> Vec<IpNet> {
    if holes.iter().any(|hole| hole.contains(&net)) {
        return Vec::new();
    }
    if !holes.iter().any(|hole| net.contains(hole)) {
        return vec![net];
    }
    // A hole inside of it is longer by at least a bit, so halves exist.
    let halves = net.subnets(net.prefix_len() + 1).into_iter().flatten();
    halves.flat_map(|half| carve(half, holes)).collect()
}

/// Go's durations as ours, where they are whole milliseconds; named otherwise.
pub(super) fn go_duration(field: &str, text: Option<String>, notes: &mut Vec<String>) -> Option<String> {
    let text = text?;
    // A bare number is nanoseconds to Go's YAML, and a mistake to everybody else.
    match duration::parse(&text) {
        Ok(_) => Some(text),
        Err(problem) => {
            notes.push(format!("{field}: {problem}"));
            None
        }
    }
}

/// A name as Kubernetes objects have them.
pub(super) fn slug(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let replaced: String = lower
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let trimmed = replaced.trim_matches('-');
    if trimmed.is_empty() {
        "policy".to_owned()
    } else {
        trimmed
            .chars()
            .take(NAME_MAX)
            .collect::<String>()
            .trim_end_matches('-')
            .to_owned()
    }
}

/// Such a name with a number behind it.
pub(super) fn numbered(name: &str, number: usize) -> String {
    let number = format!("-{number}");
    let room = NAME_MAX.saturating_sub(number.len());
    let cut: String = name.chars().take(room).collect();
    cut.trim_end_matches('-').to_owned() + &number
}

/// A listener that speaks TLS.
pub(super) fn tls_listener() -> Listener {
    Listener {
        tls: Some(ListenerTls {
            certificate_ref: Name {
                name: SERVER_TLS.to_owned(),
            },
        }),
        proxy_protocol: None,
    }
}

/// A client that is known by the common name of its certificate.
pub(super) fn certificate_client(name: &str, common_name: &str) -> Client {
    Client {
        name: name.to_owned(),
        from: None,
        auth: Some(Auth {
            certificate: Some(Certificate {
                ca_ref: Name {
                    name: CLIENT_CA.to_owned(),
                },
                identities: vec![format!("CN={common_name}")],
            }),
            ..Auth::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_cover_each_other_as_smokescreen_reads_them() {
        for (outer, inner, expected) in [
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "*.b.a.example", true),
            ("*.a.example", "*.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "xa.example", false),
            ("*.b.a.example", "*.a.example", false),
            ("a.example", "a.example", true),
            ("a.example", "*.a.example", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn holes_are_cut_out_of_a_range() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let carved = carve(
            net("192.168.0.0/24"),
            &[net("192.168.0.64/26"), net("192.168.0.0/32")],
        );
        for (ip, expected) in [
            ("192.168.0.0", false),
            ("192.168.0.1", true),
            ("192.168.0.64", false),
            ("192.168.0.127", false),
            ("192.168.0.128", true),
            ("192.168.0.255", true),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(carved.iter().any(|net| net.contains(&ip)), expected, "{ip}");
        }
        assert_eq!(carve(net("10.0.0.0/8"), &[net("0.0.0.0/0")]), []);
        assert_eq!(
            carve(net("10.0.0.0/8"), &[net("11.0.0.0/8")]),
            [net("10.0.0.0/8")]
        );
    }

    #[test]
    fn names_become_names() {
        for (name, expected) in [
            ("Payments_API.v2", "payments-api-v2"),
            ("--", "policy"),
            ("a", "a"),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(slug(name), expected);
        }
        assert_eq!(numbered("a", 2), "a-2");
        assert_eq!(numbered(&"x".repeat(63), 10), "x".repeat(60) + "-10");
        assert_eq!(
            numbered(&format!("{}-y", "x".repeat(60)), 2),
            "x".repeat(60) + "-2"
        );
    }
}
