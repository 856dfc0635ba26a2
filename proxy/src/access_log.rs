//! One line per refusal and per end of a tunnel or forwarded request; how it is written is [`Format`]'s.
//!
//! A line is written into a bounded buffer by the thread that has something to say, and a thread of its own empties
//! the buffer: a full or stuck pipe drops lines and counts them, it never stalls traffic. Never logged: paths, queries,
//! user information, header fields.

mod file;
mod format;

use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use egressway_core::acl::{Caller, Policy, Target};
use egressway_core::wire::document::{Mode, Scheme};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

pub use self::file::LogFile;
pub use self::format::Format;
use crate::server::id::Id;

/// Bytes of lines that wait for the writer: a second of a busy pod (10,000 requests/s of 400 bytes).
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long lines gather before they are written together. Waking the writer for each line costs a tenth of a tunnel;
/// at 10,000 lines/s this gathers about what a pipe takes without blocking (64 KiB).
const GATHER: Duration = Duration::from_millis(10);
/// Buffers larger than this are given back after a stall.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

thread_local! {
    /// The line in the making; its allocation is used again.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What happened to one request.
#[derive(Debug)]
pub struct Entry {
    /// When it ended.
    pub time: Timestamp,
    /// Who asked.
    pub client: SocketAddr,
    /// The load balancer that said so by the PROXY protocol.
    pub balancer: Option<SocketAddr>,
    /// The clients of the policy that it is.
    pub clients: Caller,
    /// The pod that it is.
    pub client_pod: Option<Arc<str>>,
    /// The mode of the policy.
    pub mode: Mode,
    /// Its id in the reply.
    pub id: Id,
    /// `CONNECT`, `GET`, ...; absent when no head arrived.
    pub method: Option<Box<str>>,
    /// What was asked for, in normal form; absent when it could not be parsed.
    pub target: Option<Target>,
    /// The policy that decided.
    pub policy: Option<Arc<Policy>>,
    /// The Allow rule that permitted, or the Deny rule that refused.
    pub rule: Option<Arc<str>>,
    /// `allow`, `deny`, `report` or `error`.
    pub decision: &'static str,
    /// The reason's code, or how a served request ended.
    pub reason: &'static str,
    /// How a request ended that mode Report let through.
    pub end: Option<&'static str>,
    /// Status sent to the client; absent when the connection broke before one was.
    pub status: Option<u16>,
    /// The address that was dialled.
    pub peer: Option<IpAddr>,
    /// What the operating system or a parser said, for faults.
    pub detail: Option<Box<str>>,
    /// From client to destination.
    pub bytes_sent: u64,
    /// From destination to client.
    pub bytes_received: u64,
    /// From the first byte of the head to the end.
    pub duration: Duration,
    /// Of the look-up.
    pub dns: Option<Duration>,
    /// Of the connect.
    pub connect: Option<Duration>,
    /// TLS that the proxy spoke with the destination.
    pub tls: Option<Session>,
    /// How the proxy signed it.
    pub signature: Option<Scheme>,
}

/// A TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// It was resumed rather than begun.
    pub resumed: bool,
}

/// Where this pod stands; on every line.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `metadata.name` of the pod.
    pub pod: Option<String>,
    /// The node.
    pub node: Option<String>,
}

/// The way into the log; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Handle>);

/// The last one closes the queue, and with it the writer ends.
#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    place: Place,
    format: Format,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// The writer has something to do.
    filled: Condvar,
    /// The writer has nothing to do.
    emptied: Condvar,
    /// Lines that are in no log.
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

impl AccessLog {
    /// Logs JSON to a writer, which may block for as long as it likes; what is lost is counted for nobody.
    ///
    /// # Errors
    /// The writer thread could not be started.
    pub fn to_writer(writer: Box<dyn Write + Send>, place: Place) -> std::io::Result<Self> {
        Self::new(writer, place, Format::Json, Counter::default())
    }

    /// Logs to a writer in a format, and counts the lines that are lost.
    ///
    /// # Errors
    /// The writer thread could not be started.
    pub fn new(
        writer: Box<dyn Write + Send>,
        place: Place,
        format: Format,
        dropped: Counter,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            dropped,
            ..Queue::default()
        });
        let handle = Handle {
            queue: Arc::clone(&queue),
            place,
            format,
        };
        // Nobody joins it: it may sit in a write that never returns.
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || queue.write_all(writer))?;
        Ok(Self(Arc::new(handle)))
    }

    /// Queues a line.
    pub fn record(&self, entry: &Entry) {
        let Handle { queue, place, format } = &*self.0;
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Writing plain fields to memory cannot fail; if it did, an unfinished line would be a lost one.
            if format.append(line, entry, place).is_err() || !queue.push(line) {
                queue.dropped.inc();
            }
        });
    }

    /// Waits until everything is written, at most this long: at the end of the process, whose last lines say what was
    /// cut.
    pub fn flush(&self, limit: Duration) {
        let queue = &*self.0.queue;
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

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_one();
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
        if waiting.bytes.len() + line.len() > QUEUE_BYTES_MAX {
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
        let (mut batch, mut failing) = (Vec::new(), false);
        while let Some(lines) = self.take(&mut batch) {
            let written = writer.write_all(&batch).and_then(|()| writer.flush());
            match &written {
                Ok(()) if failing => info!("the access log is written again"),
                Ok(()) => {}
                Err(error) => {
                    self.dropped.inc_by(lines);
                    // Once, and not for each line of a disk that is full for hours.
                    if !failing {
                        warn!(
                            error = error as &dyn std::error::Error,
                            "failed to write the access log; its lines are lost, and counted, until it can be written"
                        );
                    }
                }
            }
            failing = written.is_err();
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
        let mut waiting = match self.filled.wait_timeout_while(waiting, GATHER, gather) {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        waiting.writing = true;
        mem::swap(&mut waiting.bytes, batch);
        Some(mem::take(&mut waiting.lines))
    }
}

#[cfg(test)]
mod tests;
