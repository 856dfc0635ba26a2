//! How a pod leaves: first it says so, then it refuses, then it waits, then it cuts.
//!
//! A pod stays an endpoint on every node for a moment after it stopped being ready; whoever refuses at once fails the
//! requests of that moment. The same holds when an admin drains a cell, except that this can be taken back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::state::{Drain, State};

/// What a drain may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From "not ready" to "refuses": readiness probes, endpoint controller and kube-proxies need it.
    pub announce: Duration,
    /// From "refuses" to the cut.
    pub tunnels: Duration,
}

/// Drains the process: returns once `served` has ended, by itself or because it was cut.
///
/// `abort` (the second signal) cuts at once, whatever the drain waits for.
pub async fn process<F: Future<Output = ()>>(
    state: &State,
    times: Times,
    stop: &CancellationToken,
    kill: &CancellationToken,
    abort: &CancellationToken,
    served: F,
) {
    tokio::pin!(served);
    state.drain_process(Drain::Announced);
    info!(announce = ?times.announce, tunnels = ?times.tunnels, active = state.active(), "drain begins");
    tokio::select! {
        // The data path may fail while it is meant to go on; there is nothing left to wait for then.
        () = &mut served => return,
        () = abort.cancelled() => {}
        () = sleep(times.announce) => {}
    }
    state.drain_process(Drain::Refusing);
    stop.cancel();
    let ended = tokio::select! {
        () = abort.cancelled() => false,
        ended = timeout(times.tunnels, &mut served) => ended.is_ok(),
    };
    if ended {
        info!("drain ends, nothing was cut");
        return;
    }
    warn!(active = state.active(), "drain ends, open tunnels are cut");
    kill.cancel();
    served.await;
}

/// Follows the drain of the pod's cell, until `stop`.
pub async fn follow_cell(state: Arc<State>, cell: String, announce: Duration, stop: CancellationToken) {
    let mut documents = state.watch_in_force();
    let mut draining = false;
    let mut refuse_at = None;
    loop {
        let now = documents
            .borrow_and_update()
            .pool
            .cells
            .iter()
            .any(|own| own.name == cell && own.draining);
        if now != draining {
            info!(cell, draining = now, "cell state moved");
            draining = now;
            refuse_at = now.then(|| Instant::now() + announce);
            state.drain_cell(if now { Drain::Announced } else { Drain::Idle });
        }
        let refuse = sleep_until(refuse_at.unwrap_or_else(Instant::now));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = documents.changed() => if changed.is_err() { return },
            () = refuse, if refuse_at.is_some() => {
                refuse_at = None;
                state.drain_cell(Drain::Refusing);
            }
        }
    }
}
