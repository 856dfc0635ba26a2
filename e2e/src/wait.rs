//! Waiting for a fact with a deadline. There is no other way to wait in these tests.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Pause between two looks.
const STEP: Duration = Duration::from_millis(100);

/// Looks again and again until `look` gives a value; the error says what was waited for and what was last seen.
///
/// # Errors
/// The deadline passed.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Result<T, String>>>,
{
    let deadline = Instant::now() + within;
    loop {
        let seen = match look().await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}; last seen: {seen}", within.as_secs());
        }
        tokio::time::sleep(STEP).await;
    }
}
