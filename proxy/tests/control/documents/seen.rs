//! How soon a change on disk is in force.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use egressway_proxy::control_metrics::ControlMetrics;
use egressway_proxy::documents::Documents;
use egressway_proxy::state::State;
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Loaded, good};
use crate::mount::{Files, Mount};

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
