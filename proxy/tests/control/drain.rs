//! How a pod leaves: announce, refuse, wait, cut; here as a sequence on a paused clock. As an app it is in `app.rs`, as
//! a process in `process.rs`, under load in `kept.rs`.

mod app;
mod kept;
mod process;

use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::document;
use egressway_core::wire::report::Phase;
use egressway_proxy::drain::{self, Times};
use egressway_proxy::state::{InForce, State};
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::mount::{Files, open_policies, pool};

const TIMES: Times = Times {
    announce: Duration::from_secs(5),
    tunnels: Duration::from_secs(300),
};

/// A drain on a paused clock, with a data path that ends when told to, or when it is cut.
struct Drained {
    state: Arc<State>,
    stop: CancellationToken,
    kill: CancellationToken,
    abort: CancellationToken,
    ended: CancellationToken,
    began: Instant,
    task: AbortOnDropHandle<()>,
}

impl Drained {
    fn begin() -> Self {
        let state = State::new();
        state.set_phase(Phase::Serving);
        let [stop, kill, abort, ended] = std::array::from_fn(|_| CancellationToken::new());
        let task = {
            let (state, stop, kill) = (Arc::clone(&state), stop.clone(), kill.clone());
            let (abort, ended) = (abort.clone(), ended.clone());
            tokio::spawn(async move {
                let served = async {
                    tokio::select! {
                        () = kill.cancelled() => {}
                        () = ended.cancelled() => {}
                    }
                };
                drain::process(&state, TIMES, &stop, &kill, &abort, served).await;
            })
        };
        Self {
            state,
            stop,
            kill,
            abort,
            ended,
            began: Instant::now(),
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Seconds from the beginning to the end of the drain, and whether anything was cut.
    async fn end(self) -> (u64, bool) {
        self.task.await.unwrap();
        (self.began.elapsed().as_secs(), self.kill.is_cancelled())
    }
}

async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
    // Lets the drain's timer fire and its task act on it.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_says_so_then_refuses_then_waits_then_cuts() {
    let drained = Drained::begin();
    let mut phases = drained.state.watch_phase();
    phases.wait_for(|phase| *phase == Phase::Draining).await.unwrap();
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Ok(()), false),
        "announced, still serving"
    );
    pass(4).await;
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Ok(()), false)
    );
    pass(1).await;
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Err(Phase::Draining), true)
    );
    pass(298).await;
    assert!(!drained.kill.is_cancelled());
    assert_eq!(drained.end().await, (305, true));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_last_tunnel() {
    let drained = Drained::begin();
    pass(0).await;
    pass(5).await;
    pass(10).await;
    drained.ended.cancel();
    assert_eq!(drained.end().await, (15, false));
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_cuts_at_once_in_every_step() {
    let announced = Drained::begin();
    announced.abort.cancel();
    assert_eq!(announced.end().await, (0, true));
    let waiting = Drained::begin();
    pass(0).await;
    pass(5).await;
    pass(2).await;
    waiting.abort.cancel();
    assert_eq!(waiting.end().await, (7, true));
}

#[tokio::test(start_paused = true)]
async fn a_draining_cell_announces_then_refuses_and_can_be_taken_back() {
    let state = State::new();
    state.set_phase(Phase::Serving);
    let stop = CancellationToken::new();
    let follow = drain::follow_cell(Arc::clone(&state), "a".to_owned(), TIMES.announce, stop.clone());
    let following = tokio::spawn(follow);
    let put = |draining: bool, name: &str| {
        let mut pool = pool(&[], 0, &[]);
        pool.name = name.to_owned();
        pool.cells[0].draining = draining;
        state.set_in_force(InForce {
            pool: Arc::new(pool),
            ..InForce::default()
        });
    };
    put(true, "p");
    pass(0).await;
    assert_eq!((state.phase(), state.admits()), (Phase::Draining, Ok(())));
    pass(3).await;
    put(
        true,
        "an edit that does not concern the cell does not start the clock again",
    );
    pass(0).await;
    pass(2).await;
    assert_eq!(state.admits(), Err(Phase::Draining));
    put(false, "p");
    pass(0).await;
    assert_eq!((state.phase(), state.admits()), (Phase::Serving, Ok(())));
    stop.cancel();
    following.await.unwrap();
}

/// Documents that let everything through.
fn open_files() -> Files {
    Files {
        policies: document::to_json(&open_policies()),
        ..Files::allowing(1, &[])
    }
}
