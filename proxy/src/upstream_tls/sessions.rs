//! Sessions of one rule that handshakes resume.
//!
//! A ticket of TLS 1.3 is good for one handshake, and rustls keeps eight of a destination: with more connections than
//! that at one time most would find none. So there are several of its stores side by side; what is in them, and for
//! how long it is good, is theirs.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// Destinations whose sessions are kept; a ticket takes a kilobyte or two.
const DESTINATIONS_MAX: usize = 256;
/// Tickets that rustls keeps for each of them in one store; it is told the number of tickets.
const TICKETS_PER_DESTINATION: usize = 8;
/// Stores side by side: tickets for as many handshakes at one time as a busy pod makes to one destination (32).
const STORES: usize = 4;

/// The sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// What there is one of, and a share of the tickets.
    first: ClientSessionMemoryCache,
    /// The other shares.
    others: [ClientSessionMemoryCache; STORES - 1],
    turn: AtomicUsize,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let store = || ClientSessionMemoryCache::new(DESTINATIONS_MAX * TICKETS_PER_DESTINATION);
        Self {
            first: store(),
            others: [store(), store(), store()],
            turn: AtomicUsize::new(0),
        }
    }

    /// All stores, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = &ClientSessionMemoryCache> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % STORES;
        let all = || std::iter::once(&self.first).chain(&self.others);
        all().skip(turn).chain(all().take(turn))
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.first.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.first.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.first.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.first.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.first.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if let Some(store) = self.in_turn().next() {
            store.insert_tls13_ticket(server, ticket);
        }
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.in_turn().find_map(|store| store.take_tls13_ticket(server))
    }
}
