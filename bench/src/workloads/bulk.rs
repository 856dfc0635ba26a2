//! Four tunnels full of bytes: down, then up.

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{Context, Meter, Window};
use crate::load::{Route, Tally, patiently, together};
use crate::origin;
use crate::peers::Running;

const TUNNELS: usize = 4;
const CHUNK_BYTES: usize = 128 * 1024;
/// Share of the amount that is moved unmeasured, each way.
const WARM_UP_SHARE: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let bytes = context.scale.bulk_bytes;
    let mut window = Window::default();
    for direction in [Direction::Down, Direction::Up] {
        window.failed(load(&running.route, direction, bytes / WARM_UP_SHARE).await);
        let meter = Meter::start(running);
        let tally = load(&running.route, direction, bytes).await;
        let reading = meter.stop().await;
        #[expect(clippy::cast_precision_loss, reason = "gigabytes")]
        let gigabytes = (bytes * tally.micros.len() as u64) as f64 / 1e9;
        let (cpu, speed) = match direction {
            Direction::Down => ("down CPU s/GB", "down GB/s"),
            Direction::Up => ("up CPU s/GB", "up GB/s"),
        };
        if let Some(cpu_ns) = reading.cpu_ns {
            window.push(cpu, cpu_ns / 1e9 / gigabytes);
        }
        window.push(speed, gigabytes / reading.seconds);
        window.failed(tally);
    }
    Ok(window)
}

async fn load(route: &Route, direction: Direction, bytes: u64) -> Tally {
    together(TUNNELS, || {
        let (route, started) = (route.clone(), Instant::now());
        async move {
            let mut tally = Tally::default();
            tally.add(started, patiently(transfer(&route, direction, bytes)).await);
            tally
        }
    })
    .await
}

async fn transfer(route: &Route, direction: Direction, bytes: u64) -> Result<()> {
    let mut stream = route.open().await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    match direction {
        Direction::Down => {
            stream.write_all(&order(origin::SEND, bytes)).await?;
            while left > 0 {
                let read = stream.read(&mut chunk).await?;
                if read == 0 {
                    bail!("{left} bytes are missing");
                }
                left = left.saturating_sub(read as u64);
            }
        }
        Direction::Up => {
            stream.write_all(&order(origin::RECEIVE, bytes)).await?;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                stream.write_all(chunk.get(..part).unwrap_or_default()).await?;
                left -= part as u64;
            }
            stream.read_u8().await?;
        }
    }
    Ok(())
}

/// What the origin's bulk service is asked for.
fn order(direction: u8, bytes: u64) -> [u8; 9] {
    let mut order = [direction; 9];
    for (to, from) in order.iter_mut().skip(1).zip(bytes.to_be_bytes()) {
        *to = from;
    }
    order
}
