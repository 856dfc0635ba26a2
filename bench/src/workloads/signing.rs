//! What a signature costs: requests with a body of 4 KiB through rules that sign, beside one that does not, in the same
//! process and in turns.

use anyhow::{Context as _, Result};

use super::{Context, Meter, Window, count, http};
use crate::load::{Budget, By, Route};
use crate::peers::Running;

/// A webhook's body of a good size.
const BODY_BYTES: usize = 4096;
/// Turns of each rule in a window, so that whatever else the machine does meets all of them.
const TURNS: u32 = 6;

/// What a rule does with the body, in the order of the targets: the scheme as a policy spells it, and the rows.
pub(crate) const SCHEMES: [Scheme; 4] = [
    Scheme {
        name: None,
        cpu: "plain: CPU µs/request",
        added: None,
    },
    Scheme {
        name: Some("StandardWebhooks"),
        cpu: "standard-webhooks: CPU µs/request",
        added: Some("standard-webhooks: added"),
    },
    Scheme {
        name: Some("HMAC-SHA256"),
        cpu: "hmac-sha256: CPU µs/request",
        added: Some("hmac-sha256: added"),
    },
    Scheme {
        name: Some("RSA-SHA256"),
        cpu: "rsa-sha256: CPU µs/request",
        added: Some("rsa-sha256: added"),
    },
];

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme {
    /// None for the rule that does not sign.
    pub(crate) name: Option<&'static str>,
    cpu: &'static str,
    /// Against the rule that does not sign.
    added: Option<&'static str>,
}

pub(super) async fn measure(context: &Context, running: &Running) -> Result<Window> {
    let (scale, mut window) = (context.scale, Window::default());
    let mut sums = [(0.0, 0.0); SCHEMES.len()];
    for turn in 0..TURNS {
        for ((cpu_ns, done), target) in sums.iter_mut().zip(&running.route.targets) {
            let route = Route::new(running.route.proxy, false, vec![*target], By::Address);
            if turn == 0 {
                http::load(&route, Budget::new(scale.warm_up, u64::MAX), &ask()).await;
            }
            let meter = Meter::start(running);
            let budget = Budget::new(scale.window / TURNS, u64::MAX);
            let tally = http::load(&route, budget, &ask()).await;
            let reading = meter.stop().await;
            *cpu_ns += reading.cpu_ns.context("only a process has CPU time")?;
            *done += count(tally.micros.len());
            window.failed(tally);
        }
    }
    let micros = sums.map(|(cpu_ns, done)| cpu_ns / 1e3 / done);
    let plain = micros.first().copied().unwrap_or_default();
    for (scheme, micros) in SCHEMES.iter().zip(micros) {
        window.push(scheme.cpu, micros);
        if let Some(added) = scheme.added {
            window.push(added, micros - plain);
        }
    }
    Ok(window)
}

/// One request through each rule.
pub(super) async fn once(running: &Running) -> Result<()> {
    for target in &running.route.targets {
        let route = Route::new(running.route.proxy, false, vec![*target], By::Address);
        http::once(&route, &ask()).await?;
    }
    Ok(())
}

fn ask() -> http::Ask {
    http::Ask {
        body_bytes: BODY_BYTES,
        ..http::Ask::default()
    }
}
