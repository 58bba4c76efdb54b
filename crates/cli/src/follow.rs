//! Follows a MeshUpgrade until it ends: a live view for a person, lines for a log, JSON for a program.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use kube::Api;
use kube::runtime::watcher::{self, watch_object};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::watch::Guarded;
use tokio::time::{MissedTickBehavior, interval};

use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure;
use crate::output::{print, tell};
use crate::render::progress::{counts, has_ended, line, stage, took, verdict, wave};
use crate::render::time::span;
use crate::terminal::{Terminal, Tone};

/// An operator that runs has written a status by then.
const SILENCE: Duration = Duration::from_secs(20);

/// How it is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following<'a> {
    /// Namespace of the operator, for a hint.
    pub(crate) operator_namespace: &'a str,
    /// For how long; none for as long as it takes.
    pub(crate) limit: Option<Duration>,
    /// Each change as a line of JSON.
    pub(crate) json: bool,
}

/// Follows until the upgrade ends, the time is over, or the person has seen enough. `program` is what
/// the person called, for the command that follows it again.
pub(crate) async fn follow(
    connection: &Connection,
    name: &str,
    how: Following<'_>,
    terminal: &Terminal,
    program: &str,
) -> Result<Exit> {
    connection
        .answers(&format!("following MeshUpgrade {name}"))
        .await?;
    let upgrades: Api<Guarded<MeshUpgrade>> = Api::all(connection.watches.clone());
    let mut changes = pin!(watch_object(upgrades, name));
    let mut over = pin!(tokio::time::sleep(how.limit.unwrap_or(Duration::MAX / 4)));
    // One for the whole loop and asked first: a new one each round would miss a signal between two rounds.
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View::new(name, how, terminal);
    loop {
        tokio::select! {
            biased;
            signal = &mut interrupted => {
                signal?;
                view.close();
                eprintln!(
                    "No longer followed; the upgrade goes on.\nFollow it again: {program} watch {name}\nHold it before its next step: {program} pause {name}"
                );
                return Ok(Exit::Interrupted);
            }
            change = changes.next() => match change {
                Some(Ok(Some(Guarded::Undecoded(object)))) => bail!(failure::undecoded(&object)),
                Some(Ok(Some(Guarded::Decoded(upgrade)))) => {
                    if !view.show(&upgrade)? {
                        return Ok(Exit::Interrupted);
                    }
                    if let Some(exit) = ended(&upgrade) {
                        view.end(&upgrade)?;
                        return Ok(exit);
                    }
                }
                Some(Ok(None)) if view.last.is_none() => bail!(
                    "there is no MeshUpgrade {name}: `{program} status` lists those there are"
                ),
                Some(Ok(None)) => bail!("MeshUpgrade {name} is gone: someone deleted it"),
                // Others pass: the watch comes back by itself.
                Some(Err(error)) => view.lost(refused(name, connection, error)?),
                None => bail!("the watch of MeshUpgrade {name} ended"),
            },
            () = &mut over => {
                let status = view.last.take().unwrap_or_default();
                view.close();
                let waited = span(i64::try_from(view.began.elapsed().as_secs()).unwrap_or(i64::MAX));
                eprintln!("{name} has not ended within {waited}: {}\nIt goes on. Follow it: {program} watch {name}", line(&status));
                return Ok(Exit::of_unended(&status));
            }
            _ = tick.tick() => view.tick(),
        }
    }
}

fn ended(upgrade: &MeshUpgrade) -> Option<Exit> {
    let status = upgrade.status.as_ref()?;
    has_ended(upgrade).then(|| Exit::of_ended(status)).flatten()
}

/// An answer that will not change ends it; what will pass is returned.
fn refused(name: &str, connection: &Connection, error: watcher::Error) -> Result<String> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
            if matches!(status.code, 401 | 403 | 404) =>
        {
            let doing = format!("following MeshUpgrade {name}");
            let error = kube::Error::Api(status);
            Err(failure::request(&doing, &connection.server, error))
        }
        error => Ok(error.to_string()),
    }
}

struct View<'a> {
    name: &'a str,
    how: Following<'a>,
    terminal: &'a Terminal,
    bars: Option<Bars>,
    began: Instant,
    last: Option<MeshUpgradeStatus>,
    /// The line that was printed last.
    told: String,
    /// The stage, and since when it is shown.
    stage: Option<(String, Instant)>,
    warned: bool,
}

impl<'a> View<'a> {
    fn new(name: &'a str, how: Following<'a>, terminal: &'a Terminal) -> Self {
        Self {
            name,
            how,
            terminal,
            bars: (terminal.live && !how.json).then(Bars::new),
            began: Instant::now(),
            last: None,
            told: String::new(),
            stage: None,
            warned: false,
        }
    }

    /// Tells of a change; whether anyone still reads it.
    fn show(&mut self, upgrade: &MeshUpgrade) -> Result<bool> {
        let mut read = true;
        let status = upgrade.status.clone().unwrap_or_default();
        if self.how.json {
            if self.last.as_ref() != Some(&status) {
                let text = serde_json::to_string(upgrade)
                    .map_err(|error| anyhow!("the object cannot be written as JSON: {error}"))?;
                read = tell(&format!("{text}\n"))?;
            }
        } else if self.bars.is_some() {
            self.step(&status);
        } else {
            let text = line(&status);
            if self.told != text {
                let time = Timestamp::now().strftime("%H:%M:%SZ");
                read = tell(&format!("{time} {text}\n"))?;
                self.told = text;
            }
        }
        self.last = Some(status);
        self.tick();
        Ok(read)
    }

    /// A stage that is over stays on the screen, with the time it took.
    fn step(&mut self, status: &MeshUpgradeStatus) {
        let stage = stage(status);
        if self.stage.as_ref().is_some_and(|(at, _)| *at == stage) {
            return;
        }
        let before = self.stage.replace((stage, Instant::now()));
        // What was there when following began has no beginning that was seen.
        if let (Some((stage, since)), Some(bars)) = (before, &self.bars) {
            let took = span(i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX));
            let done = self.terminal.paint(Tone::Good, "done");
            bars.say(&format!("  {done}  {stage} ({took})"));
        }
    }

    /// What lives: the time, the bar, the message.
    fn tick(&mut self) {
        let status = self.last.clone().unwrap_or_default();
        if status.phase.is_none() && self.began.elapsed() > SILENCE && !self.warned {
            self.warned = true;
            let hint = &format!(
                "no operator has answered yet: check that it runs (kubectl -n {} get pods)",
                self.how.operator_namespace
            );
            match &self.bars {
                Some(bars) => bars.say(hint),
                None => eprintln!("{hint}"),
            }
        }
        if let Some(bars) = &mut self.bars {
            bars.show(self.name, &status);
        }
    }

    fn lost(&mut self, why: String) {
        if let Some(bars) = &self.bars {
            bars.message
                .set_message(format!("connection lost, tries again: {why}"));
        }
    }

    fn end(&mut self, upgrade: &MeshUpgrade) -> Result<()> {
        self.close();
        if self.how.json {
            return Ok(());
        }
        let status = upgrade.status.clone().unwrap_or_default();
        let tone = match Exit::of_ended(&status) {
            Some(Exit::Fine) => Tone::Good,
            _ => Tone::Bad,
        };
        let text = verdict(self.name, &status, Timestamp::now());
        print(&format!("{}\n", self.terminal.paint(tone, &text)))?;
        Ok(())
    }

    fn close(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    /// Only once there is something to count.
    workloads: Option<ProgressBar>,
    message: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let head = all.add(ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")));
        let message = all.add(ProgressBar::new_spinner().with_style(style("  {wide_msg}")));
        head.enable_steady_tick(Duration::from_millis(120));
        Self {
            all,
            head,
            workloads: None,
            message,
        }
    }

    fn show(&mut self, name: &str, status: &MeshUpgradeStatus) {
        let way = match (&status.from, &status.target) {
            (Some(from), Some(to)) => format!(" {} -> {}", from.version, to.version),
            _ => String::new(),
        };
        let took = took(status, Timestamp::now()).map_or(String::new(), |took| format!("  {took}"));
        let wave = wave(status).map_or(String::new(), |wave| format!(", {wave}"));
        self.head
            .set_message(format!("{name}{way}  {}{wave}{took}", stage(status)));
        let counted = status.workloads.filter(|_| {
            let moving = [Phase::Upgrading, Phase::HealthChecking];
            status.phase.is_some_and(|phase| moving.contains(&phase))
        });
        if let Some(workloads) = counted {
            let (all, head) = (&self.all, &self.head);
            let bar = self.workloads.get_or_insert_with(|| {
                let bar = ProgressBar::new(0).with_style(style("  [{bar:40}] {msg}"));
                all.insert_after(head, bar)
            });
            bar.set_length(workloads.total.max(1).into());
            bar.set_position(workloads.moved.into());
            bar.set_message(counts(&workloads));
        }
        self.message.set_message(status.message.clone());
    }

    fn say(&self, text: &str) {
        // A lost line of progress is not worth failing for.
        let _ = self.all.println(text);
    }

    fn clear(self) {
        let bars = [Some(self.head), self.workloads, Some(self.message)];
        for bar in bars.into_iter().flatten() {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants that parse")
        .progress_chars("=> ")
}
