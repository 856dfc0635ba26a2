//! Who is at the other end of a connection, as far as it has shown, and what it may take of the process because of that.
//!
//! A connection begins as a stranger's: its place and its bytes are taken from what strangers have, and it can be ended
//! for the sake of others. With the first request in which a client is recognised it is that client's connection. It
//! recognises nobody: that is [`super::route`]'s.

use std::net::IpAddr;
use std::sync::Arc;

use super::Server;
use super::reason::Fault;
use crate::limits::memory::{Held, Level, Use};
use crate::limits::places::One;
use crate::limits::source::Source;
use crate::limits::strangers::{Strangers, Ticket};

/// What a connection takes of the process while it brings requests: its task, its timer, the kernel's part, and a first
/// piece of a head. Measured: 15 KiB with a first byte, 10 KiB without.
const CONNECTION_BYTES: usize = 16 * 1024;
/// The same once it is a tunnel, beside what waits for its readers. Measured: 3.7 KiB.
const TUNNEL_BYTES: usize = 4 * 1024;
/// The same for TLS: the session and its buffers, of which the largest holds one record.
const TLS_BYTES: usize = 40 * 1024;
/// Bytes of a head that belong to every connection, and so never have to be asked for.
pub(super) const FIRST_BYTES: usize = 4 * 1024;

/// One connection's standing.
#[derive(Debug)]
pub(super) struct Who {
    standing: Standing,
    held: Held,
    tls: bool,
}

#[derive(Debug)]
enum Standing {
    Stranger(Guest),
    Client { _place: One<IpAddr> },
}

/// A stranger, for as long as it is one.
#[derive(Debug)]
struct Guest {
    strangers: Arc<Strangers>,
    ticket: Ticket,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Whether it was ended meanwhile is nobody's concern any more.
        let _ = self.strangers.leave(self.ticket);
    }
}

impl Who {
    /// Nobody knows yet.
    pub(super) fn stranger(server: &Server, source: Source) -> Self {
        let guest = Guest::enter(server, source);
        // Where even that is too much, it is the first to be ended.
        let _ = server.strangers.hold(guest.ticket, CONNECTION_BYTES);
        Self {
            standing: Standing::Stranger(guest),
            held: server.memory.take_anyway(Use::Connections, CONNECTION_BYTES),
            tls: false,
        }
    }

    /// Somebody in between says that it comes from elsewhere.
    pub(super) fn comes_from(&mut self, server: &Server, source: Source) {
        if let Standing::Stranger(guest) = &mut self.standing {
            *guest = Guest::enter(server, source);
            let _ = server.strangers.hold(guest.ticket, self.held.bytes());
        }
    }

    /// Its ticket, while it can be ended for the sake of others.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match &self.standing {
            Standing::Stranger(guest) => Some(guest.ticket),
            Standing::Client { .. } => None,
        }
    }

    /// It speaks TLS from now on.
    pub(super) fn speaks_tls(&mut self, server: &Server) -> Result<(), Fault> {
        self.tls = true;
        self.holds(server, 0)
    }

    /// Its buffer holds so much: more than before only if that can be had.
    pub(super) fn holds(&mut self, server: &Server, buffer_bytes: usize) -> Result<(), Fault> {
        let beyond = buffer_bytes.saturating_sub(FIRST_BYTES) + if self.tls { TLS_BYTES } else { 0 };
        let bytes = CONNECTION_BYTES + beyond;
        if bytes == self.held.bytes() {
            return Ok(());
        }
        let grows = bytes > self.held.bytes();
        if let Standing::Stranger(guest) = &self.standing {
            // Without a handshake nobody can show who it is; a head seldom needs more than its first bytes for that.
            if grows && buffer_bytes > FIRST_BYTES && server.memory.level() > Level::Calm {
                return Err(Fault::MemoryFull);
            }
            if !server.strangers.hold(guest.ticket, bytes) {
                return Err(Fault::CrowdedOut);
            }
        }
        if grows && !self.held.grow(bytes) {
            return Err(Fault::MemoryFull);
        }
        self.held.set(bytes);
        Ok(())
    }

    /// A client was recognised at this address: the connection is one of its own from now on.
    pub(super) fn is_client(
        &mut self,
        server: &Server,
        address: IpAddr,
        connections: usize,
    ) -> Result<(), Fault> {
        match &self.standing {
            Standing::Client { .. } => Ok(()),
            Standing::Stranger(guest) => {
                let place = server.clients.take(address.to_canonical(), connections);
                let _place = place.ok_or(Fault::ClientConnections)?;
                if !server.strangers.leave(guest.ticket) {
                    return Err(Fault::CrowdedOut);
                }
                self.standing = Standing::Client { _place };
                Ok(())
            }
        }
    }

    /// The same once its heads are over.
    pub(super) fn of_tunnel(mut self) -> Self {
        self.held.set(TUNNEL_BYTES + if self.tls { TLS_BYTES } else { 0 });
        self
    }
}

impl Guest {
    fn enter(server: &Server, source: Source) -> Self {
        Self {
            ticket: server.strangers.enter(source),
            strangers: Arc::clone(&server.strangers),
        }
    }
}
