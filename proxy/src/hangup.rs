//! SIGHUP: documents are read and log files opened again, now. It ends nothing, as it would without a handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Hears every SIGHUP of the process.
#[derive(Debug)]
pub(crate) struct Hangups {
    signal: Signal,
    reload: Arc<Notify>,
    reopen: Arc<AtomicBool>,
}

impl Hangups {
    /// # Errors
    /// The signal cannot be listened for.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::hangup())?,
            reload: Arc::default(),
            reopen: Arc::default(),
        })
    }

    /// What wakes the loader of the documents.
    pub(crate) fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// What the log's file looks at.
    pub(crate) fn reopen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    /// Passes it on, until `stop`.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = self.signal.recv() => if heard.is_none() { return },
            }
            info!("SIGHUP: documents are read and log files opened again");
            self.reopen.store(true, Ordering::Relaxed);
            self.reload.notify_one();
        }
    }
}
