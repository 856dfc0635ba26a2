//! Rows for the floor: what the cluster says about itself, in any order, as sorted ranges.

use serde_json::{Value, json};

use super::*;

fn settings(internal: &[&str], never: &[&str]) -> Settings {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Settings {
        fleet_namespace: "fleets".to_owned(),
        operator_namespace: "system".to_owned(),
        service_account: "egressway".to_owned(),
        secret_reader_role: "egressway-secret-reader".to_owned(),
        proxy_image: String::new(),
        proxy_image_pull_policy: String::new(),
        image_pull_secrets: vec![],
        cluster_domain: "Corp.Local.".to_owned(),
        internal_cidrs: own(internal),
        never_cidrs: own(never),
        name_servers: vec![],
    }
}

fn parse<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn node(pod_cidrs: &[&str], addresses: &[(&str, &str)]) -> Node {
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|(kind, ip)| json!({"type": kind, "address": ip}))
        .collect();
    parse(
        json!({"metadata": {"name": "n"}, "spec": {"podCIDR": pod_cidrs.first(), "podCIDRs": pod_cidrs},
        "status": {"addresses": addresses}}),
    )
}

fn service(ips: &[&str]) -> Service {
    parse(json!({"metadata": {"name": "s"}, "spec": {"clusterIP": ips.first(), "clusterIPs": ips}}))
}

fn ranges(cidrs: &[&str]) -> ServiceCIDR {
    parse(json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}))
}

#[test]
fn ranges_are_internal_and_addresses_are_never() {
    let service_cidr = ranges(&["10.96.0.0/16", "fd10:96::/112"]);
    let one = node(
        &["10.244.1.0/24", "fd10:244:1::/64"],
        &[("InternalIP", "10.10.0.11"), ("Hostname", "one")],
    );
    let two = node(
        &["10.244.2.0/24"],
        &[("InternalIP", "fd10:10::12"), ("ExternalIP", "192.175.48.9")],
    );
    let endpoints: EndpointSlice = parse(
        json!({"metadata": {"name": "kubernetes"}, "addressType": "IPv4", "ports": [],
        "endpoints": [{"addresses": ["10.10.0.2"]}]}),
    );
    let (api, dns, headless) = (
        service(&["10.96.0.1"]),
        service(&["10.96.0.10", "fd10:96::a"]),
        service(&["None"]),
    );
    let facts = Facts {
        service_cidrs: vec![&service_cidr],
        nodes: vec![&two, &one],
        api_endpoints: vec![&endpoints],
        services: vec![&headless, &dns, &api],
    };
    let floor = from_facts(&facts, &settings(&["100.64.0.0/10"], &["192.175.48.128/25"]));
    assert_eq!(
        floor.internal_cidrs,
        [
            "10.96.0.0/16",
            "10.244.1.0/24",
            "10.244.2.0/24",
            "100.64.0.0/10",
            "fd10:96::/112",
            "fd10:244:1::/64"
        ]
    );
    assert_eq!(
        floor.never_cidrs,
        [
            "10.10.0.2/32",
            "10.10.0.11/32",
            "10.96.0.1/32",
            "10.96.0.10/32",
            "192.175.48.9/32",
            "192.175.48.128/25",
            "fd10:10::12/128",
            "fd10:96::a/128"
        ]
    );
    assert_eq!(
        floor.never_hosts,
        [
            "*.corp.local",
            "corp.local",
            "kubernetes.default",
            "kubernetes.default.svc"
        ]
    );
}

#[test]
fn the_order_of_what_is_found_and_found_twice_changes_nothing() {
    let (one, two) = (
        node(&["10.244.1.0/24"], &[("InternalIP", "10.10.0.11")]),
        node(&["10.244.2.0/24"], &[]),
    );
    let floor = |nodes: Vec<&Node>| {
        from_facts(
            &Facts {
                nodes,
                ..Facts::default()
            },
            &settings(&[], &[]),
        )
    };
    assert_eq!(floor(vec![&one, &two]), floor(vec![&two, &one, &two]));
}

#[test]
fn odd_texts_never_make_a_floor_that_proxies_refuse() {
    // Host bits, IPv4 in IPv6, no address at all: the proxies' own compiler must take what comes out.
    let odd = node(
        &["10.244.1.7/24", "nonsense"],
        &[("InternalIP", "::ffff:10.10.0.11"), ("InternalIP", "")],
    );
    let floor = from_facts(
        &Facts {
            nodes: vec![&odd],
            ..Facts::default()
        },
        &settings(&["10.1.2.3/8"], &[]),
    );
    assert_eq!(floor.internal_cidrs, ["10.0.0.0/8", "10.244.1.0/24"]);
    assert_eq!(floor.never_cidrs, ["10.10.0.11/32"]);
    egressway_core::acl::compile::floor(&floor, &[]).unwrap();
}
