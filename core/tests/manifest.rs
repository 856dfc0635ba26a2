//! Specs as users write them: what each becomes on the wire, and what is refused with which field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use egressway_core::acl::compile;
use egressway_core::manifest::{self, Place, PolicySpec, PoolSpec};
use egressway_core::wire::document::{Policies, Policy, VERSION, to_json};
use serde_json::{Value, json};

fn spec(json: Value) -> PolicySpec {
    serde_json::from_value(json).unwrap()
}

/// The content as JSON, or all problems in one text.
fn content(spec: &PolicySpec, place: Place) -> Result<String, String> {
    let content = manifest::content(spec, "payments", place).map_err(|problems| problems.to_string())?;
    let policies = Policies {
        version: VERSION,
        policies: vec![Policy::seal("payments", "p", 1, content.clone())],
    };
    compile::policies(&policies).map_err(|problems| problems.to_string())?;
    Ok(to_json(&content))
}

#[test]
fn a_minimal_policy_has_the_defaults() {
    let minimal = spec(json!({"rules": [{"name": "partners", "hosts": ["api.stripe.com"]}]}));
    assert_eq!(
        content(&minimal, Place::Alone).unwrap(),
        r#"{"rules":[{"name":"partners","action":"Allow","hosts":["api.stripe.com"],"ports":[{"port":443}]}]}"#
    );
    assert_eq!(
        content(&minimal, Place::Cluster).unwrap(),
        concat!(
            r#"{"clients":[{"name":"namespace","pods":true}],"#,
            r#""rules":[{"name":"partners","action":"Allow","hosts":["api.stripe.com"],"ports":[{"port":443}]}]}"#
        )
    );
}

#[test]
fn every_field_reaches_the_wire() {
    let full = spec(json!({
        "poolRef": {"name": "edge"},
        "fleet": {"replicasPerCell": 2},
        "suspend": true,
        "mode": "Report",
        "listener": {"tls": {"certificateRef": {"name": "proxy-tls"}}, "proxyProtocol": {"sources": ["192.0.2.0/24"]}},
        "clients": [
            {"name": "sender", "from": {"podSelector": {"matchLabels": {"app": "sender"}}}},
            {"name": "token", "auth": {"serviceAccounts": ["sa"]}},
            {"name": "legacy", "auth": {"passwordSecretRefs": [{"name": "a"}, {"name": "b", "key": "k"}]}},
            {"name": "batch", "auth": {"certificate": {"caRef": {"name": "ca"}, "identities": ["spiffe://x/y"]}}}
        ],
        "rules": [{
            "name": "bank", "action": "Allow", "hosts": ["api.bank.example"], "ports": [{"port": 443, "endPort": 444}],
            "clients": ["sender"], "http": {"methods": ["POST"], "pathPrefixes": ["/hooks/"]},
            "upstreamTLS": {"when": "OnRequest", "clientCertificateRef": {"name": "bank"}, "caRef": {"name": "bank-ca"},
                            "minVersion": "1.3"},
            "signing": {"scheme": "HMAC-SHA256", "secretRefs": [{"name": "sign"}], "header": "X-Signature",
                        "encoding": "Base64"}, "tunnels": "Allow"
        }, {"name": "sni", "hosts": ["*.example"], "sni": "MustMatch"}],
        "timeouts": {"head": "5s", "connect": "10s", "idle": "3m", "lifetime": "1h"},
        "limits": {"headBytes": "16Ki", "connections": 1, "tunnels": 2, "tunnelsPerDestination": 3,
                   "requestsPerSecond": 4, "clientRequestsPerSecond": 5, "clientConnections": 7,
                   "responseBody": 6, "signedBody": "1Mi"},
        "revokeTunnels": "OnClose"
    }));
    assert_eq!(
        content(&full, Place::Cluster).unwrap(),
        concat!(
            r#"{"suspended":true,"mode":"Report","#,
            r#""listener":{"tls":{"certificate":"proxy-tls"},"proxyProtocol":["192.0.2.0/24"]},"#,
            r#""clients":[{"name":"sender","pods":true},"#,
            r#"{"name":"token","auth":{"serviceAccounts":["payments/sa"]}},"#,
            r#"{"name":"legacy","auth":{"passwords":[{"name":"a"},{"name":"b","key":"k"}]}},"#,
            r#"{"name":"batch","auth":{"certificate":{"ca":"ca","identities":["spiffe://x/y"]}}}],"#,
            r#""rules":[{"name":"bank","action":"Allow","hosts":["api.bank.example"],"#,
            r#""ports":[{"port":443,"endPort":444}],"clients":["sender"],"#,
            r#""http":{"methods":["POST"],"pathPrefixes":["/hooks/"]},"#,
            r#""upstreamTLS":{"when":"OnRequest","clientCertificate":"bank","ca":"bank-ca","minVersion":"1.3"},"#,
            r#""signing":{"scheme":"HMAC-SHA256","secrets":[{"name":"sign"}],"header":"X-Signature","encoding":"Base64"},"tunnels":"Allow"},"#,
            r#"{"name":"sni","action":"Allow","hosts":["*.example"],"ports":[{"port":443}],"sni":"MustMatch"}],"#,
            r#""timeouts":{"headMs":5000,"connectMs":10000,"idleMs":180000,"lifetimeMs":3600000},"#,
            r#""limits":{"headBytes":16384,"connections":1,"tunnels":2,"tunnelsPerDestination":3,"#,
            r#""requestsPerSecond":4,"clientRequestsPerSecond":5,"clientConnections":7,"responseBodyBytes":6,"signedBodyBytes":1048576},"#,
            r#""revokeTunnels":"OnClose"}"#
        )
    );
}

#[test]
fn problems_name_their_field() {
    let rule = json!([{"name": "r", "hosts": ["a.example"]}]);
    let tls = json!({"tls": {"certificateRef": {"name": "t"}}});
    for (json, expected) in [
        (
            json!({"rules": rule, "mode": "Observe"}),
            "spec.mode: \"Observe\" is none of Enforce, Report, Open",
        ),
        (json!({"rules": rule, "clients": []}), "spec.clients: is empty"),
        (
            json!({"rules": rule, "clients": [{"name": "c"}]}),
            "client c: needs from, auth or both",
        ),
        // What stands in log lines and refusals cannot be read as something else there.
        (
            json!({"rules": [{"name": "r\r\nX: y", "hosts": ["a.example"]}]}),
            "rule r\\r\\nX: y: its name is none",
        ),
        (
            json!({"rules": [{"name": "A_b", "hosts": ["a.example"]}]}),
            "rule A_b: its name is none",
        ),
        (
            json!({"rules": [{"name": "r-", "hosts": ["a.example"]}]}),
            "rule r-: its name is none",
        ),
        (
            json!({"rules": [{"name": "r".repeat(64), "hosts": ["a.example"]}]}),
            "its name is none",
        ),
        (
            json!({"rules": rule, "clients": [{"name": "", "from": {"podSelector": {}}}]}),
            "client : its name is none",
        ),
        (
            json!({"rules": rule, "clients": [{"name": "c", "auth": {}}]}),
            "exactly one of serviceAccounts",
        ),
        (
            json!({"rules": rule, "clients": [{"name": "c", "from": {"podSelector": {}}}, {"name": "c", "from": {"podSelector": {}}}]}),
            "client c: stands twice",
        ),
        (
            json!({"rules": rule, "clients": [{"name": "c", "auth": {"certificate": {"caRef": {"name": "x"}, "identities": ["a"]}}}]}),
            "needs listener.tls",
        ),
        (
            json!({"rules": rule, "listener": tls, "clients": [{"name": "c", "auth": {"certificate": {"caRef": {"name": "x"}, "identities": []}}}]}),
            "needs identities",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "clients": ["x"]}]}),
            "names \"x\", which is no client",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "action": "Drop"}]}),
            "spec.rules r action: \"Drop\"",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "ports": [{"port": 70000}]}]}),
            "rule r: port 0",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "http": {"methods": ["post"]}}]}),
            "http.methods \"post\"",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "http": {"methods": ["CONNECT"]}}]}),
            "http.methods",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "http": {"pathPrefixes": ["/a/../b"]}}]}),
            "http.pathPrefixes",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "http": {"pathPrefixes": ["hooks"]}}]}),
            "http.pathPrefixes",
        ),
        (
            json!({"rules": [{"name": "r", "cidrs": ["192.175.48.0/24"], "upstreamTLS": {}}]}),
            "upstreamTLS needs hosts",
        ),
        (
            json!({"rules": [{"name": "r", "cidrs": ["192.175.48.0/24"], "sni": "MustMatch"}]}),
            "sni: MustMatch",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "action": "Deny", "upstreamTLS": {}}]}),
            "a Deny rule cannot",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "HMAC-SHA256", "secretRefs": [{"name": "s"}]}}]}),
            "signing.header is missing",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "StandardWebhooks", "header": "X", "secretRefs": [{"name": "s"}]}}]}),
            "signing.header goes with",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "RSA-SHA256", "header": "Host", "secretRefs": [{"name": "s"}]}}]}),
            "is no field that a signature can stand in",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "RSA-SHA256", "header": "HTTP2-Settings", "secretRefs": [{"name": "s"}]}}]}),
            "is no field that a signature can stand in",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "RSA-SHA256", "header": "X-WhSentry-TLS", "secretRefs": [{"name": "s"}]}}]}),
            "is no field that a signature can stand in",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "signing": {"scheme": "RSA-SHA256", "header": "Content_Length", "secretRefs": [{"name": "s"}]}}]}),
            "is no field that a signature can stand in",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "ports": [{"port": 70000}]}]}),
            "one above 65535",
        ),
        (
            json!({"rules": [{"name": "r", "hosts": ["a.example"], "ports": [{"port": 1, "endPort": 70000}]}]}),
            "one above 65535",
        ),
        (
            json!({"rules": rule, "timeouts": {"idle": "5"}}),
            "spec.timeouts.idle: \"5\" is no duration",
        ),
        (
            json!({"rules": rule, "timeouts": {"idle": "0s"}}),
            "timeouts.idle: is not between",
        ),
        (
            json!({"rules": rule, "limits": {"responseBody": "1.5Mi"}}),
            "spec.limits.responseBody",
        ),
        (
            json!({"rules": rule, "limits": {"tunnels": -1}}),
            "spec.limits.tunnels: -1 is negative",
        ),
        (
            json!({"rules": rule, "limits": {"tunnels": 0}}),
            "limits.tunnels: is not between",
        ),
        (
            json!({"rules": rule, "listener": {"proxyProtocol": {"sources": ["10.0.0.1/8"]}}}),
            "listener.proxyProtocol",
        ),
        (
            json!({"rules": [{"name": "a", "hosts": ["x.example"], "upstreamTLS": {}}, {"name": "b", "hosts": ["x.example"]}]}),
            "rules a and b: both allow x.example and differ",
        ),
    ] {
        let found = content(&spec(json.clone()), Place::Cluster).expect_err(&json.to_string());
        assert!(found.contains(expected), "{json}: {found}");
    }
}

#[test]
fn rules_that_cannot_meet_may_differ() {
    for rules in [
        json!([{"name": "a", "hosts": ["x.example"], "upstreamTLS": {}}, {"name": "b", "hosts": ["*.example"]}]),
        json!([{"name": "a", "hosts": ["x.example"], "upstreamTLS": {}}, {"name": "b", "hosts": ["x.example"], "ports": [{"port": 80}]}]),
        json!([
            {"name": "a", "hosts": ["x.example"], "upstreamTLS": {}, "http": {"methods": ["POST"]}},
            {"name": "b", "hosts": ["x.example"], "http": {"methods": ["GET"]}}
        ]),
        json!([
            {"name": "a", "hosts": ["x.example"], "upstreamTLS": {}, "http": {"pathPrefixes": ["/a/"]}},
            {"name": "b", "hosts": ["x.example"], "http": {"pathPrefixes": ["/b/"]}}
        ]),
    ] {
        content(&spec(json!({"rules": rules})), Place::Alone).unwrap();
    }
}

#[test]
fn pods_are_a_clusters_matter() {
    let by_pod = spec(json!({
        "rules": [{"name": "r", "hosts": ["a.example"]}],
        "clients": [{"name": "c", "from": {"podSelector": {}}}]
    }));
    assert!(content(&by_pod, Place::Cluster).is_ok());
    assert!(content(&by_pod, Place::Alone).unwrap_err().contains("use auth"));
}

#[test]
fn fields_that_do_not_exist_are_errors() {
    for json in [
        json!({"rules": [], "mod": "Open"}),
        json!({"rules": [{"name": "r", "host": ["a.example"]}]}),
        json!({"rules": [], "timeouts": {"read": "1s"}}),
        json!({"rules": [], "clients": [{"name": "c", "from": {"namespaceSelector": {}}}]}),
    ] {
        assert!(
            serde_json::from_value::<PolicySpec>(json.clone()).is_err(),
            "{json}"
        );
    }
}

#[test]
fn a_pools_caps() {
    let caps = |json: Value| {
        let spec: PoolSpec = serde_json::from_value(json).unwrap();
        let caps = manifest::caps(&spec).map_err(|problems| problems.to_string())?;
        compile::caps(&caps).map_err(|problems| problems.to_string())?;
        Ok::<_, String>(to_json(&caps))
    };
    assert_eq!(caps(json!({})).unwrap(), r#"{"modes":["Enforce"]}"#);
    let full = json!({"caps": {
        "modes": ["Enforce", "Report"], "ports": [{"port": 443}],
        "hosts": {"allow": ["*"], "deny": ["*.internal.example.com"]},
        "internalDestinations": [
            {"cidr": "10.20.0.0/16", "ports": [{"port": 443}]},
            {"host": "receiver.corp.example", "cidrs": ["10.30.1.0/24"], "ports": [{"port": 443}]}
        ],
        "clientAuth": "Required", "maxReplicasPerCell": 20, "maxRulesPerPolicy": 1000
    }});
    assert_eq!(
        caps(full).unwrap(),
        concat!(
            r#"{"modes":["Enforce","Report"],"ports":[{"port":443}],"#,
            r#""hosts":{"allow":["*"],"deny":["*.internal.example.com"]},"#,
            r#""internalDestinations":[{"cidr":"10.20.0.0/16","ports":[{"port":443}]},"#,
            r#"{"host":"receiver.corp.example","cidrs":["10.30.1.0/24"],"ports":[{"port":443}]}],"#,
            r#""clientAuth":"Required"}"#
        )
    );
    for (entry, expected) in [
        (json!({"ports": [{"port": 443}]}), "needs either cidr or host"),
        (
            json!({"cidr": "10.0.0.0/8", "host": "a.example", "ports": [{"port": 443}]}),
            "needs either",
        ),
        (
            json!({"cidr": "10.0.0.1/8", "ports": [{"port": 443}]}),
            "host bits",
        ),
        (json!({"cidr": "10.0.0.0/8", "ports": []}), "has no ports"),
        (
            json!({"host": "*.corp.example", "cidrs": ["10.0.0.0/8"], "ports": [{"port": 443}]}),
            "one exact name",
        ),
        (
            json!({"host": "a.example", "ports": [{"port": 443}]}),
            "needs cidrs",
        ),
    ] {
        let found = caps(json!({"caps": {"internalDestinations": [entry]}})).unwrap_err();
        assert!(
            found.contains("caps.internalDestinations[0]") && found.contains(expected),
            "{found}"
        );
    }
}
