//! Plain requests that the proxy sends on over TLS: on kept connections, with a resumed and with a full handshake each.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use super::{Context, Meter, Window, count, http};
use crate::load::{Budget, By};
use crate::peers::Running;

/// Rows of the origin's three services, in the order of the targets.
const ROWS: [[&str; 3]; 3] = [
    ["kept: CPU µs/request", "kept: requests/s", "kept: resumed share"],
    [
        "resumed: CPU µs/request",
        "resumed: requests/s",
        "resumed: resumed share",
    ],
    ["full: CPU µs/request", "full: requests/s", "full: resumed share"],
];

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let (scale, route) = (context.scale, &running.route);
    let mut window = Window::default();
    for ([cpu, speed, resumed], target) in ROWS.into_iter().zip(&route.targets) {
        let ask = ask(*target);
        http::load(route, Budget::new(scale.warm_up, u64::MAX), &ask).await;
        let meter = Meter::start(running);
        let budget = Budget::new(scale.window / 2, scale.tunnels_max);
        let tally = http::load(route, budget, &ask).await;
        let reading = meter.stop().await;
        let done = count(tally.micros.len());
        if let Some(cpu_ns) = reading.cpu_ns {
            window.push(cpu, cpu_ns / 1e3 / done);
        }
        window.push(speed, done / reading.seconds);
        #[expect(clippy::cast_precision_loss, reason = "requests of a window")]
        window.push(resumed, tally.resumed as f64 / done);
        window.failed(tally);
    }
    Ok(window)
}

/// One request to the first service.
pub(super) async fn once(running: &Running) -> Result<()> {
    let target = running.route.targets.first().context("no target")?;
    http::once(&running.route, &ask(*target)).await
}

fn ask(target: SocketAddr) -> http::Ask {
    http::Ask {
        authority: Some(By::Name.authority(target)),
        ..http::Ask::default()
    }
}
