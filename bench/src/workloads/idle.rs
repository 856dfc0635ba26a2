//! Memory of tunnels that are open and alive, with nothing moving in them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::tunnels::exchange;
use super::{Context, WORKERS, Window, count};
use crate::load::{Budget, Tally, patiently, together};
use crate::peers::Running;

/// For buffers that a peer gives back a moment after the last byte.
const CALM: Duration = Duration::from_secs(1);
/// Opening takes no longer, for any peer.
const OPENING_MAX: Duration = Duration::from_secs(60);

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let mut window = Window::default();
    let Some(process) = &running.process else {
        return Ok(window);
    };
    let before = process.rss_kib();
    let budget = Budget::new(OPENING_MAX, context.scale.idle_tunnels as u64);
    let held = Arc::new(Mutex::new(Vec::new()));
    let opened = together(WORKERS, || {
        let (route, budget, held) = (running.route.clone(), Arc::clone(&budget), Arc::clone(&held));
        async move {
            let mut tally = Tally::default();
            while budget.take() {
                let started = Instant::now();
                let tunnel = async {
                    let mut stream = route.open().await?;
                    exchange(&mut stream).await?;
                    Ok(stream)
                };
                if let Some(stream) = tally.add(started, patiently(tunnel).await) {
                    held.lock().await.push(stream);
                }
            }
            tally
        }
    })
    .await;
    sleep(CALM).await;
    let after = process.rss_kib();
    let mut held = held.lock().await;
    let mut alive = Tally::default();
    for stream in held.iter_mut() {
        alive.add(Instant::now(), patiently(exchange(stream)).await);
    }
    #[expect(clippy::cast_precision_loss, reason = "kibibytes")]
    let grown = after.saturating_sub(before) as f64;
    window.push("RSS KiB/tunnel", grown / count(held.len().max(1)));
    window.push("tunnels alive", count(alive.micros.len()));
    window.failed(opened);
    window.failed(alive);
    Ok(window)
}
