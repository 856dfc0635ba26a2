//! The NetworkPolicy of a fleet: in from its clients and from the operator, out to the internet and to DNS.
//!
//! Clients are the pods of the policy's namespace, the load balancers that it names, and, where a credential alone is
//! enough, whoever presents it.
//!
//! The second wall behind the proxy's own floor, where the CNI enforces it: a mistake in the proxy alone does not reach
//! private networks, except the pool's internal destinations. DNS is open towards every address, because the node's resolver may be anywhere.

use egressway_core::wire::document::{Caps, Content, InternalDestination};
use egressway_core::wire::names;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Identity, labels};
use crate::context::Settings;

/// Private, shared (RFC 6598), loopback, link-local (RFC 3927, metadata services), multicast and reserved ranges.
const V4_EXCEPT: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Unique local (RFC 4193), link-local and multicast.
const V6_EXCEPT: [&str; 3] = ["fc00::/7", "fe80::/10", "ff00::/8"];
/// Label that every namespace carries with its own name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The NetworkPolicy.
#[must_use]
pub fn network_policy(id: &Identity, content: &Content, caps: &Caps, settings: &Settings) -> NetworkPolicy {
    let own = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&id.namespace)),
        ..Default::default()
    };
    let balancers = content.listener.proxy_protocol.iter().map(|net| block(net, &[]));
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
            ports: Some(vec![
                port("TCP", names::ADMIN_PORT),
                port("TCP", names::REPORT_PORT),
            ]),
        },
    ];
    let internet = NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &V4_EXCEPT), block("::/0", &V6_EXCEPT)]),
        ports: None,
    };
    let dns = NetworkPolicyEgressRule {
        to: None,
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    };
    let mut egress = vec![internet, dns];
    egress.extend(caps.internal_destinations.iter().map(internal));
    NetworkPolicy {
        metadata: labels::metadata(id.fleet(), labels::labels(id), settings),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(id)),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress),
        }),
    }
}

fn internal(destination: &InternalDestination) -> NetworkPolicyEgressRule {
    let nets = destination.cidr.iter().chain(&destination.cidrs);
    let ports = destination.ports.iter().map(|range| NetworkPolicyPort {
        end_port: range.end_port.map(i32::from),
        ..port("TCP", range.port)
    });
    NetworkPolicyEgressRule {
        to: Some(nets.map(|net| block(net, &[])).collect()),
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

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!except.is_empty()).then(|| except.iter().map(|&net| net.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    }
}
