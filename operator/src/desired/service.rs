//! The Service of a fleet: one address over all cells, in both families where the cluster has both.

use egressway_core::wire::names;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Identity, labels};
use crate::context::Settings;

/// The Service.
#[must_use]
pub fn service(id: &Identity, settings: &Settings) -> Service {
    Service {
        metadata: labels::metadata(id.fleet(), labels::labels(id), settings),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(labels::selector(id)),
            ports: Some(vec![ServicePort {
                name: Some("proxy".to_owned()),
                port: i32::from(names::PROXY_PORT),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("proxy".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
