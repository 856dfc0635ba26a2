//! Rows for addresses: both ends and the middle of every special range, what lies beside it, and what is embedded.

use super::*;

#[track_caller]
fn check(text: &str, expected: fn(Class) -> bool) {
    let class = classify(text.parse().unwrap());
    assert!(expected(class), "{text}: {class:?}");
}

fn public(class: Class) -> bool {
    class == Public
}
fn internal(class: Class) -> bool {
    matches!(class, Internal(_))
}
fn never(class: Class) -> bool {
    matches!(class, Never(_))
}

/// Every row of both registries that is not globally reachable, and the ranges that no registry lists.
#[test]
fn first_middle_and_last_address_of_every_special_range() {
    for net in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.170/32",
        "192.0.0.171/32",
        "192.0.0.192/32",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "::1/128",
        "::/128",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/32",
        "2001:2::/48",
        "2001:10::/28",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "::ffff:0:0:0/96",
        "4000::/3",
        "8000::/1",
    ] {
        let net: IpNet = net.parse().unwrap();
        let (first, last) = (net.network(), net.broadcast());
        let middle = match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                IpAddr::from(Ipv4Addr::from((u32::from(a) / 2) + (u32::from(b) / 2)))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                IpAddr::from(Ipv6Addr::from((u128::from(a) / 2) + (u128::from(b) / 2)))
            }
            _ => unreachable!(),
        };
        for ip in [first, middle, last] {
            if net.contains(&ip) {
                assert_ne!(classify(ip), Public, "{ip} of {net}");
            }
        }
    }
}

#[test]
fn neighbours_of_special_ranges_are_public() {
    for ip in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "192.0.0.9",
        "192.0.0.10",
        "192.31.196.1",
        "192.52.193.1",
        "192.175.48.1",
        "2000::",
        "2001:1::1",
        "2001:1::2",
        "2001:1::3",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:30::1",
        "2001:200::",
        "2001:db7::1",
        "2001:db9::1",
        "2003::",
        "2620:4f:8000::1",
        "3ffe:ffff::",
        "3fff:1000::",
        "3fff:ffff::",
    ] {
        check(ip, public);
    }
}

#[test]
fn tiers_differ() {
    for ip in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fd12::1",
        "::ffff:10.0.0.1",
    ] {
        check(ip, internal);
    }
    for ip in [
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "169.254.169.254",
        "::ffff:127.0.0.1",
    ] {
        check(ip, never);
    }
}

#[test]
fn metadata_services_of_every_cloud_are_never_a_destination() {
    for ip in [
        "169.254.169.254",
        "169.254.169.252",
        "169.254.169.253",
        "169.254.169.123",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.42.42",
        "169.254.0.23",
        "169.254.10.10",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::253",
        "fd00:ec2::123",
        "fd00:ec2::23",
        "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:100::100:200",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:a9fe:a9fe::254",
        "fe80::a9fe:a9fe",
        // The IPv4 ones, embedded.
        "::ffff:168.63.129.16",
        "64:ff9b::100.100.100.200",
        "2620:4f:8000::5efe:192.0.0.192",
    ] {
        check(ip, never);
    }
    // What lies beside them is what it was.
    for ip in [
        "100.100.100.201",
        "fd00:ec1:ffff::1",
        "fd00:ec3::1",
        "fd20:ce::255",
        "fd00:c1::a9fe:a9ff",
        "fd00:100::100:201",
        "fd00:42::43",
        "fd00:a9fe:a9fd::1",
        "fd00::1",
    ] {
        check(ip, internal);
    }
    check("168.63.129.17", public);
}

#[test]
fn embeddings_get_the_verdict_of_the_embedded_address_or_a_stricter_one() {
    for (text, expected) in [
        ("::ffff:8.8.8.8", public as fn(Class) -> bool),
        ("::ffff:169.254.169.254", never),
        ("64:ff9b::8.8.8.8", public),
        ("64:ff9b::127.0.0.1", never),
        ("64:ff9b::10.0.0.1", internal),
        ("::127.0.0.1", never),
        ("::8.8.8.8", never),
        ("::ffff:0:127.0.0.1", never),
        ("2002:7f00:1::", never),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", never),
        ("2620:4f:8000::5efe:10.0.0.1", internal),
        ("2620:4f:8000::200:5efe:127.0.0.1", never),
        ("2620:4f:8000::5efe:8.8.8.8", public),
    ] {
        check(text, expected);
    }
}
