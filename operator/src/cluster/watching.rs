//! A watch that goes on whatever becomes of it: the list behind it is made anew where its version is none any more, and an
//! API server that is away is asked again often enough that work goes on right after.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::{Api, Resource};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::utils::Backoff;
use kube_runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use super::health::{Fault, Health, Watch};

/// So long one watch lasts before it is begun again: a connection that has died in silence is noticed by then.
pub const LASTS: Duration = Duration::from_secs(20);
/// Before a list that is made anew because its version is none any more: long enough that a server which says so of
/// every list is not asked all the time.
const RELIST: Duration = Duration::from_secs(2);
/// Before the first try after a failure, and the most before any: there are 17 watches, and work has to go on within 5 s of
/// the end of an outage.
const AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(3)];

/// Delays between tries: they double up to a bound, with a fifth of jitter.
#[derive(Debug)]
struct Pace {
    next: Duration,
}

impl Pace {
    const fn new() -> Self {
        Self { next: AGAIN[0] }
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(AGAIN[1]);
        let jitter = getrandom::u32().unwrap_or(0) % 1000;
        Some(delay.saturating_add(delay.mul_f64(f64::from(jitter) / 5000.0)))
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        self.next = AGAIN[0];
    }
}

/// Watches until the process ends. `api` asks by [`Health::client`], which is how `health` hears of refusals.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    watch: Watch,
    health: &Health,
    mut on: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(u32::try_from(LASTS.as_secs()).unwrap_or(u32::MAX));
    loop {
        let events = watcher(api.clone(), config.clone()).backoff(Pace::new());
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => on(event),
                Err(error) => {
                    tracing::debug!(
                        watch = watch.as_str(),
                        error = &error as &dyn std::error::Error,
                        "watch ended"
                    );
                    // The rest was seen as the answer of a call.
                    if let watcher::Error::WatchError(status) = &error {
                        health.fails(watch, Fault::of(status.code));
                    }
                    if is_outdated(&error) {
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(RELIST).await;
    }
}

/// Whether no watch can go on from the version that it has, which the watcher would try for ever: 410 says that the
/// version is gone, 504 that it lies ahead of a server that was restored from a backup.
fn is_outdated(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else {
        return false;
    };
    matches!(status.code, 410 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_often_enough_for_work_to_go_on_within_five_seconds() {
        let most = Pace::new().take(20).max().unwrap();
        assert!(
            most > Duration::from_secs(2) && most < Duration::from_secs(4),
            "{most:?}"
        );
    }
}
