//! The ranges beside the floor itself: at both ends of every range and one past them, and anywhere.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::acl::compile;

fn document() -> document::Floor {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    document::Floor {
        version: document::VERSION,
        internal_cidrs: own(&[
            "10.244.0.0/16",
            "34.118.224.0/20",
            "2600:1f00:8000::/48",
            "fd10:244::/32",
        ]),
        never_cidrs: own(&[
            "192.175.48.7/32",
            "10.10.0.2/32",
            "192.0.0.9/32",
            "2620:4f:8000:1::7/128",
        ]),
        nat64_prefixes: own(&[
            "2620:4f:8000:64::/96",
            "fd00:64::/96",
            "64:ff9b:1::/48",
            "2a00:64::/32",
        ]),
        ..document::Floor::default()
    }
}

fn reached(blocks: &[Block], ip: IpAddr) -> bool {
    blocks
        .iter()
        .any(|block| block.cidr.contains(&ip) && !block.except.iter().any(|net| net.contains(&ip)))
}

/// Where ranges cannot say what the floor says.
fn beyond_ranges(floor: &document::Floor, ip: IpAddr) -> bool {
    let IpAddr::V6(v6) = ip else { return false };
    let isatap = matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _]);
    let short = floor.nat64_prefixes.iter().any(|prefix| {
        let prefix: Ipv6Net = prefix.parse().unwrap();
        prefix.prefix_len() <= 64 && prefix.contains(&v6) && v6.octets()[8] != 0
    });
    isatap || short
}

#[track_caller]
fn compare(floor: &document::Floor, ips: impl Iterator<Item = IpAddr>) -> usize {
    let (blocks, compiled) = (outside(floor), compile::floor(floor, &[]).unwrap());
    let mut compared = 0;
    for ip in ips.filter(|ip| !beyond_ranges(floor, *ip)) {
        // A mapped address is never on the wire.
        if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            continue;
        }
        assert_eq!(reached(&blocks, ip), compiled.check_address(ip).is_ok(), "{ip}");
        compared += 1;
    }
    compared
}

/// First and last address of a range, and their neighbours.
fn edges(net: IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|bits| IpAddr::V4(bits.into()))
                .to_vec()
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|bits| IpAddr::V6(bits.into()))
                .to_vec()
        }
    }
}

#[test]
fn the_ranges_are_what_the_floor_lets_out_at_every_edge() {
    for floor in [
        document::Floor {
            version: document::VERSION,
            ..document::Floor::default()
        },
        document(),
    ] {
        let rows = address::rows().map(|(net, _)| net);
        let own = [&floor.internal_cidrs, &floor.never_cidrs, &floor.nat64_prefixes];
        let own = own
            .into_iter()
            .flatten()
            .map(|text| text.parse::<IpNet>().unwrap());
        let mut nets: Vec<IpNet> = rows.chain(own).collect();
        let prefixes = floor.nat64_prefixes.iter().map(|text| text.parse().unwrap());
        for prefix in prefixes.chain([NAT64]) {
            let v4: Vec<_> = nets.iter().filter_map(|net| four(*net)).collect();
            nets.extend(v4.into_iter().map(|net| IpNet::V6(embed(prefix, net).unwrap())));
        }
        nets.extend(outside(&floor).into_iter().flat_map(|block| block.except));
        let compared = compare(&floor, nets.into_iter().flat_map(edges));
        assert!(compared > 200, "{compared}");
    }
}

proptest! {
    #[test]
    fn the_ranges_are_what_the_floor_lets_out_anywhere(
        v4: u32,
        v6: u128,
        prefix in prop::sample::select(vec![0x2000_u16, 0x2001, 0x2002, 0x64, 0xfd00, 0x2620, 0x2a00]),
    ) {
        let near = (u128::from(prefix) << 112) | (v6 & (u128::MAX >> 16));
        let behind = (0x64_ff9b_u128 << 96) | u128::from(v4);
        let ips = [IpAddr::V4(v4.into()), IpAddr::V6(v6.into()), IpAddr::V6(near.into()), IpAddr::V6(behind.into())];
        compare(&document(), ips.into_iter());
    }
}

#[test]
fn every_exception_is_smaller_than_its_range() {
    for block in outside(&document()) {
        for net in &block.except {
            assert!(
                block.cidr.contains(net) && block.cidr != *net,
                "{net} in {}",
                block.cidr
            );
        }
    }
}

#[test]
fn what_a_pool_opens_is_less_the_never_tier() {
    for (cidr, expected) in [
        ("10.20.0.0/16", Some("")),
        ("10.0.0.0/8", Some("10.10.0.2/32")),
        ("10.10.0.2/32", None),
        ("127.0.0.0/8", None),
        ("127.1.0.0/16", None),
        ("100.64.0.0/10", Some("100.100.100.200/32")),
        (
            "fd00::/8",
            Some(
                "fd00:42::42/128 fd00:c1::a9fe:a9fe/128 fd00:100::100:200/128 fd00:ec2::/32 fd00:a9fe:a9fe::/48 \
                 fd20:ce::254/128",
            ),
        ),
        ("fd20:ce::254/128", None),
    ] {
        let block = opened(&document(), cidr.parse().unwrap());
        let except = block.map(|block| {
            let nets: Vec<_> = block.except.iter().map(ToString::to_string).collect();
            nets.join(" ")
        });
        assert_eq!(except.as_deref(), expected, "{cidr}");
    }
}

#[test]
fn a_cluster_that_owns_everything_leaves_nothing() {
    let floor = document::Floor {
        version: document::VERSION,
        never_cidrs: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        ..document::Floor::default()
    };
    assert_eq!(outside(&floor), []);
}

#[test]
fn ranges_stand_behind_a_prefix_as_rfc_6052_has_them() {
    for (prefix, net, expected) in [
        // The RFC's own table, 2.4.
        ("2001:db8::/32", "192.0.2.33/32", "2001:db8:c000:221::/64"),
        ("2001:db8:100::/40", "192.0.2.33/32", "2001:db8:1c0:2:21::/80"),
        (
            "2001:db8:122::/48",
            "192.0.2.33/32",
            "2001:db8:122:c000:2:2100::/88",
        ),
        (
            "2001:db8:122:300::/56",
            "192.0.2.33/32",
            "2001:db8:122:3c0:0:221::/96",
        ),
        (
            "2001:db8:122:344::/64",
            "192.0.2.33/32",
            "2001:db8:122:344:c0:2:2100::/104",
        ),
        (
            "2001:db8:122:344::/96",
            "192.0.2.33/32",
            "2001:db8:122:344::c000:221/128",
        ),
        ("64:ff9b::/96", "10.0.0.0/8", "64:ff9b::a00:0/104"),
        ("64:ff9b:1::/48", "10.0.0.0/8", "64:ff9b:1:a00::/56"),
        ("64:ff9b:1::/48", "172.16.0.0/12", "64:ff9b:1:ac10::/60"),
        ("64:ff9b:1::/48", "192.168.0.0/16", "64:ff9b:1:c0a8::/64"),
        ("2001:db8:122:344::/64", "0.0.0.0/0", "2001:db8:122:344::/64"),
    ] {
        let embedded = embed(prefix.parse().unwrap(), net.parse().unwrap()).unwrap();
        let expected: Ipv6Net = expected.parse().unwrap();
        assert_eq!(embedded.trunc(), expected, "{net} behind {prefix}");
    }
}
