//! Documents on disk against documents in force: all of them as one, and only what changed. What is broken is in
//! `broken.rs`, how soon a change is seen in `seen.rs`, the two that are optional are in `optional.rs`.

mod broken;
mod optional;
mod seen;

use std::sync::Arc;

use egressway_core::acl::{Ask, Deny, Target};
use egressway_core::wire::document::{self, Floor};
use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::documents::Documents;
use egressway_proxy::state::State;
use prometheus_client::registry::Registry;

use crate::mount::{Files, Mount, policies, pool};

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
