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

#[test]
fn everything_public_is_not_named_as_refused() {
    let acl = "version: v1\nservices: [{name: a, action: enforce, allowed_domains: [\"*\"]}]\n";
    let said = notes(From::SmokescreenAcl, acl);
    assert!(
        !said.iter().any(|note| note.contains("a: allowed_domains")),
        "{said:#?}"
    );
}

#[test]
fn two_services_never_become_one_policy() {
    let acl = "version: v1\nservices:\n- {name: a_b, action: enforce}\n- {name: a-b, action: open}\n\
               - {name: default, action: open}\ndefault: {action: enforce}\n";
    let converted = convert(From::SmokescreenAcl, None, acl).unwrap();
    let names: Vec<_> = converted.policies.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a-b", "a-b-2", "default", "default-2"]);
    named(&converted.notes, &["a-b: its policy is named a-b-2"]);
    let twice = "version: v1\nservices: [{name: a, action: open}, {name: a, action: enforce}]\n";
    let error = convert(From::SmokescreenAcl, None, twice).unwrap_err();
    assert!(error.to_string().contains("service a stands twice"), "{error}");
}

#[test]
fn a_file_of_another_kind_does_not_become_a_policy_that_lets_everything_out() {
    let acl = "version: v1\nservices: [{name: a, action: enforce}]\n";
    for (from, text, expected) in [
        (From::SmokescreenConfig, acl, "--from smokescreen-acl"),
        (From::WebhookSentry, acl, "--from smokescreen-acl"),
        (From::Mole, "connect_timeout: 10s\n", "version is missing"),
        (From::Mole, acl, "no service authed"),
        (From::SmokescreenAcl, "services: []\n", "version is missing"),
        (From::SmokescreenAcl, "version: 2\n", "version \"2\" is not v1"),
        (
            From::SmokescreenAcl,
            "version: v1\nservices: [{name: a, action: Open}]\n",
            "action \"Open\" is none of",
        ),
    ] {
        let error = format!("{:#}", convert(from, None, text).unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_service_by_itself_has_no_notes_of_the_others() {
    let acl = "version: v1\nservices:\n- {name: one, action: enforce, allowed_domains: [a.example], mitm_domains: [a.example]}\n\
               - {name: two, action: enforce, project: p, allowed_domains: [127.0.0.1]}\ndefault: {action: open, project: p}\n";
    for (only, own, others) in [
        ("one", "services[0].mitm_domains", ["services[1]", "default"]),
        (
            "two",
            "two: allowed_domains 127.0.0.1",
            ["services[0]", "default"],
        ),
        ("default", "default.project", ["services[0]", "services[1]"]),
    ] {
        let notes = convert(From::SmokescreenAcl, Some(only), acl).unwrap().notes;
        named(&notes, &[own]);
        for other in others {
            assert!(
                !notes.iter().any(|note| note.starts_with(other)),
                "{only}: {notes:#?}"
            );
        }
    }
    assert!(convert(From::SmokescreenAcl, Some("three"), acl).is_err());
}

#[test]
fn hosts_have_no_case() {
    let acl = "version: v1\nservices: [{name: a, action: open}]\nglobal_deny_list: [Evil.Example, \"*.EVIL.example\"]\n";
    let converted = convert(From::SmokescreenAcl, None, acl).unwrap();
    let rules = &converted.policies[0].1.rules;
    let hosts = rules
        .iter()
        .find(|rule| rule.name == "global-deny")
        .unwrap()
        .hosts
        .clone();
    assert_eq!(hosts.unwrap(), ["evil.example", "*.evil.example"]);
    assert!(
        !converted.notes.iter().any(|note| note.contains("left out")),
        "{:#?}",
        converted.notes
    );
}

#[test]
fn a_long_name_that_is_taken_stays_one() {
    let long = "x".repeat(63);
    let acl =
        format!("version: v1\nservices: [{{name: {long}, action: open}}, {{name: {long}y, action: open}}]\n");
    let converted = convert(From::SmokescreenAcl, None, &acl).unwrap();
    let names: Vec<_> = converted.policies.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, [long, "x".repeat(61) + "-2"]);
}
