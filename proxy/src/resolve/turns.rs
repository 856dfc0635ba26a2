//! Whose look-up goes on: so many at one time, of which one domain and one client have a share.
//!
//! Who finds no room waits, and whoever has room passes by: a domain whose servers are silent delays itself alone. How
//! long somebody waits is up to whoever waits.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Of look-ups at one time those of one domain, in sixteenths. Of 256 these are 48: a resolver that answers within 50 ms
/// so gives a thousand names a second.
const DOMAIN_SIXTEENTHS: usize = 3;
/// The same of one client: three domains' share, and little more than half.
const CLIENT_SIXTEENTHS: usize = 9;
/// Look-ups that wait, of one domain and of one client; past it they fail at once.
const DOMAIN_WAITING_MAX: usize = 1024;
const CLIENT_WAITING_MAX: usize = 2048;

/// Who shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Share {
    Domain(Box<str>),
    Client(IpAddr),
}

impl Share {
    /// Of so many.
    fn running_max(&self, all: usize) -> usize {
        let sixteenths = match self {
            Self::Domain(_) => DOMAIN_SIXTEENTHS,
            Self::Client(_) => CLIENT_SIXTEENTHS,
        };
        (all * sixteenths / 16).max(1)
    }

    fn waiting_max(&self) -> usize {
        match self {
            Self::Domain(_) => DOMAIN_WAITING_MAX,
            Self::Client(_) => CLIENT_WAITING_MAX,
        }
    }
}

/// The turns of a process.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_max: usize,
    shares: HashMap<Share, usize>,
    waiting: VecDeque<Waiting>,
    waiting_shares: HashMap<Share, usize>,
}

#[derive(Debug)]
struct Waiting {
    shares: Vec<Share>,
    called: oneshot::Sender<Turn>,
}

/// A look-up that goes on; others may once it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    shares: Vec<Share>,
}

/// What a look-up gets.
#[derive(Debug)]
pub(super) enum Ticket {
    /// It may go on.
    Now(Turn),
    /// It is called.
    Later(oneshot::Receiver<Turn>),
    /// So many wait that there is no hope.
    Never,
}

impl Turns {
    /// So many at one time.
    pub(super) fn new(running_max: usize) -> Self {
        let state = State {
            running_max,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A turn for a name, asked for by a client or by the proxy itself.
    pub(super) fn take(&self, name: &str, client: Option<IpAddr>) -> Ticket {
        let mut shares = vec![Share::Domain(domain(name).into())];
        shares.extend(client.map(Share::Client));
        let mut state = self.lock();
        if state.has_room(&shares) {
            state.enter(&shares);
            return Ticket::Now(Turn {
                turns: self.clone(),
                shares,
            });
        }
        if state.is_full(&shares) {
            state.forget_gone();
        }
        if state.is_full(&shares) {
            return Ticket::Never;
        }
        for share in &shares {
            *state.waiting_shares.entry(share.clone()).or_default() += 1;
        }
        let (called, ticket) = oneshot::channel();
        state.waiting.push_back(Waiting { shares, called });
        Ticket::Later(ticket)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, shares: &[Share]) -> bool {
        let taken = |share: &Share| self.shares.get(share).copied().unwrap_or(0);
        let fits = |share: &Share| taken(share) < share.running_max(self.running_max);
        self.running < self.running_max && shares.iter().all(fits)
    }

    fn is_full(&self, shares: &[Share]) -> bool {
        let waiting = |share: &Share| self.waiting_shares.get(share).copied().unwrap_or(0);
        shares.iter().any(|share| waiting(share) >= share.waiting_max())
    }

    fn enter(&mut self, shares: &[Share]) {
        self.running += 1;
        for share in shares {
            *self.shares.entry(share.clone()).or_default() += 1;
        }
    }

    fn leave(&mut self, shares: &[Share]) {
        self.running = self.running.saturating_sub(1);
        shares.iter().for_each(|share| lower(&mut self.shares, share));
    }

    /// Takes whoever may go on now out of the queue, the longest waiting first, and with them those who went away.
    fn call(&mut self) -> Vec<Waiting> {
        let mut called = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let is_gone = waiting.called.is_closed();
            if !is_gone && !self.has_room(&waiting.shares) {
                self.waiting.push_back(waiting);
                continue;
            }
            waiting
                .shares
                .iter()
                .for_each(|share| lower(&mut self.waiting_shares, share));
            if !is_gone {
                self.enter(&waiting.shares);
                called.push(waiting);
            }
        }
        called
    }

    fn forget_gone(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.called.is_closed() {
                waiting
                    .shares
                    .iter()
                    .for_each(|share| lower(&mut self.waiting_shares, share));
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }
}

fn lower(shares: &mut HashMap<Share, usize>, share: &Share) {
    if let Some(count) = shares.get_mut(share) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            shares.remove(share);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let called = {
            let mut state = self.turns.lock();
            state.leave(&self.shares);
            state.call()
        };
        for Waiting { shares, called } in called {
            let turn = Self {
                turns: self.turns.clone(),
                shares,
            };
            // Whoever went away meanwhile hands it on by dropping it.
            let _ = called.send(turn);
        }
    }
}

/// Whose name it is, as far as the name itself tells: two labels, or three where the last two look like `co.uk`.
fn domain(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else {
        return name;
    };
    let tail = |at: usize| name.get(at + 1..).unwrap_or(name);
    let is_country = name.len() - last - 1 == 2 && last - second - 1 <= 3;
    match (is_country, dots.next()) {
        (false, _) => tail(second),
        (true, Some(third)) => tail(third),
        (true, None) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING_MAX: usize = 256;
    const DOMAIN_MAX: usize = 48;
    const CLIENT_MAX: usize = 144;

    fn client(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    fn now(ticket: Ticket) -> Option<Turn> {
        match ticket {
            Ticket::Now(turn) => Some(turn),
            Ticket::Later(_) | Ticket::Never => None,
        }
    }

    #[test]
    fn a_domain_is_what_its_owner_registered() {
        for (name, expected) in [
            ("example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("a.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("a.b.svc.cluster.local", "cluster.local"),
            ("a.example.io", "example.io"),
            ("localhost", "localhost"),
            ("a.b.c", "b.c"),
            ("", ""),
        ] {
            assert_eq!(domain(name), expected, "{name}");
        }
    }

    #[test]
    fn a_domain_and_a_client_have_their_share_and_no_more() {
        let turns = Turns::new(RUNNING_MAX);
        let mut held: Vec<Turn> = Vec::new();
        // One domain, many clients.
        for n in 0..DOMAIN_MAX {
            let name = format!("n{n}.silent.example");
            held.extend(now(turns.take(&name, client((n % 200) as u8 + 10))));
        }
        assert_eq!(held.len(), DOMAIN_MAX);
        assert!(now(turns.take("more.silent.example", client(1))).is_none());
        // One client, many domains.
        for n in 0..CLIENT_MAX {
            held.extend(now(turns.take(&format!("n{n}.example"), client(1))));
        }
        assert_eq!(held.len(), DOMAIN_MAX + CLIENT_MAX);
        assert!(now(turns.take("more.example", client(1))).is_none());
        // Everybody else.
        for n in held.len()..RUNNING_MAX {
            held.extend(now(turns.take(&format!("n{n}.example"), client(2))));
        }
        assert_eq!(held.len(), RUNNING_MAX);
        assert!(now(turns.take("more.example", client(3))).is_none());
        held.pop();
        // Those who asked in vain are gone, and take nothing with them.
        assert!(now(turns.take("more.example", client(3))).is_some());
        held.clear();
        let state = turns.lock();
        assert!(state.running == 0 && state.shares.is_empty() && state.waiting_shares.is_empty());
    }

    #[test]
    fn where_there_are_few_everybody_has_one() {
        let turns = Turns::new(2);
        let _first = now(turns.take("a.silent.example", client(1))).unwrap();
        assert!(now(turns.take("b.silent.example", client(2))).is_none());
        assert!(now(turns.take("a.example.com", client(1))).is_none());
        assert!(now(turns.take("a.example.com", client(2))).is_some());
    }

    #[test]
    fn who_has_room_passes_by_who_has_none() {
        let turns = Turns::new(RUNNING_MAX);
        let mut silent: Vec<Turn> = (0..DOMAIN_MAX)
            .filter_map(|n| now(turns.take(&format!("n{n}.silent.example"), client(1))))
            .collect();
        let Ticket::Later(mut first) = turns.take("first.silent.example", client(1)) else {
            panic!("it waits");
        };
        let Ticket::Later(mut second) = turns.take("second.silent.example", client(1)) else {
            panic!("it waits");
        };
        let other = now(turns.take("other.example", client(1)));
        drop(other.expect("another domain has room"));
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        silent.pop();
        let turn = first.try_recv().expect("the longest waiting is called");
        assert!(second.try_recv().is_err());
        drop(turn);
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn waiting_has_a_bound_that_those_who_left_do_not_count_for() {
        let turns = Turns::new(RUNNING_MAX);
        let name = |n: usize| format!("n{n}.silent.example");
        let _held: Vec<Turn> = (0..DOMAIN_MAX)
            .filter_map(|n| now(turns.take(&name(n), client(1))))
            .collect();
        let mut waiting: Vec<_> = (0..DOMAIN_WAITING_MAX)
            .map(|n| turns.take(&name(n), client(1)))
            .collect();
        assert!(waiting.iter().all(|ticket| matches!(ticket, Ticket::Later(_))));
        assert!(matches!(turns.take("n.silent.example", client(2)), Ticket::Never));
        waiting.pop();
        assert!(matches!(
            turns.take("n.silent.example", client(2)),
            Ticket::Later(_)
        ));
    }
}
