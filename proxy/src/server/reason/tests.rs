//! Every reason has one code, one printable line, and a row in the manual.

use std::collections::HashSet;

use super::rows::malformed;
use super::*;

fn all() -> Vec<Reason> {
    let tls = Failure::EXAMPLES.into_iter().map(Fault::Tls);
    let faults = Fault::EXAMPLES.into_iter().chain(tls).map(Reason::from);
    Deny::examples()
        .into_iter()
        .map(Reason::from)
        .chain(faults)
        .collect()
}

#[test]
fn codes_are_unique_and_fit_a_label() {
    let mut seen = HashSet::new();
    for reason in all() {
        assert!(seen.insert(reason.code()), "{} stands twice", reason.code());
        assert!(
            reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{}",
            reason.code()
        );
        assert!(reason.status().is_client_error() || reason.status().is_server_error());
    }
}

#[test]
fn texts_are_one_printable_line() {
    for reason in all() {
        for text in [reason.sentence(), reason.next_step().to_owned()] {
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text:?}");
        }
    }
}

#[test]
fn malformed_targets_say_the_same_in_core_and_here() {
    for what in [
        Malformed::EmptyHost,
        Malformed::NoPort,
        Malformed::BadPort,
        Malformed::UserInfo,
        Malformed::BadIpv6,
        Malformed::Scheme,
        Malformed::AmbiguousAddress,
        Malformed::BadName,
        Malformed::TooLong,
    ] {
        assert_eq!(malformed(what), what.to_string());
    }
}

#[test]
fn the_docs_list_exactly_these() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let listed: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter(|line| line.matches('|').count() == 4)
        .map(|line| format!("| `{line}"))
        .collect();
    let expected: Vec<String> = all().iter().map(row).collect();
    assert_eq!(
        listed,
        expected,
        "\nput this into {docs}:\n{}\n",
        expected.join("\n")
    );
}

#[test]
fn the_docs_list_how_requests_end() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter(|line| line.matches('|').count() == 3)
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(listed, crate::tunnel::End::ALL.map(crate::tunnel::End::code));
}

#[test]
fn the_docs_list_how_connections_end_before_a_request() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split('`').next())
        .collect();
    let all = Unopened::ALL;
    assert_eq!(listed, all.map(Unopened::code));
}

fn row(reason: &Reason) -> String {
    format!(
        "| `{}` | {} | `{}` | {} |",
        reason.code(),
        reason.status().as_u16(),
        reason.proxy_status(),
        reason.next_step()
    )
}
