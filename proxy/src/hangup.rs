//! SIGHUP: documents are read and log files opened again, now. It ends nothing, as it would without a handler.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Hears every SIGHUP of the process.
#[derive(Debug)]
pub(crate) struct Hangups {
    signal: Signal,
    reload: Arc<Notify>,
}

impl Hangups {
    /// # Errors
    /// The signal cannot be listened for.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::hangup())?,
            reload: Arc::default(),
        })
    }

    /// What wakes the loader of the documents.
    pub(crate) fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// Passes it on, until `stop`.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = self.signal.recv() => if heard.is_none() { return },
            }
            info!("SIGHUP: documents are read again");
            self.reload.notify_one();
        }
    }
}
