//! A request's body held in memory, because a signature over it has to stand before it.
//!
//! Memory is taken as bytes arrive, never as they are announced, and is given back when the exchange is over: a client
//! that sends slowly holds what it has sent. Nobody waits for memory, so bodies cannot wait for each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::body::{Decoder, Step};
use super::connection::Connection;
use super::head::{Framing, Head};
use super::reason::Fault;
use crate::tunnel::End;

/// Memory of a pod for bodies that are signed: a quarter of what its container may have by default.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The memory that there is.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_BYTES)))
    }
}

/// A whole body.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: BytesMut,
    memory: Option<OwnedSemaphorePermit>,
}

/// Why there is no whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotHeld {
    /// The client can be told.
    Refused(Fault),
    /// The client has gone, the pod ends, or time is over.
    Ended(End),
}

impl Held {
    /// Reads the body behind this head to its end.
    pub(super) async fn read(
        client: &mut Connection,
        head: &Head,
        memory: &Memory,
        bytes_max: u64,
        idle: Duration,
    ) -> Result<Self, NotHeld> {
        if let Framing::Length(length) = head.framing
            && length > bytes_max
        {
            return Err(NotHeld::Refused(Fault::SignedBodyTooLarge));
        }
        let mut held = Self {
            bytes: BytesMut::new(),
            memory: None,
        };
        let mut decoder = Decoder::new(head.framing);
        let mut waits = head.expects_continue && !decoder.is_done();
        loop {
            match decoder.decode(&mut client.buffer).map_err(NotHeld::Refused)? {
                Step::Data(count) => {
                    held.take(client.buffer.get(..count).unwrap_or_default(), memory, bytes_max)?;
                    decoder.take(&mut client.buffer, count);
                }
                // Whoever signs a body signs no trailers, and a length leaves no place for them (RFC 9110, 6.5.1).
                Step::Trailers(_) => {}
                Step::End => return Ok(held),
                Step::More => {
                    if std::mem::take(&mut waits) {
                        let stream = &mut client.stream;
                        let written = async {
                            stream.write_all(CONTINUE).await?;
                            // TLS may hold back what it took.
                            stream.flush().await
                        };
                        written.await.map_err(|_| NotHeld::Ended(End::ClientReset))?;
                    }
                    client.buffer.reserve(READ_BYTES);
                    let more = client.stream.read_buf(&mut client.buffer);
                    match client.timer.until(Instant::now() + idle, more).await {
                        Some(Ok(1..)) => {}
                        Some(Ok(0) | Err(_)) => return Err(NotHeld::Ended(End::ClientReset)),
                        None => return Err(NotHeld::Refused(Fault::BodyTimeout)),
                    }
                }
            }
        }
    }

    fn take(&mut self, data: &[u8], memory: &Memory, bytes_max: u64) -> Result<(), NotHeld> {
        if (self.bytes.len() + data.len()) as u64 > bytes_max {
            return Err(NotHeld::Refused(Fault::SignedBodyTooLarge));
        }
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more = Arc::clone(&memory.0)
            .try_acquire_many_owned(count)
            .map_err(|_| NotHeld::Refused(Fault::SigningBusy))?;
        match &mut self.memory {
            Some(memory) => memory.merge(more),
            none => *none = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Held {
        Held {
            bytes: BytesMut::new(),
            memory: None,
        }
    }

    #[test]
    fn memory_is_taken_as_bytes_arrive_and_given_back() {
        let memory = Memory(Arc::new(Semaphore::new(10)));
        let (mut one, mut two) = (empty(), empty());
        one.take(b"12345", &memory, 100).unwrap();
        two.take(b"1234", &memory, 100).unwrap();
        assert_eq!(
            two.take(b"12", &memory, 100),
            Err(NotHeld::Refused(Fault::SigningBusy))
        );
        two.take(b"1", &memory, 100).unwrap();
        drop(one);
        two.take(b"12345", &memory, 100).unwrap();
        assert_eq!(&*two.bytes, b"1234112345");
        drop(two);
        assert_eq!(memory.0.available_permits(), 10);
    }

    #[test]
    fn the_bound_on_a_body_is_exact() {
        let memory = Memory::default();
        let mut held = empty();
        held.take(b"123", &memory, 4).unwrap();
        held.take(b"4", &memory, 4).unwrap();
        assert_eq!(
            held.take(b"5", &memory, 4),
            Err(NotHeld::Refused(Fault::SignedBodyTooLarge))
        );
    }
}
