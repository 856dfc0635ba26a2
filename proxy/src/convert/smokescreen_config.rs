//! Smokescreen's configuration file: ranges, timeouts, limits and TLS. Without an ACL it lets everything public through.

use egressway_core::acl::Deny;
use egressway_core::manifest::{
    Caps, InternalDestination, Limits, PolicySpec, PoolSpec, PortRange, Rule, Timeouts,
};
use ipnet::IpNet;

use super::Converted;
use super::keys::Keys;
use super::smokescreen_acl::none_here;
use super::values::{CLIENT_CA, SERVER_TLS, any_port, carve, go_duration, range, tier, tls_listener};

/// Keys that a flag of ours stands for, or that need a word.
const NOTED: &[(&str, &str)] = &[
    ("resolver_addresses", "give --resolver ADDR to the proxy"),
    ("exit_timeout", "give --drain DURATION to the proxy"),
    ("statsd_address", "metrics are for Prometheus, on the admin port"),
    ("dns_timeout", "a look-up takes at most five seconds"),
    (
        "deny_message_extra",
        "a refusal names the policy, the reason and the next step",
    ),
    (
        "support_proxy_protocol",
        "set listener.proxyProtocol.sources to the ranges of your load balancers; Smokescreen believes anybody",
    ),
    (
        "allow_missing_role",
        "clients without a certificate: leave spec.clients out, or give them a password",
    ),
    (
        "unsafe_allow_private_ranges",
        "private addresses open one by one, in the pool's caps.internalDestinations",
    ),
    ("max_request_burst", "has no counterpart: the limit is per second"),
    (
        "stats_socket_dir",
        "GET /tunnels on the admin port lists open tunnels (--admin-token-file)",
    ),
    (
        "stats_socket_file_mode",
        "GET /tunnels on the admin port lists open tunnels (--admin-token-file)",
    ),
];

pub(super) fn convert(mut keys: Keys) -> anyhow::Result<Converted> {
    none_here(&keys)?;
    let mut converted = Converted::default();
    let notes = &mut converted.notes;
    let (ip, port) = (keys.text("ip")?, keys.text("port")?);
    if ip.is_some() || port.is_some() {
        let (ip, port) = (
            ip.unwrap_or_else(|| "[::]".to_owned()),
            port.unwrap_or_else(|| "4750".to_owned()),
        );
        notes.push(format!("ip, port: give --listen {ip}:{port} to the proxy"));
    }
    let mut rules = Vec::new();
    match keys.text("acl_file")? {
        None => rules.extend(everything()),
        Some(file) => notes.push(format!(
            "acl_file: there is no Allow rule here; convert {file} with --from smokescreen-acl, and add its rules and clients"
        )),
    }
    let pool = ranges(&mut keys, &mut rules, notes)?;
    let times = Timeouts {
        head: go_duration("read_header_timeout", keys.text("read_header_timeout")?, notes),
        connect: go_duration("connect_timeout", keys.text("connect_timeout")?, notes),
        idle: go_duration("idle_timeout", keys.text("idle_timeout")?, notes),
        lifetime: None,
    };
    let mut number = |key: &str| -> anyhow::Result<Option<i64>> {
        let Some(text) = keys.text(key)? else {
            return Ok(None);
        };
        let number: f64 = text.parse()?;
        #[expect(clippy::cast_possible_truncation, reason = "a limit of a proxy, rounded up")]
        Ok((number > 0.0).then_some(number.ceil() as i64))
    };
    let limits = Limits {
        connections: number("max_concurrent_requests")?,
        tunnels: number("max_concurrent_connect_tunnels")?,
        requests_per_second: number("max_request_rate")?,
        ..Limits::default()
    };
    if limits.connections.is_some() {
        notes.push("max_concurrent_requests: became limits.connections, which counts connections rather than requests".to_owned());
    }
    let listener = match keys.object("tls")? {
        None => None,
        Some(mut tls) => {
            let (cert, key) = (
                tls.text("cert_file")?.unwrap_or_default(),
                tls.text("key_file")?.unwrap_or_default(),
            );
            notes.push(format!(
                "tls: put {cert} and {key} into Secret {SERVER_TLS} as tls.crt and tls.key"
            ));
            tls.note(
                "client_ca_files",
                &format!("put them into Secret {CLIENT_CA} as ca.crt, and add a client with auth.certificate for each service"),
                notes,
            );
            tls.note(
                "crl_files",
                &format!("put them into Secret {CLIENT_CA} as ca.crl"),
                notes,
            );
            tls.rest(notes);
            Some(tls_listener())
        }
    };
    for (key, advice) in NOTED {
        keys.note(key, advice, notes);
    }
    keys.rest(notes);
    let spec = PolicySpec {
        listener,
        rules,
        timeouts: (times != Timeouts::default()).then_some(times),
        limits: (limits != Limits::default()).then_some(limits),
        ..PolicySpec::default()
    };
    converted.pool = pool.map(|caps| {
        let spec = PoolSpec {
            caps: Some(caps),
            ..PoolSpec::default()
        };
        ("smokescreen".to_owned(), spec)
    });
    converted.policies.push(("smokescreen".to_owned(), spec));
    Ok(converted)
}

/// Every name and every address, as far as the floor lets them.
fn everything() -> [Rule; 2] {
    let rule = |name: &str| Rule {
        name: name.to_owned(),
        ports: any_port(),
        ..Rule::default()
    };
    [
        Rule {
            hosts: Some(vec!["*".to_owned()]),
            ..rule("all-names")
        },
        Rule {
            cidrs: Some(vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]),
            ..rule("all-addresses")
        },
    ]
}

/// Deny ranges become rules, with the allowed ones cut out, because Smokescreen asks those first; allowed ranges that
/// are private become exceptions of a pool.
fn ranges(keys: &mut Keys, rules: &mut Vec<Rule>, notes: &mut Vec<String>) -> anyhow::Result<Option<Caps>> {
    let mut read = |key: &str, notes: &mut Vec<String>| -> anyhow::Result<Vec<(IpNet, Option<i64>)>> {
        let mut nets = Vec::new();
        for text in keys.texts(key)? {
            match range(&text) {
                Some(net) => nets.push(net),
                None => notes.push(format!("{key} {text:?}: is no range or address; left out")),
            }
        }
        Ok(nets)
    };
    let mut allowed = read("allow_ranges", notes)?;
    allowed.extend(read("allow_addresses", notes)?);
    let mut denied = read("deny_ranges", notes)?;
    denied.extend(read("deny_addresses", notes)?);
    let holes: Vec<IpNet> = allowed
        .iter()
        .filter(|(_, port)| port.is_none())
        .map(|(net, _)| *net)
        .collect();
    let ports = |port: Option<i64>| match port {
        None => any_port(),
        Some(port) => Some(vec![PortRange { port, end_port: None }]),
    };
    let mut by_port: Vec<(Option<i64>, Vec<String>)> = Vec::new();
    for (net, port) in denied {
        let carved = carve(net, &holes).into_iter().map(|net| net.to_string());
        match by_port.iter_mut().find(|(own, _)| *own == port) {
            Some((_, nets)) => nets.extend(carved),
            None => by_port.push((port, carved.collect())),
        }
    }
    for (port, nets) in by_port.into_iter().filter(|(_, nets)| !nets.is_empty()) {
        rules.push(Rule {
            name: port.map_or_else(|| "deny-ranges".to_owned(), |port| format!("deny-port-{port}")),
            action: Some("Deny".to_owned()),
            cidrs: Some(nets),
            ports: ports(port),
            ..Rule::default()
        });
    }
    let mut internal = Vec::new();
    for (net, port) in allowed {
        match tier(&net) {
            None => {}
            Some(Deny::AddressInternal) => {
                rules.push(Rule {
                    name: format!("internal-{}", internal.len() + 1),
                    cidrs: Some(vec![net.to_string()]),
                    ports: ports(port),
                    ..Rule::default()
                });
                internal.push(InternalDestination {
                    cidr: Some(net.to_string()),
                    ports: ports(port).unwrap_or_default(),
                    ..InternalDestination::default()
                });
                notes.push(format!(
                    "allow {net}: open to targets written as addresses; a name that leads there needs an entry of its own in \
                     caps.internalDestinations, with host and cidrs, and a rule that names it"
                ));
            }
            Some(_) => notes.push(format!(
                "allow {net}: nothing opens it, not even a pool; only --insecure-allow, for tests"
            )),
        }
    }
    Ok((!internal.is_empty()).then(|| Caps {
        internal_destinations: Some(internal),
        ..Caps::default()
    }))
}
