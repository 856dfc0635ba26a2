//! The NetworkPolicy of a fleet: in from its clients and from the operator, out to the internet and to DNS.
//!
//! Clients are the pods of the policy's namespace, the load balancers that it names, and, where a credential alone is
//! enough, whoever presents it.
//!
//! The second wall behind the proxy's own floor, where the CNI enforces it: a mistake in the proxy alone does not reach
//! private networks, except the pool's internal destinations. It is derived from the floor itself ([`reach`]), over TCP
//! alone; beside that only the name servers are reached. It knows addresses as they are on the wire, behind every
//! Service: which pods a ClusterIP leads to, it does not ask.

use egressway_core::acl::reach::{self, Block};
use egressway_core::wire::document::{Caps, Content, Floor, InternalDestination};
use egressway_core::wire::names;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Identity, labels};
use crate::context::Settings;

/// Of name servers, over UDP and TCP (RFC 1035, 4.2).
const DNS_PORT: u16 = 53;
/// Label that every namespace carries with its own name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The NetworkPolicy.
#[must_use]
pub fn network_policy(
    id: &Identity,
    content: &Content,
    caps: &Caps,
    floor: &Floor,
    settings: &Settings,
) -> NetworkPolicy {
    let own = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&id.namespace)),
        ..Default::default()
    };
    let balancers = content.listener.proxy_protocol.iter().map(|net| range(net));
    let clients = std::iter::once(own).chain(balancers).collect();
    let from_anywhere = content.clients.iter().any(|client| !client.pods);
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&settings.operator_namespace)),
        pod_selector: Some(LabelSelector {
            match_labels: Some(labels::map([(names::APP_NAME_LABEL, names::OPERATOR_APP_NAME)])),
            match_expressions: None,
        }),
        ip_block: None,
    };
    let ingress = vec![
        NetworkPolicyIngressRule {
            from: (!from_anywhere).then_some(clients),
            ports: Some(vec![port("TCP", names::PROXY_PORT)]),
        },
        NetworkPolicyIngressRule {
            from: Some(vec![operator]),
            ports: Some(vec![port("TCP", names::REPORT_PORT)]),
        },
    ];
    let internet = NetworkPolicyEgressRule {
        to: Some(reach::outside(floor).iter().map(block).collect()),
        ports: Some(vec![every_port("TCP")]),
    };
    let name_servers = NetworkPolicyEgressRule {
        to: Some(settings.name_servers.iter().map(|net| range(net)).collect()),
        ports: Some(vec![port("UDP", DNS_PORT), port("TCP", DNS_PORT)]),
    };
    let internal = caps
        .internal_destinations
        .iter()
        .map(|destination| internal(floor, destination));
    // A rule without peers would let out everything.
    let egress = [internet, name_servers].into_iter().chain(internal);
    let egress = egress.filter(|rule| rule.to.as_ref().is_some_and(|to| !to.is_empty()));
    NetworkPolicy {
        metadata: labels::metadata(id.fleet(), labels::labels(id), settings),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(id)),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress.collect()),
        }),
    }
}

fn internal(floor: &Floor, destination: &InternalDestination) -> NetworkPolicyEgressRule {
    let nets = destination.cidr.iter().chain(&destination.cidrs);
    let nets = nets.filter_map(|net| reach::opened(floor, net.parse().ok()?));
    let ports = destination.ports.iter().map(|range| NetworkPolicyPort {
        end_port: range.end_port.map(i32::from),
        ..port("TCP", range.port)
    });
    NetworkPolicyEgressRule {
        to: Some(nets.map(|net| block(&net)).collect()),
        ports: Some(ports.collect()),
    }
}

fn namespace(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels::map([(NAMESPACE_NAME_LABEL, name)])),
        match_expressions: None,
    }
}

fn port(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(port))),
        end_port: None,
    }
}

fn every_port(protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn range(cidr: &str) -> NetworkPolicyPeer {
    peer(cidr.to_owned(), Vec::new())
}

fn block(block: &Block) -> NetworkPolicyPeer {
    peer(
        block.cidr.to_string(),
        block.except.iter().map(ToString::to_string).collect(),
    )
}

fn peer(cidr: String, except: Vec<String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr,
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    }
}
