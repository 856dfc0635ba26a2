//! One line per refusal and per end of a tunnel or forwarded request; how it is written is [`Format`]'s.
//!
//! Lines go through a queue, so that a full or stuck pipe never stalls traffic. Never logged: paths, queries, user
//! information, header fields.

mod file;
mod format;

use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Caller, Policy, Target};
use egressway_core::wire::document::{Mode, Scheme};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;

pub use self::file::LogFile;
pub use self::format::Format;
use crate::line_queue::{Bounds, LineQueue};
use crate::server::id::Id;

/// Bytes of lines that wait for the writer: a second of a busy pod (10,000 requests/s of 400 bytes). They gather before
/// they are written together, because waking the writer for each line costs a tenth of a tunnel; at 10,000 lines/s 10 ms
/// gather about what a pipe takes without blocking (64 KiB).
const QUEUE: Bounds = Bounds {
    name: "access-log",
    fails: "failed to write the access log; its lines are lost, and counted, until it can be written",
    bytes_max: 4 * 1024 * 1024,
    gather: Duration::from_millis(10),
};

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

#[derive(Debug)]
struct Handle {
    lines: LineQueue,
    place: Place,
    format: Format,
    dropped: Counter,
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
        let lines = LineQueue::start(writer, QUEUE, dropped.clone())?;
        Ok(Self(Arc::new(Handle {
            lines,
            place,
            format,
            dropped,
        })))
    }

    /// Queues a line.
    pub fn record(&self, entry: &Entry) {
        let Handle {
            lines,
            place,
            format,
            dropped,
        } = &*self.0;
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Writing plain fields to memory cannot fail; if it did, an unfinished line would be a lost one.
            if format.append(line, entry, place).is_err() {
                dropped.inc();
            } else {
                lines.push(line);
            }
        });
    }

    /// Bytes that the lines which wait take.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.lines.held_bytes()
    }

    /// Waits until everything is written, at most this long: at the end of the process, whose last lines say what was
    /// cut.
    pub fn flush(&self, limit: Duration) {
        self.0.lines.flush(limit);
    }
}

#[cfg(test)]
mod tests;
