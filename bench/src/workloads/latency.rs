//! Time of one operation at a rate far below what any peer can do: the peer's own part of it.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::tunnels::exchange;
use super::{Context, Window, micros};
use crate::load::{Route, Tally, patiently};
use crate::peers::Running;

/// 100 operations a second.
const PACE: Duration = Duration::from_millis(10);

/// Rows whose direct value is to be subtracted, and what the difference is called.
pub(crate) const ADDED: [(&str, &str); 2] = [
    ("new tunnel p50 µs", "added: new tunnel p50 µs"),
    ("exchange p50 µs", "added: exchange p50 µs"),
];

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let operations = context.scale.paced.as_millis() / PACE.as_millis() / 2;
    // On a thread of the runtime: what waits outside of it is woken by another thread, which takes a while.
    let (mut opened, mut exchanged) = tokio::spawn(paced(running.route.clone(), operations)).await??;
    let mut window = Window::default();
    window.push("new tunnel p50 µs", micros(&mut opened.micros, 0.5));
    window.push("exchange p50 µs", micros(&mut exchanged.micros, 0.5));
    window.failed(opened);
    window.failed(exchanged);
    Ok(window)
}

async fn paced(route: Route, operations: u128) -> Result<(Tally, Tally)> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut opened, mut exchanged) = (Tally::default(), Tally::default());
    let mut open = route.open().await?;
    exchange(&mut open).await?;
    for _ in 0..operations {
        ticks.tick().await;
        let started = Instant::now();
        let tunnel = async { exchange(&mut route.open().await?).await };
        opened.add(started, patiently(tunnel).await);
        ticks.tick().await;
        let started = Instant::now();
        exchanged.add(started, patiently(exchange(&mut open)).await);
    }
    Ok((opened, exchanged))
}
