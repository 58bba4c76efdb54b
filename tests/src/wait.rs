//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How soon the operator must have seen something.
pub const SOON: Duration = Duration::from_secs(40);
/// How often a condition is asked.
const EVERY: Duration = Duration::from_millis(50);

/// Asks until `condition` gives a value; fails with what it said last. `Ok(Err(why))` means not yet.
pub async fn until<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Result<T, String>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match condition().await? {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > deadline => {
                bail!("not within {} s: {what}; last seen: {why}", limit.as_secs())
            }
            Err(_) => sleep(EVERY).await,
        }
    }
}
