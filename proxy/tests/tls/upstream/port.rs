//! Which port a refusal names where the URL has none: whoever reads of port 80 opens it, and sends in the clear.

use std::sync::Arc;

use egressway_core::acl::{Wall, compile};
use egressway_core::wire::document::{Caps, Http, PortRange, Rule, UpstreamTls, When};
use egressway_proxy::server::Limits;

use crate::pki::{HOST, documents, rule};
use crate::support::{start, status};

/// POST alone, on 443.
fn preset(tls: Option<UpstreamTls>) -> Rule {
    Rule {
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        http: Some(Http {
            methods: vec!["POST".to_owned()],
            ..Http::default()
        }),
        ..rule(tls, None)
    }
}

fn closed_80() -> Caps {
    Caps {
        ports: vec![PortRange {
            port: 443,
            end_port: None,
        }],
        ..Caps::default()
    }
}

#[tokio::test]
async fn a_refusal_names_the_port_that_the_rule_would_have_dialled() {
    let on_request = UpstreamTls {
        when: When::OnRequest,
        ..UpstreamTls::default()
    };
    let always = UpstreamTls::default();
    for (tls, url, field, expected) in [
        (Some(&always), HOST, "", "good.example:443 matches no Allow rule"),
        (Some(&always), "good.example:80", "", "good.example:80 matches"),
        (
            Some(&always),
            "good.example:8443",
            "",
            "good.example:8443 matches",
        ),
        (Some(&on_request), HOST, "", "good.example:80 matches"),
        (
            Some(&on_request),
            HOST,
            "X-Egressway-TLS: true\r\n",
            "good.example:443 matches",
        ),
        (None, HOST, "", "good.example:80 matches"),
    ] {
        let mut documents = documents(preset(tls.cloned()), &[]);
        let proxy = start(documents.clone(), Limits::default()).await;
        let request = format!("GET http://{url}/ HTTP/1.1\r\nHost: x\r\n{field}Connection: close\r\n\r\n");
        let answer = proxy.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), 403, "{answer}");
        assert!(answer.contains(expected), "{expected}: {answer}");
        if expected.contains(":443") {
            // A pool that closes port 80 changes nothing about it.
            let caps = compile::caps(&closed_80()).unwrap();
            let floor = Arc::clone(&documents.wall.floor);
            documents.wall = Arc::new(Wall { floor, caps });
            proxy.state.set_in_force(documents);
            let answer = proxy.raw(request.as_bytes()).await;
            assert!(answer.contains(expected), "{expected}: {answer}");
        }
    }
}
