//! Lines on their way to a pipe or file that may be stuck: whoever has something to say never waits.
//!
//! A line is put into a bounded buffer, and a thread of its own empties the buffer. What does not fit is dropped, and
//! counted. What a line says is none of its business.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

/// Buffers larger than this are given back after a stall.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

/// What a queue is for, and how much waits in it for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of the thread that writes.
    pub(crate) name: &'static str,
    /// What is said once when it cannot be written.
    pub(crate) fails: &'static str,
    /// Bytes of lines that wait for the writer; it has taken as many again while it writes.
    pub(crate) bytes_max: usize,
    /// How long lines gather before they are written together.
    pub(crate) gather: Duration,
}

/// The way in; the last one closes the queue, and with it the writer ends.
#[derive(Debug)]
pub(crate) struct LineQueue(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    bounds: Bounds,
    waiting: Mutex<Waiting>,
    /// The writer has something to do.
    filled: Condvar,
    /// The writer has nothing to do.
    emptied: Condvar,
    /// Lines that were written nowhere.
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// Lines that the writer took and has not written yet.
    writing: bool,
    /// Nobody waits for more lines to gather.
    hurry: bool,
    closed: bool,
}

impl LineQueue {
    /// Starts the thread that writes, which may block for as long as it likes.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) fn start(
        writer: Box<dyn Write + Send>,
        bounds: Bounds,
        dropped: Counter,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            bounds,
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped,
        });
        let handle = Self(Arc::clone(&queue));
        // Nobody joins it: it may sit in a write that never returns.
        thread::Builder::new()
            .name(bounds.name.to_owned())
            .spawn(move || queue.write_all(writer))?;
        Ok(handle)
    }

    /// Queues whole lines, or counts one as dropped.
    pub(crate) fn push(&self, line: &[u8]) {
        if !self.0.push(line) {
            self.0.dropped.inc();
        }
    }

    /// Bytes that the lines which wait take.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.lock().bytes.capacity()
    }

    /// Waits until everything is written, at most this long.
    pub(crate) fn flush(&self, limit: Duration) {
        let queue = &*self.0;
        let mut waiting = queue.lock();
        waiting.hurry = true;
        queue.filled.notify_one();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let mut waiting = match queue.emptied.wait_timeout_while(waiting, limit, busy) {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        waiting.hurry = false;
    }
}

impl Drop for LineQueue {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock, and lines are whole whatever happened.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    fn push(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > self.bounds.bytes_max {
            return false;
        }
        let first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        true
    }

    fn write_all(&self, mut writer: Box<dyn Write + Send>) {
        let (mut batch, mut failing, mut told) = (Vec::new(), false, 0);
        while let Some(lines) = self.take(&mut batch) {
            let written = writer.write_all(&batch).and_then(|()| writer.flush());
            match &written {
                Ok(()) if failing => info!(log = self.bounds.name, "the log is written again"),
                Ok(()) => {}
                Err(error) => {
                    self.dropped.inc_by(lines);
                    // Once, and not for each line of a disk that is full for hours.
                    if !failing {
                        warn!(error = error as &dyn std::error::Error, "{}", self.bounds.fails);
                    }
                }
            }
            failing = written.is_err();
            let dropped = self.dropped.get();
            if !failing && dropped > told {
                warn!(
                    log = self.bounds.name,
                    lines = dropped - told,
                    "lines of the log were lost"
                );
                told = dropped;
            }
            if batch.capacity() > BUFFER_BYTES_KEPT {
                batch = Vec::new();
            }
            batch.clear();
        }
    }

    /// Exchanges the empty batch for what waits, once some of it has gathered; `None` when no more can come.
    fn take(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.bytes.is_empty() {
            self.emptied.notify_all();
        }
        while waiting.bytes.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let gather = |waiting: &mut Waiting| !waiting.hurry && !waiting.closed;
        let mut waiting = match self
            .filled
            .wait_timeout_while(waiting, self.bounds.gather, gather)
        {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        waiting.writing = true;
        mem::swap(&mut waiting.bytes, batch);
        Some(mem::take(&mut waiting.lines))
    }
}
