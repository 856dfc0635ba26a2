//! One question to one name server on sockets: UDP, and TCP where the answer does not fit. I/O alone.
//!
//! A socket of its own for each question, so that the kernel's random port counts beside the random number of the
//! question against forged answers. Whose turn it is, and what follows, is decided elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::question::{Flaw, Meaning, Offer, Question, Reading};

/// Room for an answer over UDP: three times what is offered, since some servers send more.
const DATAGRAM_BYTES: usize = 4096;

/// How long and how often a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Datagrams in all; a lost one is sent again.
    pub(super) sends: u32,
    /// From one to the next.
    pub(super) interval: Duration,
    /// When it has had its time.
    pub(super) until: Instant,
    /// Over TCP from the start.
    pub(super) transport: Transport,
}

/// What the first question travels over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    /// UDP, and TCP where the answer does not fit.
    #[default]
    Udp,
    /// TCP alone.
    Tcp,
}

/// Asks a server.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    patience: Patience,
) -> Result<Meaning, Flaw> {
    let asked = async {
        match patience.transport {
            Transport::Udp => over_udp(server, question, patience).await,
            Transport::Tcp => over_tcp(server, question, Offer::Edns).await,
        }
    };
    timeout_at(patience.until, asked)
        .await
        .unwrap_or(Err(Flaw::Silent))
}

async fn over_udp(server: SocketAddr, question: &Question, patience: Patience) -> Result<Meaning, Flaw> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(unheard)?;
    // The kernel drops what does not come from the server.
    socket.connect(server).await.map_err(unheard)?;
    let mut offer = Offer::Edns;
    let mut message = question.message(offer).ok_or(Flaw::Garbage)?;
    socket.send(&message).await.map_err(unheard)?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let (mut sends_left, mut again) = (
        patience.sends.saturating_sub(1),
        Instant::now() + patience.interval,
    );
    loop {
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received.map_err(unheard)?,
            () = sleep_until(again), if sends_left > 0 => {
                // It was lost, or something on the way drops what it does not know.
                offer = Offer::Plain;
                message = question.message(offer).ok_or(Flaw::Garbage)?;
                socket.send(&message).await.map_err(unheard)?;
                (sends_left, again) = (sends_left - 1, again + patience.interval);
                continue;
            }
        };
        match (question.read(buffer.get(..received).unwrap_or_default()), offer) {
            (Reading::NotOurs, _) => {}
            (Reading::Answer(meaning), _) => return Ok(meaning),
            (Reading::Truncated, offer) => {
                // One descriptor at a time.
                drop(socket);
                return over_tcp(server, question, offer).await;
            }
            // RFC 6891, 7: it may know no such offers.
            (Reading::Flawed(Flaw::FormatError | Flaw::NotImplemented), Offer::Edns) => {
                offer = Offer::Plain;
                message = question.message(offer).ok_or(Flaw::Garbage)?;
                socket.send(&message).await.map_err(unheard)?;
            }
            (Reading::Flawed(flaw), _) => return Err(flaw),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "to a name server, which the machine's owner named; nothing of a client decides where"
)]
async fn over_tcp(server: SocketAddr, question: &Question, offer: Offer) -> Result<Meaning, Flaw> {
    let message = question.message(offer).ok_or(Flaw::Garbage)?;
    let length = u16::try_from(message.len()).map_err(|_| Flaw::Garbage)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&message);
    let mut stream = TcpStream::connect(server).await.map_err(unheard)?;
    stream.write_all(&framed).await.map_err(unheard)?;
    let length = stream.read_u16().await.map_err(unheard)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(unheard)?;
    match question.read(&answer) {
        Reading::Answer(meaning) => Ok(meaning),
        Reading::Flawed(Flaw::FormatError | Flaw::NotImplemented) if offer == Offer::Edns => {
            Box::pin(over_tcp(server, question, Offer::Plain)).await
        }
        Reading::Flawed(flaw) => Err(flaw),
        Reading::NotOurs | Reading::Truncated => Err(Flaw::Garbage),
    }
}

/// Whatever the kernel says about a socket towards a server: nobody is there, no way leads there, or it hung up.
fn unheard(_: io::Error) -> Flaw {
    Flaw::Unreachable
}
