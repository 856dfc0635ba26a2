//! What is broken, missing, too long or half written: the last good documents stay in force, and it is said and
//! counted.

use std::fs;

use egressway_proxy::documents::BYTES_MAX;

use super::{Loaded, good};
use crate::mount::{Files, Mount, pool};

#[test]
fn a_broken_document_of_any_kind_keeps_the_last_good_ones() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    let newer = |json: &str| json.replacen(r#""version":1"#, r#""version":2,"mood":"new""#, 1);
    let extra = |json: &str| json.replacen('{', r#"{"mood":"bad","#, 1);
    let next = Files::allowing(2, &["next.example"]);
    for (files, expected) in [
        (
            Files {
                policies: "{".to_owned(),
                ..next.clone()
            },
            "failed to parse policies.json",
        ),
        (
            Files {
                policies: String::new(),
                ..next.clone()
            },
            "failed to parse policies.json",
        ),
        (
            Files {
                floor: "[]".to_owned(),
                ..next.clone()
            },
            "failed to parse floor.json",
        ),
        (
            Files {
                pool: "null".to_owned(),
                ..next.clone()
            },
            "failed to parse pool.json",
        ),
        (
            Files {
                policies: extra(&next.policies),
                ..next.clone()
            },
            "unknown field `mood`",
        ),
        (
            Files {
                floor: extra(&next.floor),
                ..next.clone()
            },
            "unknown field `mood`",
        ),
        (
            Files {
                pool: extra(&next.pool),
                ..next.clone()
            },
            "unknown field `mood`",
        ),
        (
            Files {
                policies: newer(&next.policies),
                ..next.clone()
            },
            "policies.json has version 2, this build reads 1: upgrade",
        ),
        (
            Files {
                floor: newer(&next.floor),
                ..next.clone()
            },
            "floor.json has version 2",
        ),
        (
            Files {
                pool: newer(&next.pool),
                ..next.clone()
            },
            "pool.json has version 2",
        ),
        (
            Files {
                policies: next.policies.replace("next.example", "evil.example"),
                ..next.clone()
            },
            "the hash does not match the content",
        ),
        (
            Files::allowing(2, &["next.example"]).with_pool(&pool(&[("o", "ftp://x.example")], 1, &[])),
            "observer o: the URL needs http",
        ),
        (
            Files {
                floor: r#"{"version":1,"internalCidrs":["10.0.0.1/8"],"neverCidrs":[],"neverHosts":[]}"#
                    .to_owned(),
                ..next.clone()
            },
            "floor.json is refused: internalCidrs",
        ),
    ] {
        loaded.swap(&files);
        loaded.refused_with(expected);
        assert!(!loaded.permits("next.example:443"), "all or nothing: {expected}");
    }
    loaded.swap(&next);
    assert_eq!((loaded.generation(), loaded.state.load_error()), (Some(2), None));
    assert!(!loaded.permits("good.example:443"));
}

#[test]
fn a_missing_file_or_directory_keeps_the_last_good_ones() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    fs::remove_file(loaded.mount.path().join("..data/pool.json")).unwrap();
    loaded.documents.load();
    loaded.refused_with("pool.json: No such file");
    fs::remove_dir_all(loaded.mount.path()).unwrap();
    loaded.documents.load();
    loaded.refused_with("No such file");
}

#[test]
fn a_file_is_bounded() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    let mut files = good();
    let room = usize::try_from(BYTES_MAX).unwrap() - files.policies.len();
    files.policies.push_str(&" ".repeat(room));
    loaded.swap(&files);
    assert_eq!(loaded.state.load_error(), None, "at the bound");
    files.policies.push(' ');
    loaded.swap(&files);
    loaded.refused_with("policies.json is larger than");
}

/// The link leads to the old version while the new one is half written beside it.
#[test]
fn a_half_written_version_is_not_read_before_the_swap() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    let staged = loaded.mount.stage(&Files::allowing(2, &["next.example"]));
    fs::write(loaded.mount.path().join(&staged).join("floor.json"), "{\"ver").unwrap();
    loaded.documents.load();
    assert_eq!((loaded.generation(), loaded.state.load_error()), (Some(1), None));
}

#[test]
fn trouble_is_counted_as_long_as_it_lasts() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    let mut files = good();
    files.pool = "{}".to_owned();
    loaded.swap(&files);
    loaded.documents.load();
    loaded.documents.load();
    let metrics = loaded.metrics();
    assert!(metrics.contains("acl_reload_failures_total 3"), "{metrics}");
    loaded.swap(&good());
    assert!(loaded.metrics().contains("acl_stale 0"));
}
