//! The bare relay: what a proxy would cost that decides, resolves, checks and logs nothing.
//!
//! One epoll loop a core, listeners by SO_REUSEPORT, a fixed list of upstreams. It answers any CONNECT with 200 and
//! moves bytes, by copying or by splicing; it knows neither time limits nor resets. A yardstick, not an example.

mod flow;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use self::flow::{Flow, Scratch};
use crate::args::RelayArgs;

/// Listening sockets wait for as many connections as the kernel lets them.
const BACKLOG: i32 = 4096;
/// Events taken at once.
const EVENTS: usize = 256;
/// Key of the listener; tunnels count up from 0.
const LISTENER: u64 = u64::MAX;
/// Longest CONNECT head; a run sends about 60 bytes.
const HEAD_BYTES_MAX: usize = 4096;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variant {
    /// Through a buffer of the process.
    Copy,
    /// Through a pipe, inside of the kernel.
    Splice,
}

/// Relays for ever.
pub(crate) fn serve(args: &RelayArgs) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let loops: Vec<_> = (0..cores)
            .map(|_| scope.spawn(|| Loop::new(args)?.run()))
            .collect();
        for worker in loops {
            if let Ok(ended) = worker.join() {
                ended?;
            }
        }
        Ok(())
    })
}

struct Loop<'a> {
    args: &'a RelayArgs,
    epoll: OwnedFd,
    listener: OwnedFd,
    tunnels: HashMap<u64, Tunnel>,
    accepted: u64,
    scratch: Scratch,
}

struct Tunnel {
    client: OwnedFd,
    /// None until the CONNECT head is complete.
    origin: Option<OwnedFd>,
    connected: bool,
    head: Vec<u8>,
    up: Flow,
    down: Flow,
}

impl<'a> Loop<'a> {
    fn new(args: &'a RelayArgs) -> Result<Self> {
        let listener = socket(args.listen)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        sockopt::set_socket_reuseport(&listener, true)?;
        rustix::net::bind(&listener, &args.listen).context("the address is taken")?;
        rustix::net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            args,
            epoll,
            listener,
            tunnels: HashMap::new(),
            accepted: 0,
            scratch: Scratch::new(args.variant),
        })
    }

    fn run(mut self) -> Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    key => self.drive(key / 2, key % 2 == 0, event.flags),
                }
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(client) = rustix::net::accept_with(&self.listener, flags) {
            let id = self.accepted;
            self.accepted += 1;
            let mut tunnel = Tunnel {
                client,
                origin: None,
                connected: false,
                head: Vec::new(),
                up: Flow::default(),
                down: Flow::default(),
            };
            if self.args.raw && self.dial(id, &mut tunnel).is_err() {
                continue;
            }
            if self.watch(&tunnel.client, id * 2).is_ok() {
                self.tunnels.insert(id, tunnel);
            }
        }
    }

    /// Both directions, edge-triggered, once and for all.
    fn watch(&self, socket: &OwnedFd, key: u64) -> rustix::io::Result<()> {
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(key), all)
    }

    fn dial(&self, id: u64, tunnel: &mut Tunnel) -> rustix::io::Result<()> {
        let turn = usize::try_from(id).unwrap_or_default() % self.args.upstream.len();
        let upstream = *self.args.upstream.get(turn).ok_or(Errno::INVAL)?;
        let origin = socket(upstream)?;
        match rustix::net::connect(&origin, &upstream) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.watch(&origin, id * 2 + 1)?;
        tunnel.origin = Some(origin);
        Ok(())
    }

    /// Moves what an event says can be moved; the end of both sides, or a failure of either, ends the tunnel.
    fn drive(&mut self, id: u64, of_client: bool, flags: EventFlags) {
        let Some(mut tunnel) = self.tunnels.remove(&id) else {
            return;
        };
        if self.step(id, &mut tunnel, of_client, flags) == Ok(false) {
            self.tunnels.insert(id, tunnel);
            return;
        }
        tunnel.up.give_back(&mut self.scratch);
        tunnel.down.give_back(&mut self.scratch);
    }

    /// True when the tunnel has ended.
    fn step(
        &mut self,
        id: u64,
        tunnel: &mut Tunnel,
        of_client: bool,
        flags: EventFlags,
    ) -> rustix::io::Result<bool> {
        if tunnel.origin.is_none() {
            if tunnel.read_head()? {
                self.dial(id, tunnel)?;
            }
            return Ok(false);
        }
        // Whatever else its flags say, the first event of the origin's socket is that it is connected, or failed.
        let first = !tunnel.connected && !of_client;
        tunnel.connected |= first;
        let (Some(origin), true) = (&tunnel.origin, tunnel.connected) else {
            return Ok(false);
        };
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        let (readable, writable) = (
            flags.intersects(EventFlags::IN | ends),
            flags.contains(EventFlags::OUT),
        );
        let sender = if of_client {
            &mut tunnel.up
        } else {
            &mut tunnel.down
        };
        sender.may_end |= flags.intersects(ends);
        if first
            || if of_client {
                readable
            } else {
                writable && tunnel.up.waits()
            }
        {
            tunnel.up.pump(&tunnel.client, origin, &mut self.scratch)?;
        }
        if first
            || if of_client {
                writable && tunnel.down.waits()
            } else {
                readable
            }
        {
            tunnel.down.pump(origin, &tunnel.client, &mut self.scratch)?;
        }
        Ok(tunnel.up.has_ended() && tunnel.down.has_ended())
    }
}

impl Tunnel {
    /// True once the head is complete; the reply and what came behind the head are then on their way.
    fn read_head(&mut self) -> rustix::io::Result<bool> {
        let mut chunk = [0; HEAD_BYTES_MAX];
        let count = match rustix::io::read(&self.client, &mut chunk) {
            Err(Errno::AGAIN) => return Ok(false),
            read => read?,
        };
        if count == 0 || self.head.len() > HEAD_BYTES_MAX {
            return Err(Errno::PIPE);
        }
        self.head.extend(chunk.iter().take(count));
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        self.up.keep(self.head.get(end + 4..).unwrap_or_default());
        self.down.keep(ESTABLISHED);
        self.head = Vec::new();
        Ok(true)
    }
}

/// A socket that sends at once, which what it accepts does, too: else the peer's delayed ACK holds up each handshake.
fn socket(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}
