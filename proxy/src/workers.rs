//! One thread with a runtime of its own for each core: a connection stays on the thread that accepted it.
//!
//! Against one runtime over all cores this saves the wake-ups between threads. The price: the kernel spreads
//! connections by their addresses, not by load, so a few heavy ones may meet on one core. The control side runs
//! elsewhere and answers health checks however busy these threads are.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::server::Server;

/// Below every time limit that a connection arms a timer for.
const BEAT: Duration = Duration::from_secs(1);

/// The threads of a data path. Dropping it cuts everything.
#[derive(Debug)]
pub struct Workers {
    ended: CancellationToken,
    _kill: DropGuard,
}

/// How many threads the data path gets: the cores that this process may use, a container's limit included.
#[must_use]
pub fn count() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl Workers {
    /// Starts a thread for each listener.
    ///
    /// # Errors
    /// A runtime, its listener or its thread could not be set up; those that were end again.
    pub fn start(
        server: &Arc<Server>,
        listeners: Vec<TcpListener>,
        stop: &CancellationToken,
        kill: &CancellationToken,
    ) -> io::Result<Self> {
        let ended = CancellationToken::new();
        let workers = Self {
            ended: ended.clone(),
            _kill: kill.clone().drop_guard(),
        };
        for listener in listeners {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let listener = {
                let _context = runtime.enter();
                tokio::net::TcpListener::from_std(listener)?
            };
            runtime.spawn(beat());
            let (server, stop, kill) = (Arc::clone(server), stop.clone(), kill.clone());
            // However it ends, by panic too, the whole data path has ended: half a data path would look well.
            let ends = ended.clone().drop_guard();
            thread::Builder::new().name("worker".to_owned()).spawn(move || {
                // As a task: what `block_on` itself waits for is woken through a file descriptor, even by its own thread.
                let served = runtime.spawn(server.serve(listener, stop, kill));
                // A panic of the accept loop ends the thread; the panic itself has been reported.
                let _ = runtime.block_on(served);
                drop(ends);
            })?;
        }
        Ok(workers)
    }

    /// Resolves once the data path has ended, on whichever thread first: their connections are counted together, so the
    /// first to end is the first to notice that none is left.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Keeps a timer armed that fires before those of any connection: arming one that fires first makes the runtime wake its
/// own thread through a file descriptor, two system calls for each connection.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}
