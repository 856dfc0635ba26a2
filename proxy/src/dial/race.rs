//! Which address of several takes the connection: one attempt after the other, each given a head start (RFC 8305).
//!
//! Time is the bound, not a number of addresses: all of them have begun by half of it. What an attempt may cost, and
//! whether its address may still be dialled, is asked of the [`Gate`] right before the attempt.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use egressway_core::acl::VettedAddr;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::dial;

/// Longest head start of an attempt before the next begins beside it (RFC 8305, 5: Connection Attempt Delay).
const HEAD_START_MAX: Duration = Duration::from_millis(250);
/// Shortest one: what RFC 8305, 8 calls the least that any network bears.
const HEAD_START_MIN: Duration = Duration::from_millis(10);
/// How long an attempt keeps its descriptor when there is none for the next one: more than a round trip around the
/// world, so that an address which answers at all answers within it.
const ALONE: Duration = Duration::from_secs(1);

/// What the dialler asks before it dials.
pub trait Gate {
    /// Why an address may not be dialled any more.
    type Refusal;
    /// What an attempt beside another one holds for as long as it runs.
    type Permit;

    /// Whether an address may be dialled now: documents may have changed since it was vetted.
    ///
    /// # Errors
    /// Why not.
    fn admit(&mut self, address: VettedAddr) -> Result<(), Self::Refusal>;

    /// A descriptor for an attempt beside those that run already. The first attempt's is the request's own.
    fn one_more(&mut self) -> Option<Self::Permit>;
}

/// Why no address took the connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError<R> {
    /// Nothing answered in time.
    #[error("no address answered in time")]
    Timeout,
    /// The last failure; the others were of no other kind that says more.
    #[error("failed to connect")]
    Io(#[source] io::Error),
    /// The gate let none of them be dialled, or none after those that failed.
    #[error("the destination may not be dialled any more")]
    Refused(R),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

struct Attempt<P> {
    address: VettedAddr,
    began: Instant,
    connecting: Connecting,
    permit: Option<P>,
}

/// Connects to the first address that answers: IPv6 and IPv4 in turn, the next after a head start or a failure.
///
/// # Errors
/// Why none did.
pub async fn dial_first<G: Gate>(
    addresses: &[VettedAddr],
    limit: Duration,
    gate: &mut G,
) -> Result<(TcpStream, VettedAddr), DialError<G::Refusal>> {
    let deadline = Instant::now() + limit;
    let dialled = async {
        // Most names have one address, and most targets are one: nothing to race.
        if let [only] = addresses {
            gate.admit(*only).map_err(DialError::Refused)?;
            let stream = dial(*only).await.map_err(DialError::Io)?;
            return Ok((stream, *only));
        }
        race(interleave(addresses), head_start(limit, addresses.len()), gate).await
    };
    timeout_at(deadline, dialled)
        .await
        .map_err(|_| DialError::Timeout)?
}

async fn race<G: Gate>(
    mut waiting: VecDeque<VettedAddr>,
    head_start: Duration,
    gate: &mut G,
) -> Result<(TcpStream, VettedAddr), DialError<G::Refusal>> {
    let mut running: Vec<Attempt<G::Permit>> = Vec::new();
    let mut failure = DialError::Io(io::ErrorKind::AddrNotAvailable.into());
    let mut next = Instant::now();
    loop {
        while let Some(address) = waiting.front().copied() {
            let now = Instant::now();
            if !running.is_empty() && now < next {
                break;
            }
            let permit = match place(&mut running, gate, now) {
                Ok(permit) => permit,
                Err(free) => {
                    next = free.min(now + head_start);
                    break;
                }
            };
            waiting.pop_front();
            match gate.admit(address) {
                Ok(()) => {
                    running.push(Attempt {
                        address,
                        began: now,
                        connecting: Box::pin(dial(address)),
                        permit,
                    });
                    next = now + head_start;
                }
                Err(refusal) => failure = DialError::Refused(refusal),
            }
        }
        if running.is_empty() {
            return Err(failure);
        }
        let outcome = tokio::select! {
            outcome = first_of(&mut running) => Some(outcome),
            () = sleep_until(next), if !waiting.is_empty() => None,
        };
        match outcome {
            Some((Ok(stream), address)) => return Ok((stream, address)),
            Some((Err(error), _)) => {
                failure = match failure {
                    DialError::Io(old) => DialError::Io(worse(old, error)),
                    refused @ (DialError::Refused(_) | DialError::Timeout) => refused,
                };
                // A failure ends the head start.
                next = Instant::now();
            }
            None => {}
        }
    }
}

/// What the next attempt runs on: nothing of its own where it runs alone, a permit, or the place of the oldest attempt
/// where there is no permit. Or when that one will have had its time.
fn place<G: Gate>(
    running: &mut Vec<Attempt<G::Permit>>,
    gate: &mut G,
    now: Instant,
) -> Result<Option<G::Permit>, Instant> {
    let Some(oldest) = running.first() else {
        return Ok(None);
    };
    if let Some(permit) = gate.one_more() {
        return Ok(Some(permit));
    }
    let free = oldest.began + ALONE;
    if now < free {
        return Err(free);
    }
    Ok(running.remove(0).permit)
}

/// The outcome of whichever attempt ends first; it is taken out. The others stay in the order in which they began.
async fn first_of<P>(running: &mut Vec<Attempt<P>>) -> (io::Result<TcpStream>, VettedAddr) {
    poll_fn(|context| {
        for at in 0..running.len() {
            let Some(attempt) = running.get_mut(at) else { break };
            if let Poll::Ready(outcome) = attempt.connecting.as_mut().poll(context) {
                return Poll::Ready((outcome, running.remove(at).address));
            }
        }
        Poll::Pending
    })
    .await
}

/// So that all addresses have begun by half of the time.
fn head_start(limit: Duration, addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    (limit / 2 / addresses).clamp(HEAD_START_MIN, HEAD_START_MAX)
}

/// IPv6 first, then in turn (RFC 8305, 4), each family in the order of the answer.
fn interleave(addresses: &[VettedAddr]) -> VecDeque<VettedAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.socket_addr().is_ipv6());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut order = VecDeque::with_capacity(addresses.len());
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return order,
            (a, b) => order.extend(a.into_iter().chain(b)),
        }
    }
}

/// Of two failures the one that says more: a refusal comes from the destination, a missing route from next door.
fn worse(old: io::Error, new: io::Error) -> io::Error {
    let rank = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => 3,
        io::ErrorKind::TimedOut => 2,
        io::ErrorKind::AddrNotAvailable => 0,
        _ => 1,
    };
    if rank(&new) >= rank(&old) { new } else { old }
}

#[cfg(test)]
mod tests;
