//! What the process says about itself, on standard error: queued like the access log, because a pipe that nobody reads
//! would otherwise stop whoever speaks, and with it health checks and signals.
//!
//! It knows no format: lines come from the tracing library, and a few that are for people are said as they are.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

use crate::line_queue::{Bounds, LineQueue};

/// Bytes of lines that wait: some hundred of them. They are written at once, since the last ones before an end matter most.
const QUEUE: Bounds = Bounds {
    name: "own-log",
    fails: "failed to write to standard error; what is said meanwhile is lost, and counted",
    bytes_max: 64 * 1024,
    gather: Duration::ZERO,
};
/// How long the process waits at its end for whoever reads; a stuck one must not keep it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to standard error; cheap to clone.
#[derive(Clone, Debug)]
pub struct OwnLog {
    lines: Arc<LineQueue>,
    dropped: Counter,
}

impl OwnLog {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start() -> io::Result<Self> {
        Self::to_writer(Box::new(io::stderr()))
    }

    fn to_writer(writer: Box<dyn Write + Send>) -> io::Result<Self> {
        let dropped = Counter::default();
        let lines = LineQueue::start(writer, QUEUE, dropped.clone())?;
        Ok(Self {
            lines: Arc::new(lines),
            dropped,
        })
    }

    /// Says one line, for people.
    pub fn say(&self, line: impl std::fmt::Display) {
        self.lines.push(format!("{line}\n").as_bytes());
    }

    /// How many lines were lost.
    #[must_use]
    pub fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Waits until everything is said, or until nobody can be expected to listen.
    pub fn flush(&self) {
        self.lines.flush(PATIENCE);
    }
}

/// Takes what the tracing library writes: whole lines.
impl<'a> MakeWriter<'a> for OwnLog {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(&self.lines)
    }
}

/// Into the queue.
#[derive(Debug)]
pub struct Lines<'a>(&'a LineQueue);

impl Write for Lines<'_> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_who_speaks_waits_for_a_stuck_reader_and_what_is_lost_is_counted() {
        let (release, stuck) = mpsc::channel();
        let log = OwnLog::to_writer(Box::new(Stuck(stuck))).unwrap();
        let line = "x".repeat(1023);
        let fitting = QUEUE.bytes_max / 1024;
        // One batch is in the writer's hands already, or none is.
        (0..fitting * 2 + 10).for_each(|_| log.say(&line));
        let lost = log.dropped().get();
        assert!((10..=10 + fitting as u64).contains(&lost), "{lost}");
        log.flush();
        drop(release);
    }
}
