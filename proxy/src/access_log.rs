//! One JSON line per refusal and per end of a tunnel or forwarded request, with OpenTelemetry's keys.
//!
//! Lines go through a bounded queue to a thread of their own: a full or stuck pipe drops lines and counts them, it
//! never stalls traffic. Never logged: paths, queries, user information, header fields.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use egressway_core::acl::{Host, Policy, Target};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::server::id::Id;

/// Lines that wait for the writer: a second of a busy pod (10,000 requests/s), about 4 MiB.
const QUEUE_LINES_MAX: usize = 10_000;
/// Bytes written at once: what a pipe takes without blocking (64 KiB).
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What happened to one request.
#[derive(Debug)]
pub struct Entry {
    /// When it ended.
    pub time: Timestamp,
    /// Who asked.
    pub client: SocketAddr,
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
    /// `allow`, `deny` or `error`.
    pub decision: &'static str,
    /// The reason's code, or how a served request ended.
    pub reason: &'static str,
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
pub struct AccessLog {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// Logs to standard output.
    ///
    /// # Errors
    /// The writer thread could not be started.
    pub fn stdout(place: Place) -> std::io::Result<Self> {
        Self::to_writer(Box::new(std::io::stdout()), place)
    }

    /// Logs to a writer, which may block for as long as it likes.
    ///
    /// # Errors
    /// The writer thread could not be started.
    pub fn to_writer(writer: Box<dyn Write + Send>, place: Place) -> std::io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE_LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        // The thread ends when the last sender is gone. Nobody joins it: it may sit in a write that never returns.
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(writer, &entries, &place, &counter))?;
        Ok(Self { queue, lost })
    }

    /// Queues a line; returns how many were lost since the last call, this one included.
    #[must_use = "lost lines are counted in a metric"]
    pub fn record(&self, entry: Entry) -> u64 {
        let refused = match self.queue.try_send(entry) {
            Ok(()) => 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => 1,
        };
        refused + self.lost.swap(0, Ordering::Relaxed)
    }
}

fn write_all(mut writer: Box<dyn Write + Send>, entries: &Receiver<Entry>, place: &Place, lost: &AtomicU64) {
    let mut batch = Vec::new();
    while let Ok(first) = entries.recv() {
        let mut lines = 1;
        append(&mut batch, &first, place);
        while batch.len() < BATCH_BYTES_MAX
            && let Ok(entry) = entries.try_recv()
        {
            append(&mut batch, &entry, place);
            lines += 1;
        }
        if writer.write_all(&batch).and_then(|()| writer.flush()).is_err() {
            lost.fetch_add(lines, Ordering::Relaxed);
        }
        batch.clear();
    }
}

fn append(batch: &mut Vec<u8>, entry: &Entry, place: &Place) {
    // Writing plain fields to memory cannot fail; if it did, an unfinished line must not spoil the next.
    let start = batch.len();
    if serde_json::to_writer(&mut *batch, &Line::new(entry, place)).is_err() {
        batch.truncate(start);
    } else {
        batch.push(b'\n');
    }
}

/// The line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    #[serde(rename = "client.address")]
    client_address: IpAddr,
    #[serde(rename = "client.port")]
    client_port: u16,
    #[serde(
        rename = "server.address",
        skip_serializing_if = "Option::is_none",
        serialize_with = "host"
    )]
    server_address: Option<&'a Host>,
    #[serde(rename = "server.port", skip_serializing_if = "Option::is_none")]
    server_port: Option<u16>,
    #[serde(rename = "network.peer.address", skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(rename = "http.request.method", skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(rename = "error.message", skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(rename = "egress.id")]
    id: String,
    #[serde(rename = "egress.decision")]
    decision: &'static str,
    #[serde(rename = "egress.reason")]
    reason: &'static str,
    #[serde(rename = "egress.policy", skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(rename = "egress.generation", skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(rename = "egress.rule", skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(rename = "egress.bytes_sent")]
    bytes_sent: u64,
    #[serde(rename = "egress.bytes_received")]
    bytes_received: u64,
    #[serde(rename = "egress.duration_ms")]
    duration_ms: f64,
    #[serde(rename = "egress.dns_ms", skip_serializing_if = "Option::is_none")]
    dns_ms: Option<f64>,
    #[serde(rename = "egress.connect_ms", skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(rename = "k8s.pod.name", skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(rename = "k8s.node.name", skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(entry: &'a Entry, place: &'a Place) -> Self {
        Self {
            timestamp: entry.time,
            client_address: entry.client.ip().to_canonical(),
            client_port: entry.client.port(),
            server_address: entry.target.as_ref().map(Target::host),
            server_port: entry.target.as_ref().map(Target::port),
            peer: entry.peer,
            method: entry.method.as_deref(),
            status: entry.status,
            error: (entry.decision == "error").then_some(entry.reason),
            detail: entry.detail.as_deref(),
            id: entry.id.to_string(),
            decision: entry.decision,
            reason: entry.reason,
            policy: entry
                .policy
                .as_ref()
                .map(|policy| format!("{}/{}", policy.namespace(), policy.name())),
            generation: entry.policy.as_ref().map(|policy| policy.generation()),
            rule: entry.rule.as_deref(),
            bytes_sent: entry.bytes_sent,
            bytes_received: entry.bytes_received,
            duration_ms: milliseconds(entry.duration),
            dns_ms: entry.dns.map(milliseconds),
            connect_ms: entry.connect.map(milliseconds),
            pod: place.pod.as_deref(),
            node: place.node.as_deref(),
        }
    }
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn host<S: Serializer>(host: &Option<&Host>, serializer: S) -> Result<S::Ok, S::Error> {
    match host {
        Some(Host::Name(name)) => serializer.serialize_str(name),
        Some(Host::Address(ip)) => serializer.collect_str(ip),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn entry() -> Entry {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            client: "[::ffff:192.0.2.1]:1234".parse().unwrap(),
            id: Id::from_bits(10),
            method: Some("CONNECT".into()),
            target: Some(Target::parse("[2620:4f:8000::1]:443").unwrap()),
            policy: None,
            rule: Some(Arc::from("partners")),
            decision: "error",
            reason: "connection_refused",
            status: Some(502),
            peer: Some("2620:4f:8000::1".parse().unwrap()),
            detail: None,
            bytes_sent: 1,
            bytes_received: 2,
            duration: Duration::from_micros(1500),
            dns: None,
            connect: Some(Duration::from_millis(1)),
        }
    }

    #[test]
    fn a_line_has_opentelemetrys_keys() {
        let mut line = Vec::new();
        let place = Place {
            pod: Some("pod-1".to_owned()),
            node: None,
        };
        append(&mut line, &entry(), &place);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r#"{"timestamp":"1970-01-01T00:00:00Z","client.address":"192.0.2.1","client.port":1234,"#,
                r#""server.address":"2620:4f:8000::1","server.port":443,"network.peer.address":"2620:4f:8000::1","#,
                r#""http.request.method":"CONNECT","http.response.status_code":502,"#,
                r#""error.type":"connection_refused","egress.id":"00000000000a","egress.decision":"error","#,
                r#""egress.reason":"connection_refused","egress.rule":"partners","egress.bytes_sent":1,"#,
                r#""egress.bytes_received":2,"egress.duration_ms":1.5,"egress.connect_ms":1.0,"k8s.pod.name":"pod-1"}"#,
                "\n"
            )
        );
    }

    /// Blocks every write until the test lets go.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_pipe_drops_lines_and_counts_them() {
        let (release, stuck) = mpsc::channel();
        let log = AccessLog::to_writer(Box::new(Stuck(stuck)), Place::default()).unwrap();
        let lost: u64 = (0..QUEUE_LINES_MAX + 1000).map(|_| log.record(entry())).sum();
        // What the writer holds in its first batch (64 KiB of lines of 300 bytes and more) is not in the queue any more.
        assert!((700..=1000).contains(&lost), "{lost}");
        drop(release);
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_is_counted() {
        let log = AccessLog::to_writer(Box::new(Broken), Place::default()).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while log.record(entry()) == 0 {
            assert!(tokio::time::Instant::now() < deadline);
            thread::yield_now();
        }
    }
}
