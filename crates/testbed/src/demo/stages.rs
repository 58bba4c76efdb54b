//! What the demo did and how long each part took.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::progress;

/// The stages so far, in order.
#[derive(Default)]
pub(super) struct Stages(pub(super) Vec<(String, Duration)>);

impl Stages {
    /// Does one stage, says so and keeps its time.
    pub(super) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        progress::line(&format!("== {name}"));
        let started = Instant::now();
        let outcome = work.await.with_context(|| format!("failed to {name}"))?;
        self.0.push((name.to_owned(), started.elapsed()));
        Ok(outcome)
    }
}
