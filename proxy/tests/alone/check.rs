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
