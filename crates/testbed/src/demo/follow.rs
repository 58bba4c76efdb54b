//! Follows a `MeshUpgrade` on the terminal until it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, pin_mut};
use indicatif::{ProgressBar, ProgressStyle};
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use tokio::time::{MissedTickBehavior, interval};

use crate::progress;
use crate::shop::LoadHandle;

/// How the upgrade went.
pub(super) struct Followed {
    /// The last status.
    pub(super) status: MeshUpgradeStatus,
    /// Each phase and step, in order, with the time it took.
    pub(super) steps: Vec<(String, Duration)>,
}

/// Prints a line for each change of the status until the upgrade is Done or Failed; on a terminal, with a
/// line below that lives.
pub(super) async fn follow(
    client: Client,
    name: &str,
    load: &LoadHandle,
    limit: Duration,
) -> Result<Followed> {
    let upgrades: Api<MeshUpgrade> = Api::all(client);
    let changes = watch_object(upgrades, name);
    pin_mut!(changes);
    let mut view = View::new(load);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while view.started.elapsed() < limit {
        tokio::select! {
            _ = tick.tick() => view.refresh(),
            change = changes.next() => match change {
                Some(Ok(Some(upgrade))) => {
                    let status = upgrade.status.unwrap_or_default();
                    view.show(&status);
                    if status.phase.is_some_and(Phase::is_terminal) {
                        return Ok(view.end(status));
                    }
                }
                Some(Ok(None)) => bail!("MeshUpgrade {name} is gone: someone deleted it"),
                // The watch comes back by itself.
                Some(Err(error)) => tracing::debug!("watching MeshUpgrade {name}: {error}"),
                None => bail!("the watch of MeshUpgrade {name} ended"),
            }
        }
    }
    let last = view
        .last
        .take()
        .context("the operator never wrote a status: see its log")?;
    bail!("not done within {} s; it was: {last}", limit.as_secs())
}

struct View<'a> {
    load: &'a LoadHandle,
    bar: Option<ProgressBar>,
    started: Instant,
    last: Option<String>,
    step: Option<(String, Instant)>,
    steps: Vec<(String, Duration)>,
}

impl<'a> View<'a> {
    fn new(load: &'a LoadHandle) -> Self {
        let bar = progress::on_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .expect("the template is a constant that parses");
            let bar = progress::bars().add(ProgressBar::new_spinner().with_style(style));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let started = Instant::now();
        Self {
            load,
            bar,
            started,
            last: None,
            step: None,
            steps: Vec::new(),
        }
    }

    /// The line that lives: where the upgrade is, and what the visitors see of it.
    fn refresh(&self) {
        if let Some(bar) = &self.bar {
            let seen = self.load.totals().totals;
            let step = self
                .step
                .as_ref()
                .map_or("waiting for the operator", |(step, _)| step);
            bar.set_message(format!(
                "{step} | {} requests, {} lost",
                seen.sent,
                seen.lost()
            ));
        }
    }

    fn show(&mut self, status: &MeshUpgradeStatus) {
        let step = step(status);
        if self.step.as_ref().is_none_or(|(last, _)| *last != step) {
            self.close_step();
            self.step = Some((step.clone(), Instant::now()));
        }
        let line = line(&step, status);
        if self.last.as_ref() != Some(&line) {
            progress::line(&line);
            self.last = Some(line);
        }
        self.refresh();
    }

    fn close_step(&mut self) {
        if let Some((step, since)) = self.step.take() {
            self.steps.push((step, since.elapsed()));
        }
    }

    fn end(mut self, status: MeshUpgradeStatus) -> Followed {
        self.close_step();
        // The last one is the end itself, which takes no time.
        self.steps.pop();
        Followed {
            status,
            steps: std::mem::take(&mut self.steps),
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn step(status: &MeshUpgradeStatus) -> String {
    match (status.phase, status.step) {
        (Some(phase), Some(step)) if !phase.is_terminal() => format!("{phase} {step}"),
        (Some(phase), _) => phase.to_string(),
        (None, _) => "not seen by the operator yet".to_owned(),
    }
}

fn line(step: &str, status: &MeshUpgradeStatus) -> String {
    let mut parts = vec![step];
    if !status.message.contains(&status.progress) {
        parts.push(&status.progress);
    }
    if !status.message.is_empty() {
        parts.push(&status.message);
    }
    parts.join(" | ")
}
