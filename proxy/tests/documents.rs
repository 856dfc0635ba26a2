//! Documents on disk against documents in force: all or nothing, the last good ones stay, changes are seen at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "control/mount.rs"]
mod mount;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Ask, Deny, Target};
use egressway_core::wire::document::{self, Floor};
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::documents::{BYTES_MAX, Documents};
use egressway_proxy::state::State;
use mount::{Files, Mount, policies, pool};
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Loaded {
    mount: Mount,
    state: Arc<State>,
    documents: Documents,
    registry: Registry,
}

impl Loaded {
    fn new(mount: Mount) -> Self {
        let state = State::new();
        let mut registry = Registry::default();
        let metrics = ControlMetrics::register(&mut registry, Arc::clone(&state));
        let documents = Documents::new(mount.path(), "a".to_owned(), vec![], Arc::clone(&state), metrics);
        let mut loaded = Self {
            mount,
            state,
            documents,
            registry,
        };
        loaded.documents.load();
        loaded
    }

    fn swap(&mut self, files: &Files) {
        self.mount.swap(files);
        self.documents.load();
    }

    /// Generation in force.
    fn generation(&self) -> Option<i64> {
        self.state.in_force().policy().map(|policy| policy.generation())
    }

    fn permits(&self, target: &str) -> bool {
        let in_force = self.state.in_force();
        let target = Target::parse(target).unwrap();
        in_force
            .policy()
            .is_some_and(|policy| policy.permit(&in_force.wall, Ask::tunnel(target)).is_ok())
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    #[track_caller]
    fn refused_with(&self, expected: &str) {
        let error = self.state.load_error().unwrap_or_default();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        assert_eq!(self.generation(), Some(1), "the last good documents stay");
        assert!(self.permits("good.example:443"));
        assert!(self.metrics().contains("acl_stale 1"));
    }
}

fn good() -> Files {
    Files::allowing(1, &["good.example"])
}

#[test]
fn all_three_are_put_in_force_as_one() {
    let loaded = Loaded::new(Mount::with(&good()));
    assert_eq!(loaded.state.load_error(), None);
    let in_force = loaded.state.in_force();
    assert_eq!(
        in_force.policies[0].hash(),
        policies(1, &["good.example"]).policies[0].hash
    );
    assert_eq!(
        in_force.wall.floor.hash(),
        document::digest(&Floor {
            version: 1,
            ..Floor::default()
        })
    );
    assert_eq!(in_force.pool_hash, document::digest(&pool(&[], 0, &[])));
    let metrics = loaded.metrics();
    assert!(
        metrics.contains(r#"acl_generation{namespace="payments",policy="webhooks"} 1"#),
        "{metrics}"
    );
    assert!(
        metrics.contains("acl_stale 0") && metrics.contains("acl_reload_failures_total 0"),
        "{metrics}"
    );
}

#[test]
fn plain_files_work_without_a_link() {
    let mount = Mount::empty();
    mount.write_plain(&good());
    assert!(Loaded::new(mount).permits("good.example:443"));
}

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
fn before_the_first_good_load_nothing_is_let_through() {
    let mut loaded = Loaded::new(Mount::empty());
    assert_eq!(loaded.generation(), None);
    assert!(loaded.state.load_error().unwrap().contains("policies.json"));
    let mut files = good();
    files.floor = "broken".to_owned();
    loaded.swap(&files);
    assert!(loaded.generation().is_none() && !loaded.state.ready());
    loaded.swap(&good());
    assert!(loaded.permits("good.example:443"));
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

/// Versions differ in all three files; whatever is loaded while they are swapped must stem from one of them.
#[test]
fn swaps_under_a_reader_never_mix_two_versions() {
    let version = |n: i64| {
        let mut pool = pool(&[], 0, &[]);
        pool.name = format!("pool-{n}");
        Files {
            floor: document::to_json(&Floor {
                version: 1,
                never_hosts: vec![format!("never-{n}.example")],
                ..Floor::default()
            }),
            ..Files::allowing(n, &["good.example"]).with_pool(&pool)
        }
    };
    let mut loaded = Loaded::new(Mount::with(&version(0)));
    let mount = std::mem::replace(&mut loaded.mount, Mount::empty());
    let writer = std::thread::spawn(move || {
        for n in 1..300 {
            mount.swap(&version(n));
        }
        mount
    });
    let mut seen = std::collections::BTreeSet::new();
    while !writer.is_finished() {
        loaded.documents.load();
        let in_force = loaded.state.in_force();
        let generation = in_force.policies[0].generation();
        assert_eq!(in_force.pool.name, format!("pool-{generation}"));
        assert_eq!(
            in_force
                .wall
                .floor
                .check_name(&format!("never-{generation}.example")),
            Err(Deny::NameInternal)
        );
        seen.insert(generation);
    }
    loaded.mount = writer.join().unwrap();
    loaded.documents.load();
    assert_eq!(
        (loaded.generation(), loaded.state.load_error()),
        (Some(299), None)
    );
    assert!(seen.len() > 1, "the reader ran beside the writer");
}

#[test]
fn unchanged_bytes_are_not_put_in_force_again() {
    let mut loaded = Loaded::new(Mount::with(&good()));
    let mut changes = loaded.state.watch_in_force();
    changes.mark_unchanged();
    loaded.documents.load();
    loaded.swap(&good());
    assert!(!changes.has_changed().unwrap());
    let old = loaded.state.in_force();
    let mut files = good();
    files.floor = document::to_json(&Floor {
        version: 1,
        never_hosts: vec!["x.example".to_owned()],
        ..Floor::default()
    });
    loaded.swap(&files);
    let new = loaded.state.in_force();
    assert!(changes.has_changed().unwrap());
    assert!(
        Arc::ptr_eq(&old.policies[0], &new.policies[0]),
        "a new floor compiles no policy again"
    );
    assert!(!Arc::ptr_eq(&old.wall.floor, &new.wall.floor));
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

/// Waits until the generation is in force, well before the poll would find it.
async fn await_generation(state: &State, generation: i64) {
    let mut documents = state.watch_in_force();
    let found = documents.wait_for(|now| {
        now.policy()
            .is_some_and(|policy| policy.generation() == generation)
    });
    timeout(Duration::from_secs(1), found)
        .await
        .expect("seen within a second")
        .unwrap();
}

#[tokio::test]
async fn a_swap_is_seen_at_once() {
    let Loaded {
        mount,
        state,
        documents,
        ..
    } = Loaded::new(Mount::with(&good()));
    let stop = CancellationToken::new();
    let following = tokio::spawn(documents.follow(stop.clone()));
    for generation in 2..10 {
        mount.swap(&Files::allowing(generation, &["good.example"]));
        await_generation(&state, generation).await;
    }
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn plain_files_are_seen_at_once() {
    let mount = Mount::empty();
    mount.write_plain(&good());
    let Loaded {
        mount,
        state,
        documents,
        ..
    } = Loaded::new(mount);
    let stop = CancellationToken::new();
    let following = tokio::spawn(documents.follow(stop.clone()));
    for generation in 2..5 {
        mount.write_plain(&Files::allowing(generation, &["good.example"]));
        await_generation(&state, generation).await;
    }
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_comes_late_is_found() {
    let outer = tempfile::TempDir::new().unwrap();
    let dir = outer.path().join("acl");
    let state = State::new();
    let metrics = ControlMetrics::register(&mut Registry::default(), Arc::clone(&state));
    let documents = Documents::new(dir.clone(), "a".to_owned(), vec![], Arc::clone(&state), metrics);
    let stop = CancellationToken::new();
    let following = tokio::spawn(documents.follow(stop.clone()));
    let mount = Mount::with(&good());
    fs::rename(mount.path(), &dir).unwrap();
    let mut changes = state.watch_in_force();
    let found = changes.wait_for(|now| now.policy().is_some());
    timeout(Duration::from_secs(5), found)
        .await
        .expect("polled every second")
        .unwrap();
    assert_eq!(state.load_error(), None);
    stop.cancel();
    following.await.unwrap();
}
