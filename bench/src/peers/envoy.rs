//! Envoy as a dynamic forward proxy: CONNECT and absolute form, an access log in a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Service, Site};

/// Above everything that a run opens; Envoy's default of 1,024 would refuse the idle tunnels.
const CONNECTIONS_MAX: u32 = 100_000;

pub(super) fn command(site: &Site, dir: &Path, service: &Service) -> Result<Command> {
    let file = dir.join("envoy.json");
    fs::write(&file, serde_json::to_string_pretty(&config(dir, service))?)?;
    let mut command = Command::new(&site.envoy);
    command.arg("--config-path").arg(file);
    // Without hot restart there is no shared memory that two runs could fight for.
    command.args(["--log-level", "warning", "--disable-hot-restart"]);
    Ok(command)
}

fn config(dir: &Path, service: &Service) -> Value {
    let cache = json!({"name": "origins", "dns_lookup_family": "V4_ONLY"});
    let forward = "type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": dir.join("access.log"),
        }}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {
                "match": {"connect_matcher": {}},
                "route": {
                    "cluster": "origins", "timeout": "0s",
                    "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                },
            },
            {"match": {"prefix": "/"}, "route": {"cluster": "origins", "timeout": "0s"}},
        ]}]},
        "http_filters": [
            {"name": "forward", "typed_config": {"@type": forward, "dns_cache_config": cache}},
            {"name": "router", "typed_config": {"@type": router}},
        ],
    });
    let many = json!({
        "max_connections": CONNECTIONS_MAX, "max_pending_requests": CONNECTIONS_MAX, "max_requests": CONNECTIONS_MAX,
    });
    json!({
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": {"socket_address": {
                    "address": service.listen.ip().to_string(), "port_value": service.listen.port(),
                }},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "origins",
                "lb_policy": "CLUSTER_PROVIDED",
                "circuit_breakers": {"thresholds": [many]},
                "cluster_type": {"name": "forward", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                    "dns_cache_config": cache,
                }},
            }],
        },
    })
}
