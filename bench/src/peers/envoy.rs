//! Envoy as a dynamic forward proxy: CONNECT and absolute form, an access log in a file. For TLS to origins, fixed
//! clusters: a dynamic one would look the name up, which no other peer is measured with.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Service, Site, Speech};
use crate::certificates::ORIGIN_NAME;

/// Above everything that a run opens; Envoy's default of 1,024 would refuse the idle tunnels.
const CONNECTIONS_MAX: u32 = 100_000;

/// TLS sessions kept for resumption: enough for everything that goes on at once.
const SESSIONS: u32 = 256;

pub(super) fn command(site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let file = dir.join("envoy.json");
    fs::write(&file, serde_json::to_string_pretty(&config(site, dir, service))?)?;
    let mut command = Command::new(&site.envoy);
    command.arg("--config-path").arg(file);
    // Without hot restart there is no shared memory that two runs could fight for.
    command.args(["--log-level", "warning", "--disable-hot-restart"]);
    Ok(command)
}

fn config(site: &Site, dir: &Path, service: &Service) -> Value {
    let (hosts, clusters) = match service.speech {
        Speech::Tunnels | Speech::Requests | Speech::Signing => {
            (vec![anywhere()], vec![forward_cluster(service)])
        }
        Speech::Origination => {
            let to = |target: &SocketAddr| {
                let name = format!("{ORIGIN_NAME}:{}", target.port());
                json!({"name": name, "domains": [name], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}},
                ]})
            };
            let targets = &service.targets;
            (
                targets.iter().map(to).collect(),
                targets.iter().map(|target| tls_cluster(site, target)).collect(),
            )
        }
    };
    let mut filters = vec![json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }})];
    if service.speech != Speech::Origination {
        let forward =
            "type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig";
        let filter = json!({"@type": forward, "dns_cache_config": cache(service)});
        filters.insert(0, json!({"name": "forward", "typed_config": filter}));
    }
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": dir.join("access.log"),
        }}],
        "route_config": {"virtual_hosts": hosts},
        "http_filters": filters,
    });
    let listener = json!({
        "name": "bench",
        "address": address(&service.listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    });
    json!({"static_resources": {"listeners": [listener], "clusters": clusters}})
}

/// CONNECT and absolute form, to wherever they say.
fn anywhere() -> Value {
    json!({"name": "all", "domains": ["*"], "routes": [
        {
            "match": {"connect_matcher": {}},
            "route": {
                "cluster": "origins", "timeout": "0s",
                "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
            },
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "origins", "timeout": "0s"}},
    ]})
}

fn forward_cluster(service: &Service) -> Value {
    json!({
        "name": "origins",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": {"thresholds": [many()]},
        "cluster_type": {"name": "forward", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
            "dns_cache_config": cache(service),
        }},
    })
}

/// TLS to one port of the origin, verified. Its defaults for clients are TLS 1.2 and one session to resume, which
/// would compare protocols and not proxies.
fn tls_cluster(site: &Site, target: &SocketAddr) -> Value {
    let name = format!("{ORIGIN_NAME}:{}", target.port());
    let endpoint = json!({"endpoint": {"address": address(target)}});
    json!({
        "name": name,
        "circuit_breakers": {"thresholds": [many()]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": ORIGIN_NAME,
            "max_session_keys": SESSIONS,
            "common_tls_context": {
                "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                "validation_context": {
                    "trusted_ca": {"filename": site.certificates.authority},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": ORIGIN_NAME}}],
                },
            },
        }},
    })
}

/// Names are asked of the origin's own server. Filter and cluster share a cache by having the same settings.
fn cache(service: &Service) -> Value {
    json!({
        "name": "origins",
        "dns_lookup_family": "V4_ONLY",
        "typed_dns_resolver_config": {"name": "cares", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [address(&service.resolver)],
            "dns_resolver_options": {"no_default_search_domain": true},
        }},
    })
}

fn many() -> Value {
    json!({
        "max_connections": CONNECTIONS_MAX,
        "max_pending_requests": CONNECTIONS_MAX,
        "max_requests": CONNECTIONS_MAX,
    })
}

fn address(address: &SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
