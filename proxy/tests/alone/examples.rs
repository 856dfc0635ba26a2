//! Every manifest among the examples is one that the binary takes, and the command lines' page has every flag.

use std::fs;
use std::path::{Path, PathBuf};

use crate::alone::{self, text};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(args: &[&str]) -> (bool, String) {
    let output = alone::run(args);
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn every_example_without_a_cluster_can_be_enforced() {
    let mut seen = 0;
    for entry in fs::read_dir(top().join("examples/standalone")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Of another program.
        if !name.ends_with(".yaml") || name == "compose.yaml" {
            continue;
        }
        let (good, said) = run(&["check", "--policy", path.to_str().unwrap()]);
        assert!(good && said.starts_with("policy ok: "), "{name}: {said}");
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn the_examples_say_what_their_comments_say() {
    let path = |name: &str| top().join("examples/standalone").join(name).display().to_string();
    for (file, args, allowed) in [
        ("policy.yaml", &["https://api.stripe.com"][..], true),
        ("policy.yaml", &["https://api.stripe.com:8443"], false),
        (
            "webhooks.yaml",
            &["--method", "POST", "http://receiver.example/hook"],
            true,
        ),
        ("webhooks.yaml", &["http://receiver.example/hook"], false),
        ("webhooks.yaml", &["https://receiver.example"], false),
        (
            "clients.yaml",
            &["--client", "payments", "https://api.stripe.com"],
            true,
        ),
        (
            "clients.yaml",
            &["--client", "batch", "https://api.stripe.com"],
            false,
        ),
        (
            "clients.yaml",
            &["--client", "batch", "https://a.example.org"],
            true,
        ),
        ("clients.yaml", &["https://status.example.com"], false),
    ] {
        let file = path(file);
        let (good, said) = run(&[&["check", "--policy", &file], args].concat());
        assert_eq!(good, allowed, "{file} {args:?}: {said}");
    }
}

#[test]
fn what_check_says_is_spelt_as_policies_spell_it() {
    let file = top().join("examples/webhooks.yaml").display().to_string();
    let (_, said) = run(&["check", "--policy", &file]);
    // A list of revoked certificates is missed by nobody.
    assert!(
        said.contains("bank-ca/ca.crt") && !said.contains("ca.crl"),
        "{said}"
    );
    let target = "http://api.bank.example/hooks/a";
    let (_, said) = run(&["check", "--policy", &file, "--method", "POST", target]);
    assert!(said.contains(" RSA-SHA256"), "{said}");
}

#[test]
fn the_page_of_command_lines_has_every_flag() {
    let page = fs::read_to_string(top().join("docs/reference/cli.md")).unwrap();
    for (command, heading) in [
        (&[][..], "## egressway-proxy\n"),
        (&["observer"], "## egressway-proxy observer\n"),
        (&["check"], "## egressway-proxy check\n"),
        (&["convert"], "## egressway-proxy convert\n"),
        (&["forward"], "## egressway-proxy forward\n"),
        (&["verify"], "## egressway-proxy verify\n"),
    ] {
        let (good, help) = run(&[command, &["--help"]].concat());
        assert!(good, "{help}");
        let (_, section) = page
            .split_once(heading)
            .unwrap_or_else(|| panic!("{heading} is missing"));
        let section = section.split("\n## ").next().unwrap();
        let words = |text: &str| {
            let mut flags: Vec<String> = text
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .filter(|word| word.starts_with("--") && word.len() > 2)
                .map(ToOwned::to_owned)
                .collect();
            flags.sort();
            flags.dedup();
            flags
        };
        let offered = help.lines().filter(|line| line.trim_start().starts_with('-'));
        let offered: String = offered
            .map(|line| {
                line.split("  ")
                    .find(|part| part.contains("--"))
                    .unwrap_or("")
                    .to_owned()
                    + "\n"
            })
            .collect();
        for flag in words(&offered) {
            assert!(
                ["--help", "--version"].contains(&flag.as_str()) || words(section).contains(&flag),
                "{heading}{flag} is missing"
            );
        }
        let rows = section.lines().filter(|line| line.starts_with("| `-"));
        let written: String = rows
            .map(|row| row.split('|').nth(1).unwrap_or("").to_owned() + "\n")
            .collect();
        for flag in words(&written) {
            assert!(words(&help).contains(&flag), "{heading}{flag} is no flag");
        }
    }
}
