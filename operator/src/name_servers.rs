//! The name servers of nodes, so that fleets ask these and nobody else over port 53.
//!
//! A fleet's pods have their node's resolvers (dnsPolicy Default), and so has the operator's own pod: it knows theirs
//! from its own `resolv.conf`. Nodes that ask others are for `--name-server` to tell. Nothing here looks a name up.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

/// Where kubelet writes them, for every pod.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Most of them that a resolver takes (resolv.conf(5), MAXNS); kubelet leaves out what is beyond.
const SERVERS_MAX: usize = 3;

/// The name servers of this pod's `resolv.conf`; none where it cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<IpNet> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text),
        Err(error) => {
            tracing::warn!(
                path = %path.display(),
                error = %error,
                "failed to read the node's name servers"
            );
            Vec::new()
        }
    }
}

/// Name servers that another pod can reach too: not this pod's own loopback, nor what is on the link of one interface.
fn parse(text: &str) -> Vec<IpNet> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next())
            .flatten()
    });
    let servers = lines.filter_map(|server| server.parse::<IpAddr>().ok());
    servers
        .map(|ip| ip.to_canonical())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .take(SERVERS_MAX)
        .map(IpNet::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_a_resolver_reads_them() {
        for (text, expected) in [
            ("nameserver 10.0.0.2\n", "10.0.0.2/32"),
            (
                "# made by hand\nsearch corp.example\noptions ndots:5\nnameserver 10.0.0.2\nnameserver\tfd00:ec2::253  \n",
                "10.0.0.2/32 fd00:ec2::253/128",
            ),
            ("nameserver 169.254.169.254", "169.254.169.254/32"),
            ("nameserver ::ffff:10.0.0.2", "10.0.0.2/32"),
            ("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0", ""),
            (
                "nameserver fe80::1%eth0\nnameserver\nnameserver x\n;nameserver 10.0.0.9",
                "",
            ),
            ("nameservers 10.0.0.2\n", ""),
            (
                "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4",
                "10.0.0.1/32 10.0.0.2/32 10.0.0.3/32",
            ),
            ("", ""),
        ] {
            let servers: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(servers.join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_names_nobody() {
        assert_eq!(read(Path::new("/nonexistent/resolv.conf")), []);
    }
}
