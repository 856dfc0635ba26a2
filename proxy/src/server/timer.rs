//! One timer for all the waiting that a connection does.
//!
//! Registering a timer costs more than looking at a clock, and nearly no wait runs out. So the timer is left where it is
//! while deadlines move ahead of it: when it fires too early, it is set again.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer; made when it is first waited for.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// What a future comes to, unless the deadline passes first.
    pub(super) async fn until<F: Future>(&mut self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(cx, deadline).map(|()| None),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_may_move_both_ways() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        for seconds in [5, 60, 10, 11, 180] {
            let deadline = Instant::now() + Duration::from_secs(seconds);
            assert!(
                timer
                    .until(deadline, std::future::pending::<()>())
                    .await
                    .is_none()
            );
            assert_eq!(Instant::now().duration_since(deadline).as_secs(), 0);
            assert_eq!(timer.until(deadline, std::future::ready(1)).await, Some(1));
        }
        assert_eq!(start.elapsed().as_secs(), 5 + 60 + 10 + 11 + 180);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_before_the_one_it_was_set_for_counts() {
        let mut timer = Timer::default();
        let now = Instant::now();
        let far = now + Duration::from_secs(100);
        let near = now + Duration::from_secs(1);
        poll_fn(|cx| {
            assert!(timer.poll(cx, far).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(timer.until(near, std::future::pending::<()>()).await.is_none());
        assert_eq!(now.elapsed().as_secs(), 1);
    }
}
