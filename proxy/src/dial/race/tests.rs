//! Order, time and descriptors of attempts, on real sockets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use egressway_core::acl::Floor;
use socket2::{Domain, Protocol, Socket, Type};

use super::*;

/// Lets through what it is not told to refuse, notes what was asked, and has so many permits.
#[derive(Default)]
struct Door {
    refused: Vec<SocketAddr>,
    asked: RefCell<Vec<SocketAddr>>,
    permits: Rc<Cell<usize>>,
}

struct Held(Rc<Cell<usize>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Gate for Door {
    type Refusal = &'static str;
    type Permit = Held;

    fn admit(&mut self, address: VettedAddr) -> Result<(), &'static str> {
        let address = address.socket_addr();
        self.asked.borrow_mut().push(address);
        if self.refused.contains(&address) {
            Err("revoked")
        } else {
            Ok(())
        }
    }

    fn one_more(&mut self) -> Option<Held> {
        let left = self.permits.get().checked_sub(1)?;
        self.permits.set(left);
        Some(Held(Rc::clone(&self.permits)))
    }
}

fn door(permits: usize) -> Door {
    let door = Door::default();
    door.permits.set(permits);
    door
}

fn vetted(address: SocketAddr) -> VettedAddr {
    Floor::new(&["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
        .vet_observer(address.ip(), address.port())
        .unwrap()
}

/// An address that answers nothing: its queue is full, so the kernel drops what comes.
fn silent() -> (VettedAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address);
        held.push(filler);
    }
    (vetted(address.as_socket().unwrap()), held)
}

fn closed() -> VettedAddr {
    let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    vetted(closed.local_addr().unwrap())
}

async fn open() -> (VettedAddr, tokio::net::TcpListener) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    (vetted(listener.local_addr().unwrap()), listener)
}

#[test]
fn families_take_turns_and_ipv6_begins() {
    let vetted = |text: &str| vetted(text.parse().unwrap());
    let given = [
        "192.175.48.1:1",
        "192.175.48.2:1",
        "192.175.48.3:1",
        "[2620:4f:8000::1]:1",
    ];
    let order = interleave(&given.map(vetted));
    let expected = [
        "[2620:4f:8000::1]:1",
        "192.175.48.1:1",
        "192.175.48.2:1",
        "192.175.48.3:1",
    ];
    assert_eq!(order, expected.map(vetted));
}

#[test]
fn all_addresses_begin_within_half_of_the_time() {
    for (limit, addresses, millis) in [
        (10_000, 1, 250),
        (10_000, 9, 250),
        (10_000, 20, 250),
        (10_000, 64, 78),
        (1_000, 9, 55),
        (100, 64, 10),
    ] {
        let start = head_start(Duration::from_millis(limit), addresses);
        assert_eq!(start.as_millis(), millis, "{limit} ms, {addresses} addresses");
    }
}

#[tokio::test]
async fn a_dead_address_does_not_keep_the_next_from_answering() {
    let (closed, (open, _listener)) = (closed(), open().await);
    let mut door = door(8);
    let limit = Duration::from_secs(5);
    let (_, used) = dial_first(&[closed, open], limit, &mut door).await.unwrap();
    assert_eq!(used, open);
    for addresses in [&[closed][..], &[closed, closed]] {
        let Err(DialError::Io(error)) = dial_first(addresses, limit, &mut door).await else {
            panic!("nothing listens there");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_good_address_behind_many_silent_ones_is_reached_in_time() {
    // With descriptors for all, for one more than the first, and for none.
    for (permits, silent_ones, seconds) in [(64, 12, 10), (1, 3, 10), (0, 3, 10)] {
        let (silent, _held) = silent();
        let (open, _listener) = open().await;
        let mut addresses = vec![silent; silent_ones];
        addresses.push(open);
        let mut door = door(permits);
        let (_, used) = dial_first(&addresses, Duration::from_secs(seconds), &mut door)
            .await
            .unwrap();
        assert_eq!(used, open, "{permits} permits");
        assert_eq!(door.permits.get(), permits, "all permits came back");
    }
}

#[tokio::test]
async fn silence_alone_is_a_timeout() {
    let (silent, _held) = silent();
    let dialled = dial_first(&[silent, silent], Duration::from_millis(50), &mut door(8)).await;
    assert!(matches!(dialled, Err(DialError::Timeout)), "{dialled:?}");
}

#[tokio::test]
async fn what_the_gate_refuses_is_never_dialled() {
    let (open, listener) = open().await;
    let other = closed();
    let mut door = Door {
        refused: vec![open.socket_addr()],
        ..door(8)
    };
    let limit = Duration::from_secs(5);
    for addresses in [&[open][..], &[open, open], &[other, open], &[open, other]] {
        let dialled = dial_first(addresses, limit, &mut door).await;
        assert!(
            matches!(dialled, Err(DialError::Refused("revoked"))),
            "{dialled:?}"
        );
    }
    assert!(futures::FutureExt::now_or_never(listener.accept()).is_none());
}

#[tokio::test]
async fn the_gate_is_asked_right_before_each_attempt() {
    let (silent, _held) = silent();
    let (open, _listener) = open().await;
    let mut door = door(8);
    dial_first(&[silent, open, closed()], Duration::from_secs(5), &mut door)
        .await
        .unwrap();
    let asked = door.asked.borrow().clone();
    assert_eq!(
        asked,
        [silent.socket_addr(), open.socket_addr()],
        "the third was never due"
    );
}
