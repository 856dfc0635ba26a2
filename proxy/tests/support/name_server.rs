//! Name servers on real sockets, UDP and TCP, that answer as a script says.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

pub const A: u16 = 1;
pub const AAAA: u16 = 28;

/// What a server does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These addresses, of the family that was asked for, good for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// A code, and nothing else.
    Code(u8),
    /// Nothing.
    Silence,
    /// Bytes that are no message, under the right number.
    Garbage,
    /// The answer under another number.
    WrongId(Vec<IpAddr>),
    /// The answer to another question.
    WrongQuestion(Vec<IpAddr>),
    /// FORMERR to whoever offers to take larger answers, else these.
    Plain(Vec<IpAddr>),
    /// Silence towards the same, else these.
    DropsOffers(Vec<IpAddr>),
    /// Over UDP that the answer does not fit, over TCP the answer.
    Truncated(Vec<IpAddr>),
    /// Later.
    Late(Duration, Box<Self>),
}

pub const SERVFAIL: Reply = Reply::Code(2);
pub const NXDOMAIN: Reply = Reply::Code(3);
pub const NOTIMP: Reply = Reply::Code(4);
pub const REFUSED: Reply = Reply::Code(5);
pub const NODATA: Reply = Reply::Addresses(Vec::new(), 0);

/// Addresses for a minute.
pub fn addresses(ips: &[&str]) -> Reply {
    Reply::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect(), 60)
}

type Script = Arc<dyn Fn(&str, u16) -> Reply + Send + Sync>;

/// A server, and what it was asked.
pub struct NameServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    asked_over_tcp: Arc<AtomicUsize>,
    script: Arc<Mutex<Script>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NameServer {
    /// Answers names (with their dot at the end) and types as the function says.
    pub async fn start(script: impl Fn(&str, u16) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub async fn start_on(
        at: SocketAddr,
        script: impl Fn(&str, u16) -> Reply + Send + Sync + 'static,
    ) -> Self {
        // The same port for both.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(at).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (Arc::new(udp), tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(script)));
        let over_udp = tokio::spawn(serve_udp(udp, Arc::clone(&asked), Arc::clone(&script)));
        let asked_over_tcp = Arc::new(AtomicUsize::new(0));
        let over_tcp = tokio::spawn(serve_tcp(tcp, Arc::clone(&asked_over_tcp), Arc::clone(&script)));
        Self {
            address,
            asked,
            asked_over_tcp,
            script,
            _tasks: [over_udp, over_tcp].map(AbortOnDropHandle::new),
        }
    }

    /// Answers otherwise from now on.
    pub fn set(&self, script: impl Fn(&str, u16) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// How much it was asked over TCP so far.
    pub fn asked_over_tcp(&self) -> usize {
        self.asked_over_tcp.load(Ordering::SeqCst)
    }

    /// What it was asked over UDP so far.
    pub fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve_udp(
    socket: Arc<UdpSocket>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    script: Arc<Mutex<Script>>,
) {
    let mut query = [0; 1500];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        let (name, kind, end) = question(&query[..length]);
        asked.lock().unwrap().push((name.clone(), kind));
        let reply = Arc::clone(&*script.lock().unwrap())(&name, kind);
        let (query, socket) = (query[..end].to_vec(), Arc::clone(&socket));
        tokio::spawn(async move {
            let reply = wait(reply).await;
            let offers = length > end;
            if let Some(answer) = answer(&query, kind, &understood(reply, offers), Via::Udp) {
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, asked: Arc<AtomicUsize>, script: Arc<Mutex<Script>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                if stream.read_exact(&mut query).await.is_err() {
                    return;
                }
                let (name, kind, end) = question(&query);
                asked.fetch_add(1, Ordering::SeqCst);
                let reply = Arc::clone(&*script.lock().unwrap())(&name, kind);
                let reply = wait(reply).await;
                let reply = understood(reply, query.len() > end);
                let Some(answer) = answer(&query[..end], kind, &reply, Via::Tcp) else {
                    continue;
                };
                let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                framed.extend(answer);
                let _ = stream.write_all(&framed).await;
            }
        });
    }
}

async fn wait(reply: Reply) -> Reply {
    match reply {
        Reply::Late(time, reply) => {
            tokio::time::sleep(time).await;
            *reply
        }
        reply => reply,
    }
}

fn understood(reply: Reply, offers: bool) -> Reply {
    match reply {
        Reply::Plain(_) if offers => Reply::Code(1),
        Reply::DropsOffers(_) if offers => Reply::Silence,
        Reply::Plain(ips) | Reply::DropsOffers(ips) => Reply::Addresses(ips, 60),
        reply => reply,
    }
}

/// The name asked for, lower case, with its dots; the type; where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let label = &query[at + 1..at + 1 + usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += 1 + label.len();
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (name, kind, at + 5)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    Udp,
    Tcp,
}

fn answer(question: &[u8], kind: u16, reply: &Reply, via: Via) -> Option<Vec<u8>> {
    let (code, truncated, ips, ttl) = match reply {
        Reply::Addresses(ips, ttl) => (0, false, ips.clone(), *ttl),
        Reply::Code(code) => (*code, false, vec![], 0),
        Reply::Silence | Reply::Late(..) | Reply::Plain(_) | Reply::DropsOffers(_) => return None,
        Reply::Garbage => {
            let mut garbage = question[..2].to_vec();
            garbage.extend([0x81, 0x80, 0, 1, 0, 9, 0, 9, 0, 9, 0xff, 0xff, 0xff]);
            return Some(garbage);
        }
        Reply::WrongId(ips) | Reply::WrongQuestion(ips) => (0, false, ips.clone(), 60),
        Reply::Truncated(_) if via == Via::Udp => (0, true, vec![], 60),
        Reply::Truncated(ips) => (0, false, ips.clone(), 60),
    };
    let records: Vec<_> = ips.iter().filter(|ip| ip.is_ipv6() == (kind == AAAA)).collect();
    let mut message = question.to_vec();
    let flags = if truncated { 0x83 } else { 0x81 };
    message[2..12].copy_from_slice(&[flags, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    for ip in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message.extend(ttl.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => {
                message.extend([0, 4]);
                message.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                message.extend([0, 16]);
                message.extend(ip.octets());
            }
        }
    }
    match reply {
        Reply::WrongId(_) => message[1] ^= 1,
        // Another first letter.
        Reply::WrongQuestion(_) => message[13] ^= 1,
        _ => {}
    }
    Some(message)
}
