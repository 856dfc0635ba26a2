//! New tunnels: connect, CONNECT, one small exchange, both ends closed. The client closes first and waits for the end.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{Context, Meter, PAYLOAD, WORKERS, Window, count, micros};
use crate::certificates::ORIGIN_NAME;
use crate::load::{Budget, Route, Tally, patiently, together};
use crate::peers::Running;

pub(super) async fn plain(context: &Context, running: &Running) -> Result<Window> {
    window(context, running, None).await
}

pub(super) async fn inside_tls(context: &Context, running: &Running) -> Result<Window> {
    window(
        context,
        running,
        Some(TlsConnector::from(Arc::clone(&context.tls))),
    )
    .await
}

async fn window(context: &Context, running: &Running, tls: Option<TlsConnector>) -> Result<Window> {
    let (scale, route) = (context.scale, &running.route);
    load(route, Budget::new(scale.warm_up, u64::MAX), tls.as_ref()).await;
    let meter = Meter::start(running);
    let mut tally = load(route, Budget::new(scale.window, scale.tunnels_max), tls.as_ref()).await;
    let reading = meter.stop().await;
    let done = count(tally.micros.len());
    let mut window = Window::default();
    if let Some(cpu_ns) = reading.cpu_ns {
        window.push("CPU µs/tunnel", cpu_ns / 1e3 / done);
    }
    window.push("tunnels/s", done / reading.seconds);
    window.push("p50 µs", micros(&mut tally.micros, 0.5));
    window.push("p99 µs", micros(&mut tally.micros, 0.99));
    window.failed(tally);
    Ok(window)
}

async fn load(route: &Route, budget: Arc<Budget>, tls: Option<&TlsConnector>) -> Tally {
    together(WORKERS, || {
        let (route, budget, tls) = (route.clone(), Arc::clone(&budget), tls.cloned());
        async move {
            let mut tally = Tally::default();
            while budget.take() {
                let started = Instant::now();
                tally.add(started, patiently(tunnel(&route, tls.as_ref())).await);
            }
            tally
        }
    })
    .await
}

async fn tunnel(route: &Route, tls: Option<&TlsConnector>) -> Result<()> {
    let mut stream = route.open().await?;
    match tls {
        None => use_once(&mut stream).await,
        Some(tls) => {
            let name = ServerName::try_from(ORIGIN_NAME)?;
            use_once(&mut tls.connect(name, stream).await.context("the handshake failed")?).await
        }
    }
}

async fn use_once(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    exchange(stream).await?;
    stream.shutdown().await?;
    // Some peers answer the client's end by a reset; the exchange is complete either way.
    let _ = stream.read(&mut [0; 1]).await;
    Ok(())
}

/// Sends the payload and waits for its echo.
pub(super) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(&PAYLOAD).await?;
    stream.flush().await?;
    let mut echo = [0; PAYLOAD.len()];
    stream
        .read_exact(&mut echo)
        .await
        .context("the echo is incomplete")?;
    Ok(())
}
