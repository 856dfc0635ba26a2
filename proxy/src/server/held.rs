//! A request's body held in memory, because a signature over it has to stand before it.
//!
//! Memory is taken as bytes arrive, never as they are announced, counted as what is allocated, and given back when the
//! exchange is over. Nobody waits for memory, so bodies cannot wait for each other; a client that has much leaves half of
//! what is left to others, and one that sends too slowly is refused, so that nobody holds it for long by doing nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::Server;
use super::body::{Decoder, Step};
use super::connection::Connection;
use super::head::{Framing, Head};
use super::reason::Fault;
use crate::limits::Limits;
use crate::limits::memory::{self, Use};
use crate::tunnel::End;

/// Bytes read at once, and the least that is allocated for a body of unknown length.
const READ_BYTES: usize = 16 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The memory that there is for bodies, and which client has how much of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    all: memory::Memory,
    clients: Arc<Mutex<HashMap<IpAddr, Share>>>,
}

/// What one client has.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    bytes: usize,
    bodies: usize,
}

impl Memory {
    /// What a budget has for them.
    pub(super) fn of(all: &memory::Memory) -> Self {
        Self {
            all: all.clone(),
            clients: Arc::default(),
        }
    }

    /// Room for a body of a client.
    fn open(&self, client: IpAddr) -> Room {
        self.lock().entry(client).or_default().bodies += 1;
        Room {
            held: self.all.take_anyway(Use::Signed, 0),
            memory: self.clone(),
            client,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Share>> {
        // Nothing panics while it holds the lock.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one body may take.
#[derive(Debug)]
struct Room {
    memory: Memory,
    client: IpAddr,
    held: memory::Held,
}

impl Room {
    /// So many bytes in all for this body, unless others need them. A client's only body takes what is left; more than one
    /// take half of what others leave, so that there is always room for somebody who has none.
    fn grow(&mut self, bytes: usize) -> bool {
        let mut clients = self.memory.lock();
        let Some(share) = clients.get_mut(&self.client) else {
            return false;
        };
        let more = bytes.saturating_sub(self.held.bytes());
        let left = self
            .memory
            .all
            .for_signed()
            .saturating_sub(self.memory.all.held(Use::Signed));
        let fair = share.bodies == 1 || share.bytes + more <= (left + share.bytes) / 2;
        if more > left || !fair || !self.held.grow(bytes) {
            return false;
        }
        share.bytes += more;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut clients = self.memory.lock();
        if let Entry::Occupied(mut share) = clients.entry(self.client) {
            share.get_mut().bytes = share.get().bytes.saturating_sub(self.held.bytes());
            share.get_mut().bodies = share.get().bodies.saturating_sub(1);
            if share.get().bodies == 0 {
                share.remove();
            }
        }
        drop(clients);
        self.held.set(0);
    }
}

/// Whether a body comes at the least rate, window by window.
#[derive(Clone, Copy, Debug)]
struct Pace {
    window: Duration,
    least: u64,
    until: Instant,
    came: u64,
}

impl Pace {
    fn new(limits: &Limits, now: Instant) -> Self {
        let window = limits.signed_window;
        Self {
            window,
            least: limits
                .signed_rate
                .saturating_mul(window.as_millis().try_into().unwrap_or(u64::MAX))
                / 1000,
            until: now + window,
            came: 0,
        }
    }

    fn came(&mut self, bytes: usize) {
        self.came += bytes as u64;
    }

    /// A window is over; false where too little came in it.
    fn goes_on(&mut self, now: Instant) -> bool {
        let enough = self.came >= self.least;
        (self.until, self.came) = (now + self.window, 0);
        enough
    }
}

/// A whole body.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: BytesMut,
    /// As long as its client said that it is.
    announced: Option<usize>,
    room: Room,
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
        server: &Server,
        client: &mut Connection,
        head: &Head,
        limits: &Limits,
    ) -> Result<Self, NotHeld> {
        let bytes_max = limits.signed_bytes_max;
        if let Framing::Length(length) = head.framing
            && length > bytes_max
        {
            return Err(NotHeld::Refused(Fault::SignedBodyTooLarge));
        }
        let mut held = Self::new(&server.makers.memory, client.source.client.ip(), head.framing);
        let mut pace = Pace::new(limits, Instant::now());
        let mut decoder = Decoder::new(head.framing);
        let mut waits = head.expects_continue && !decoder.is_done();
        loop {
            match decoder.decode(&mut client.buffer).map_err(NotHeld::Refused)? {
                Step::Data(count) => {
                    held.take(client.buffer.get(..count).unwrap_or_default(), bytes_max)?;
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
                    let idle_at = Instant::now() + limits.idle;
                    loop {
                        let more = client.stream.read_buf(&mut client.buffer);
                        match client.timer.until(idle_at.min(pace.until), more).await {
                            Some(Ok(count @ 1..)) => {
                                pace.came(count);
                                break;
                            }
                            Some(Ok(0) | Err(_)) => return Err(NotHeld::Ended(End::ClientReset)),
                            None if idle_at <= Instant::now() => {
                                return Err(NotHeld::Refused(Fault::BodyTimeout));
                            }
                            None if !pace.goes_on(Instant::now()) => {
                                return Err(NotHeld::Refused(Fault::BodyTooSlow));
                            }
                            None => {}
                        }
                    }
                }
            }
        }
    }

    fn new(memory: &Memory, client: IpAddr, framing: Framing) -> Self {
        let announced = match framing {
            Framing::Length(length) => usize::try_from(length).ok(),
            Framing::None | Framing::Chunked | Framing::Close => None,
        };
        Self {
            bytes: BytesMut::new(),
            announced,
            room: memory.open(client.to_canonical()),
        }
    }

    fn take(&mut self, data: &[u8], bytes_max: u64) -> Result<(), NotHeld> {
        let length = self.bytes.len() + data.len();
        if length as u64 > bytes_max {
            return Err(NotHeld::Refused(Fault::SignedBodyTooLarge));
        }
        if length > self.bytes.capacity() {
            let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            let end = self.announced.unwrap_or(most).min(most);
            // Twice as much each time, and never past the end: what is allocated is what is counted.
            let size = (2 * self.bytes.capacity()).max(READ_BYTES).min(end).max(length);
            if !self.room.grow(size) {
                return Err(NotHeld::Refused(Fault::SigningBusy));
            }
            let mut larger = BytesMut::with_capacity(size);
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn one(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn body(memory: &Memory, n: u8, length: usize) -> Held {
        Held::new(memory, one(n), Framing::Length(length as u64))
    }

    fn takes(held: &mut Held, bytes: usize) -> bool {
        held.take(&vec![0; bytes], u64::MAX).is_ok()
    }

    /// With so much for signed bodies.
    fn memory(kib: usize) -> (memory::Memory, Memory) {
        let all = memory::Memory::with_budget(2 * kib * KIB);
        let of = Memory::of(&all);
        (all, of)
    }

    #[test]
    fn memory_is_counted_as_it_is_allocated_and_given_back() {
        let (all, memory) = memory(1024);
        for (framing, sent, counted) in [
            (Framing::Length(100), 99, 100),
            (Framing::Length(1000 * KIB as u64), 1, 16 * KIB),
            (Framing::Length(1000 * KIB as u64), 1000 * KIB - 1, 1000 * KIB),
            (Framing::Chunked, 1, 16 * KIB),
            (Framing::Chunked, 100 * KIB, 128 * KIB),
        ] {
            let mut held = Held::new(&memory, one(1), framing);
            for _ in 0..sent / KIB {
                held.take(&[0; KIB], 1024 * KIB as u64).unwrap();
            }
            held.take(&vec![0; sent % KIB], 1024 * KIB as u64).unwrap();
            assert_eq!(
                (held.bytes.len(), held.bytes.capacity()),
                (sent, counted),
                "{framing:?}"
            );
            assert_eq!(all.held(Use::Signed), counted, "{framing:?} {sent}");
            drop(held);
            assert_eq!(all.held(Use::Signed), 0);
        }
        assert!(memory.lock().is_empty());
    }

    #[test]
    fn a_client_with_many_bodies_leaves_room_for_one_that_has_none() {
        let (_, memory) = memory(1024);
        let mut many: Vec<_> = (0..64).map(|_| body(&memory, 1, 64 * KIB)).collect();
        let taken = many
            .iter_mut()
            .filter_map(|body| takes(body, 64 * KIB - 1).then_some(()))
            .count();
        assert_eq!(taken, 8, "half of all");
        // The next has half of what is left, and so on.
        let mut more: Vec<_> = (0..64).map(|_| body(&memory, 2, 64 * KIB)).collect();
        let taken = more
            .iter_mut()
            .filter_map(|body| takes(body, 64 * KIB).then_some(()))
            .count();
        assert_eq!(taken, 4);
        // Whoever has only one takes what there is.
        let mut last = body(&memory, 3, 256 * KIB);
        assert!(takes(&mut last, 256 * KIB));
        assert!(!takes(&mut body(&memory, 4, KIB), KIB), "nothing is left");
        drop(many);
        assert!(takes(&mut body(&memory, 4, KIB), KIB));
    }

    #[test]
    fn one_body_may_be_as_long_as_all_that_there_is() {
        let (_, memory) = memory(1024);
        assert!(takes(&mut body(&memory, 1, 1024 * KIB), 1024 * KIB));
        assert!(!takes(&mut body(&memory, 1, 1024 * KIB + 1), 1024 * KIB + 1));
    }

    #[test]
    fn the_bound_on_a_body_is_exact() {
        let (_, memory) = memory(1024);
        let mut held = Held::new(&memory, one(1), Framing::Chunked);
        held.take(b"123", 4).unwrap();
        held.take(b"4", 4).unwrap();
        assert_eq!(
            held.take(b"5", 4),
            Err(NotHeld::Refused(Fault::SignedBodyTooLarge))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_come_at_the_least_rate_in_every_window() {
        let limits = Limits {
            signed_rate: 100,
            signed_window: Duration::from_secs(5),
            ..Limits::default()
        };
        let mut pace = Pace::new(&limits, Instant::now());
        for (came, goes_on) in [
            (500, true),
            (100_000, true),
            (499, false),
            (0, false),
            (500, true),
        ] {
            pace.came(came);
            assert_eq!(pace.goes_on(Instant::now()), goes_on, "{came}");
        }
    }
}
