//! What a converted policy does not do although the configuration did, or seemed to.

use super::{From, convert, named};

fn notes(from: From, text: &str) -> Vec<String> {
    convert(from, None, text).unwrap().notes
}

#[test]
fn an_allowed_host_that_the_floor_refuses_is_named() {
    let acl = r#"
version: v1
services:
- {name: a, action: enforce, allowed_domains: [127.0.0.1, localhost, 10.1.2.3, good.example, 192.175.48.7, "*.good.example"]}
global_allow_list: ["*.svc.cluster.local"]
global_deny_list: [169.254.169.254]
"#;
    let said = notes(From::SmokescreenAcl, acl);
    named(
        &said,
        &[
            "a: allowed_domains 127.0.0.1/32: nothing opens it",
            "a: allowed_domains localhost: is looked up only where caps.internalDestinations",
            "a: allowed_domains 10.1.2.3/32: is private: only caps.internalDestinations",
            "global_allow_list *.svc.cluster.local: is looked up only",
        ],
    );
    for fine in ["good.example", "192.175.48.7", "169.254"] {
        assert!(!said.iter().any(|note| note.contains(fine)), "{fine}: {said:#?}");
    }
}

#[test]
fn webhook_sentrys_port_its_second_listener_and_its_roots_are_named() {
    named(
        &notes(From::WebhookSentry, "{}"),
        &["listener: give --listen '[::]:9090'"],
    );
    let both = "listeners: [{type: http, address: \":9090\"}, {type: https, address: \":9091\", certFile: c, keyFile: k}]\n\
                mozillaCaCerts: a.pem\n";
    let said = notes(From::WebhookSentry, both);
    named(
        &said,
        &[
            "of type http: a policy's listener speaks TLS or does not",
            "mozillaCaCerts a.pem: give --roots FILE",
        ],
    );
    assert!(!said.iter().any(|note| note.contains("[::]:9090")), "{said:#?}");
}
