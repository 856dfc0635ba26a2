//! `check` and `convert`: what they print, and their exit codes.

use std::fs;

use crate::alone::{policy, run, text};

#[test]
fn check_explains_and_its_exit_code_says_whether() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let name = file.display().to_string();
    let rules = "- {name: partners, hosts: [api.stripe.com, \"*.example.com\"]}\n  - {name: no, action: Deny, hosts: [bad.example.com]}\n  - {name: hooks, hosts: [hooks.example], http: {methods: [POST], pathPrefixes: [/in/]}, upstreamTLS: {}}";
    fs::write(&file, policy(rules)).unwrap();
    for (args, code, said) in [
        (
            &[][..],
            0,
            &["policy ok: payments/webhooks: 3 rules, 4 hosts, 0 ranges, 0 clients, mode Enforce"][..],
        ),
        (
            &["https://api.stripe.com"],
            0,
            &[
                "ALLOW https://api.stripe.com by rule partners of payments/webhooks",
                "CONNECT api.stripe.com:443",
            ],
        ),
        (
            &["https://bad.example.com"],
            1,
            &["DENY", "denied by rule no", "denied_by_rule (status 403)"],
        ),
        // A Deny without ports leaves none open.
        (
            &["bad.example.com:8443", "http://bad.example.com/"],
            1,
            &[
                "DENY bad.example.com:8443: denied by rule no",
                "DENY http://bad.example.com/: denied by rule no",
            ],
        ),
        (
            &["https://other.example"],
            1,
            &["DENY", "no_rule_matches", "next"],
        ),
        (
            &["api.stripe.com:443", "api.stripe.com:80"],
            1,
            &["ALLOW api.stripe.com:443", "DENY api.stripe.com:80"],
        ),
        (
            &["--method", "POST", "http://hooks.example/in/a"],
            0,
            &["ALLOW", "POST hooks.example:443", "made by the proxy"],
        ),
        (&["http://hooks.example/in/a"], 1, &["DENY"]),
        (&["10.0.0.1:443"], 1, &["address_internal"]),
        (&["127.0.0.1:443"], 1, &["address_forbidden"]),
        (
            &["-o", "json", "https://api.stripe.com"],
            0,
            &["\"verdict\": \"ALLOW\"", "\"rule\": \"partners\""],
        ),
        (
            &["--client", "nobody", "https://api.stripe.com"],
            2,
            &["no client"],
        ),
        (&["--method", "POST", "https://api.stripe.com"], 2, &["--method"]),
        (&["ftp://a.example"], 2, &["scheme ftp"]),
        (&["--name", "other"], 2, &["no EgressPolicy named other"]),
        (
            &["--resolver", "127.0.0.1:1", "https://api.stripe.com"],
            1,
            &["ERROR"],
        ),
        (
            &["--dns", "--resolver", "127.0.0.1:1", "https://api.stripe.com"],
            1,
            &[
                "ERROR",
                "name server 127.0.0.1:1 AAAA: cannot be reached",
                "name server 127.0.0.1:1 A: cannot be reached",
            ],
        ),
    ] {
        let mut all = vec!["check", "--policy", &name];
        all.extend(args);
        let output = run(&all);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {printed}");
        for part in said {
            assert!(printed.contains(part), "{args:?}: {part} is missing in {printed}");
        }
    }
    fs::write(&file, policy("- {name: a, hosts: [A.example]}")).unwrap();
    let output = run(&["check", "--policy", &name]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("upper case"));
}

#[test]
fn check_says_what_is_signed_and_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let signing = "signing: {scheme: StandardWebhooks, secretRefs: [{name: key}]}";
    let rules = format!(
        "- {{name: hooks, hosts: [hooks.example], ports: [{{port: 80}}, {{port: 443}}], {signing}}}\n  \
         - {{name: beside, hosts: [beside.example], tunnels: Allow, {signing}}}\n  \
         - {{name: any, hosts: [\"*\"]}}"
    );
    fs::write(&file, policy(&rules)).unwrap();
    for (target, code, said, unsaid) in [
        (
            "http://hooks.example/",
            0,
            "signing     StandardWebhooks, over the body",
            "none",
        ),
        (
            "https://hooks.example",
            1,
            "tunnel_unsigned (status 403)",
            "signing     ",
        ),
        (
            "https://beside.example",
            0,
            "signing     none in a tunnel",
            "over the body",
        ),
        ("https://other.example", 0, "by rule any", "signing"),
    ] {
        let output = run(&["check", "--policy", file.to_str().unwrap(), target]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(
            printed.contains(said) && !printed.contains(unsaid),
            "{target}: {printed}"
        );
    }
}

#[test]
fn check_says_what_can_never_match_and_what_a_pool_says_in_vain() {
    const POOL: &str = "---\napiVersion: egressway.dev/v1alpha1\nkind: EgressPool\nmetadata: {name: p}\nspec:\n  \
                        cells: [{name: a, nodeSelector: {x: y}, addresses: [{cidr: 10.1.2.3/32}]}]\n  \
                        caps: {internalDestinations: [{cidr: RANGE, ports: [{port: 443}]}]}\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let said = |manifest: &str, args: &[&str]| {
        fs::write(&file, manifest).unwrap();
        let output = run(&[&["check", "--policy", file.to_str().unwrap()], args].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let rules = "- {name: in, hosts: [kubernetes.default.svc]}\n  - {name: meta, cidrs: [169.254.169.254/32]}\n  - {name: ok, hosts: [a.example]}";
    let (code, printed) = said(&(policy(rules) + &POOL.replace("RANGE", "127.0.0.0/8")), &[]);
    assert_eq!(code, Some(0), "{printed}");
    for part in [
        "policy ok",
        "warning: spec.rules[in]: it can never match: kubernetes.default.svc is a name inside",
        "warning: spec.rules[meta]: it can never match: 169.254.169.254/32 is never reachable",
        "warning: spec.caps.internalDestinations[0]: 127.0.0.0/8 opens nothing",
        "warning: spec.cells[a].addresses: 10.1.2.3/32 is no address",
    ] {
        assert!(printed.contains(part), "{part} is missing in {printed}");
    }
    assert!(!printed.contains("rules[ok]"), "{printed}");
    let (_, json) = said(&policy(rules), &["-o", "json"]);
    assert!(
        json.contains("\"warnings\": [") && json.contains("spec.rules[in]"),
        "{json}"
    );
    let (code, printed) = said(&(policy(rules) + &POOL.replace("RANGE", "0.0.0.0/0")), &[]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(
        printed.contains("0.0.0.0/0 is wider than private networks"),
        "{printed}"
    );
}

#[test]
fn converted_configurations_are_ones_that_check_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (source, policy) = (dir.path().join("acl.yaml"), dir.path().join("policy.yaml"));
    fs::write(&source, "version: v1\nservices:\n- {name: svc, project: p, action: enforce, allowed_domains: [api.example.com]}\nodd: 1\n").unwrap();
    let output = run(&["convert", "--from", "smokescreen-acl", source.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("odd: has no counterpart"));
    assert!(text(&output.stdout).contains("# - odd: has no counterpart"));
    fs::write(&policy, &output.stdout).unwrap();
    let name = policy.to_str().unwrap();
    let check = |args: &[&str]| run(&[&["check", "--policy", name], args].concat()).status.code();
    assert_eq!(check(&[]), Some(0));
    assert_eq!(check(&["--client", "svc", "https://api.example.com"]), Some(0));
    assert_eq!(check(&["--client", "svc", "https://other.example.com"]), Some(1));
    assert_eq!(check(&["https://api.example.com"]), Some(1));
    assert_eq!(
        run(&["convert", "--from", "mole", "/nowhere"]).status.code(),
        Some(2)
    );
}
