//! What a run looks like to the person who watches it.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use meshlift_api::{MeshUpgradeStatus, WaveStatus};
use meshlift_model::{Decision, Executed, Next};

use crate::world::World;

/// Lines, each with the time since the start.
pub struct Transcript {
    start: Timestamp,
    text: String,
    last: String,
    /// Whether nobody reads it.
    silent: bool,
}

impl Transcript {
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            text: String::new(),
            last: String::new(),
            silent: false,
        }
    }

    /// Writes nothing from now on: a million runs are told faster.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    pub fn say(&mut self, now: Timestamp, line: &str) {
        if self.silent {
            return;
        }
        let at = now.duration_since(self.start).as_secs();
        let (hours, minutes, seconds) = (at / 3600, at % 3600 / 60, at % 60);
        writeln!(self.text, "{hours}:{minutes:02}:{seconds:02} {line}").expect("a string");
    }

    pub fn happened(&mut self, now: Timestamp, what: &str) {
        self.say(now, &format!("-- {what}"));
    }

    /// A decision with what became of it; silent when it says and does nothing new.
    pub fn decided(
        &mut self,
        now: Timestamp,
        decision: &Decision,
        executed: &Executed,
        status: &MeshUpgradeStatus,
    ) {
        if self.silent {
            return;
        }
        let phase = status.phase.map(|p| p.to_string()).unwrap_or_default();
        let step = status.step.map(|s| format!("/{s}")).unwrap_or_default();
        let line = format!("{phase}{step}: {}", status.message);
        let acts = matches!(decision.next, Next::Act(_) | Next::Record(_));
        if line != self.last || acts {
            self.say(now, &line);
        }
        self.last = line;
        match &decision.next {
            Next::Act(batch) => {
                for effect in batch {
                    writeln!(self.text, "          + {}", effect.describe()).expect("a string");
                }
            }
            Next::Record(_) => self.text.push_str("          + recording\n"),
            Next::Wait(_) | Next::Enter(_) => {}
        }
        if let Executed::Failed { class, message } = executed {
            writeln!(self.text, "          ! {class:?}: {message}").expect("a string");
        }
        if let Executed::Refused(refused) = executed {
            for write in refused {
                let (class, message) = (write.class, &write.message);
                writeln!(self.text, "          ! {class:?}: {message}").expect("a string");
            }
        }
    }

    /// The transcript with the end that it came to.
    pub fn with_end(&self, world: &World) -> String {
        let mut text = self.text.clone();
        if let Some(object) = &world.object {
            text.push_str("\nstatus\n");
            text.push_str(&end(&object.status));
        }
        text.push_str("\nwrites\n");
        for (object, count) in &world.writes {
            writeln!(text, "  {count} {object}").expect("a string");
        }
        text
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn legs(status: &MeshUpgradeStatus) -> String {
    let legs = status.legs.iter();
    let legs: Vec<String> = legs
        .map(|leg| format!("{} {}", leg.id, leg.state))
        .collect();
    legs.join(", ")
}

fn told(wave: &WaveStatus) -> String {
    let begun = match wave.started_at {
        Some(_) => "",
        None => ", not begun",
    };
    let (name, state, of, progress) = (&wave.name, wave.state, wave.namespaces, &wave.progress);
    format!("{name} {state}, namespaces: {of}, workloads: {progress}{begun}")
}

/// A status without its times.
pub fn end(status: &MeshUpgradeStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name}: {value}").expect("a string");
    };
    line("phase", format!("{:?}", status.phase));
    line("message", status.message.clone());
    if let Some(outcome) = status.outcome {
        line("outcome", outcome.to_string());
    }
    let plane = |p: &meshlift_api::ControlPlaneRef| {
        format!(
            "{} ({})",
            p.version,
            p.revision.as_deref().unwrap_or_default()
        )
    };
    if let (Some(from), Some(target)) = (&status.from, &status.target) {
        line("course", format!("{} to {}", plane(from), plane(target)));
    }
    if let Some(c) = status.workloads {
        let (moved, total, pending) = (c.moved, c.total, c.pending);
        let rest = format!(
            "{} restarting, {pending} pending, {} blocked, {} failed",
            c.restarting, c.blocked, c.failed
        );
        line("workloads", format!("{moved}/{total} moved, {rest}"));
    }
    if let Some(p) = status.proxies {
        line("proxies", format!("{}/{} current", p.current, p.total));
    }
    if !status.legs.is_empty() {
        line("legs", legs(status));
    }
    for wave in &status.waves {
        line("wave", told(wave));
    }
    for blocked in &status.blocked {
        let entry = format!(
            "{} {}: {}",
            blocked.predicate, blocked.reference, blocked.message
        );
        line("blocked", entry);
    }
    for condition in &status.conditions {
        let entry = format!(
            "{} {} {}",
            condition.status, condition.reason, condition.message
        );
        line(&condition.type_, entry);
    }
    for run in &status.history {
        let entry = format!("{:?} {}", run.outcome, run.message);
        line("history", entry);
    }
    text
}
