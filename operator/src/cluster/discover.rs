//! The cluster's own ranges, addresses and names, for the SSRF floor of every fleet. Pure.
//!
//! Sorted and without duplicates, so that the order of watch events never rewrites a ConfigMap. What cannot be found
//! (pods of a VPC CNI have no podCIDR) comes from the command line, and a warning says when nothing was found.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egressway_core::wire::document;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use super::caches::Caches;
use crate::context::Settings;

/// What the cluster says about itself.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The cluster's Service ranges.
    pub service_cidrs: Vec<&'a ServiceCIDR>,
    /// Every node.
    pub nodes: Vec<&'a Node>,
    /// Endpoints of the API server.
    pub api_endpoints: Vec<&'a EndpointSlice>,
    /// Services that no client of a fleet has business with: API server, DNS, the fleets' own.
    pub services: Vec<&'a Service>,
}

/// The floor from the caches.
#[must_use]
pub fn floor(caches: &Caches, settings: &Settings) -> document::Floor {
    let service_cidrs = caches.service_cidrs.state();
    let nodes = caches.nodes.state();
    let api_endpoints = caches.api_endpoints.state();
    let mut services: Vec<_> = [&caches.api_services, &caches.dns_services]
        .into_iter()
        .flat_map(|store| store.state())
        .collect();
    if service_cidrs.is_empty() {
        // Where the Service ranges are known they hold the fleets' Services too; one by one they would rewrite every
        // fleet's floor whenever a policy comes or goes.
        services.extend(caches.services.state());
    }
    let facts = Facts {
        service_cidrs: service_cidrs.iter().map(AsRef::as_ref).collect(),
        nodes: nodes.iter().map(AsRef::as_ref).collect(),
        api_endpoints: api_endpoints.iter().map(AsRef::as_ref).collect(),
        services: services.iter().map(AsRef::as_ref).collect(),
    };
    from_facts(&facts, settings)
}

/// Whether any range of pods is known. Without one, pods on public-looking addresses are reachable through a fleet.
#[must_use]
pub fn knows_pod_ranges(caches: &Caches, settings: &Settings) -> bool {
    !settings.internal_cidrs.is_empty()
        || caches
            .nodes
            .state()
            .iter()
            .any(|node| pod_cidrs(node).next().is_some())
}

/// The floor from facts.
#[must_use]
pub fn from_facts(facts: &Facts<'_>, settings: &Settings) -> document::Floor {
    let ranges = facts
        .service_cidrs
        .iter()
        .filter_map(|object| object.spec.as_ref()?.cidrs.as_ref())
        .flatten()
        .map(String::as_str)
        .chain(facts.nodes.iter().flat_map(|node| pod_cidrs(node)))
        .chain(settings.internal_cidrs.iter().map(String::as_str));
    let node_addresses = facts
        .nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.addresses.as_ref())
        .flatten()
        .filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"))
        .map(|address| address.address.as_str());
    let endpoints = facts.api_endpoints.iter().flat_map(|slice| &slice.endpoints);
    let endpoint_addresses = endpoints
        .flat_map(|endpoint| &endpoint.addresses)
        .map(String::as_str);
    let service_addresses = facts
        .services
        .iter()
        .filter_map(|service| service.spec.as_ref()?.cluster_ips.as_ref())
        .flatten()
        .map(String::as_str);
    let addresses = node_addresses
        .chain(endpoint_addresses)
        .chain(service_addresses)
        .chain(settings.never_cidrs.iter().map(String::as_str));
    let domain = settings.cluster_domain.trim_matches('.').to_ascii_lowercase();
    let names: BTreeSet<String> = [
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("*.{domain}"),
        domain,
    ]
    .into();
    document::Floor {
        version: document::VERSION,
        internal_cidrs: normal(ranges),
        never_cidrs: normal(addresses),
        never_hosts: names.into_iter().collect(),
        ..document::Floor::default()
    }
}

fn pod_cidrs(node: &Node) -> impl Iterator<Item = &str> {
    let spec = node.spec.as_ref();
    let single = spec.and_then(|spec| spec.pod_cidr.as_deref());
    let list = spec
        .and_then(|spec| spec.pod_cidrs.as_deref())
        .unwrap_or_default();
    single.into_iter().chain(list.iter().map(String::as_str))
}

/// Ranges and addresses as ranges without host bits; what is neither (`None` as a clusterIP, host names) is left out.
fn normal<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let nets: BTreeSet<IpNet> = texts
        .filter_map(|text| {
            let net = text.parse::<IpNet>().ok();
            net.or_else(|| {
                text.parse::<IpAddr>()
                    .ok()
                    .map(|ip| IpNet::from(ip.to_canonical()))
            })
        })
        .map(|net| net.trunc())
        .collect();
    nets.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
