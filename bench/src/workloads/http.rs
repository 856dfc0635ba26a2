//! Small requests in absolute form on kept connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Context, Meter, WORKERS, Window, count, micros};
use crate::load::{Budget, Route, Tally, patiently, together};
use crate::origin::{BODY_BYTES, RESUMED};
use crate::peers::Running;

/// Longest answer, head and body.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let (scale, route) = (context.scale, &running.route);
    let ask = Ask::default();
    load(route, Budget::new(scale.warm_up, u64::MAX), &ask).await;
    let meter = Meter::start(running);
    let mut tally = load(route, Budget::new(scale.window, u64::MAX), &ask).await;
    let reading = meter.stop().await;
    let done = count(tally.micros.len());
    let mut window = Window::default();
    if let Some(cpu_ns) = reading.cpu_ns {
        window.push("CPU µs/request", cpu_ns / 1e3 / done);
    }
    window.push("requests/s", done / reading.seconds);
    window.push("p50 µs", micros(&mut tally.micros, 0.5));
    window.push("p99 µs", micros(&mut tally.micros, 0.99));
    window.failed(tally);
    Ok(window)
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// For this authority; for the route's target if there is none.
    pub(super) authority: Option<String>,
    /// A POST with a body, unless this is nothing.
    pub(super) body_bytes: usize,
}

/// One request on a connection of its own, for the next target.
pub(super) async fn once(route: &Route, ask: &Ask) -> Result<()> {
    let target = route.target()?;
    let stream = TcpStream::connect(route.proxy.unwrap_or(target)).await?;
    exchange(stream, request(route, target, ask).as_bytes())
        .await
        .map(drop)
}

fn request(route: &Route, target: SocketAddr, ask: &Ask) -> String {
    let authority = ask.authority.clone();
    let authority = authority.unwrap_or_else(|| route.by.authority(target));
    let to = format!("http://{authority}/hook HTTP/1.1\r\nHost: {authority}\r\n");
    match ask.body_bytes {
        0 => format!("GET {to}\r\n"),
        bytes => format!("POST {to}Content-Length: {bytes}\r\n\r\n{:x<bytes$}", ""),
    }
}

/// Kept connections, busy until the budget is spent.
pub(super) async fn load(route: &Route, budget: Arc<Budget>, ask: &Ask) -> Tally {
    together(WORKERS, || {
        client(route.clone(), Arc::clone(&budget), ask.clone())
    })
    .await
}

/// One connection, opened again where the proxy closes it.
async fn client(route: Route, budget: Arc<Budget>, ask: Ask) -> Tally {
    let (mut tally, mut kept) = (Tally::default(), None);
    let target = match route.target() {
        Ok(target) => target,
        Err(error) => {
            tally.add::<()>(Instant::now(), Err(error));
            return tally;
        }
    };
    let request = request(&route, target, &ask);
    while budget.take() {
        let started = Instant::now();
        let stream = match kept.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(route.proxy.unwrap_or(target))
                .await
                .map_err(anyhow::Error::from),
        };
        let outcome = patiently(async { exchange(stream?, request.as_bytes()).await }).await;
        if let Some(answer) = tally.add(started, outcome) {
            tally.resumed += u64::from(answer.resumed);
            kept = answer.kept;
        }
    }
    tally
}

/// What an answer told.
struct Answer {
    /// The connection, unless the answer closes it.
    kept: Option<TcpStream>,
    /// Whether the origin saw a resumed TLS session.
    resumed: bool,
}

/// One request and its answer.
async fn exchange(mut stream: TcpStream, request: &[u8]) -> Result<Answer> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    let end = loop {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_BYTES_MAX {
            bail!("no head of an answer arrived");
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    if head.get(8..12) != Some(" 200") {
        bail!(
            "a request was answered {}",
            head.lines().next().unwrap_or_default()
        );
    }
    // Every origin's body has the same length, whatever framing the proxy chose for it.
    let chunked = head.contains("transfer-encoding: chunked");
    let done = |answer: &[u8]| {
        if chunked {
            answer.ends_with(b"0\r\n\r\n")
        } else {
            answer.len() >= end + BODY_BYTES
        }
    };
    while !done(&answer) {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the answer broke off");
        }
    }
    let closes = head.contains("connection: close") || head.starts_with("http/1.0");
    let body = answer.get(end..).unwrap_or_default();
    Ok(Answer {
        kept: (!closes).then_some(stream),
        // Wherever in the framing it stands.
        resumed: body.windows(RESUMED.len()).any(|part| part == RESUMED.as_bytes()),
    })
}
