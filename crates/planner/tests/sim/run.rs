//! The loop of the operator on the simulated cluster: observe, decide, lint, execute, fold, write
//! status. It can be crashed after any effect and before any status write, and shown stale views.

use std::collections::{BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Phase, Step};
use meshlift_model::view::MeshView;
use meshlift_model::{Decision, ErrorClass, Executed, Failure, Next, Refusals, Upgrade};
use meshlift_planner::{decide, fold, lint};

use crate::invariants::Invariants;
use crate::life::Life;
use crate::observe::{Age, look, look_stale};
use crate::transcript::Transcript;
use crate::world::{World, seconds};

/// When something that nobody planned happens.
#[derive(Clone, Copy)]
pub enum When {
    /// So many seconds after the start.
    After(i64),
    /// So many seconds after the status shows this phase and step, or a later one.
    Reached(Phase, Option<Step>, i64),
    /// After the first decision of which this is true, before it is recorded.
    Meanwhile(fn(&Decision) -> bool),
    /// As soon as this is true of the world: at the same place in the story, however long it takes.
    Once(fn(&World) -> bool),
}

/// Something that somebody else does.
#[derive(Clone)]
pub struct Event {
    pub when: When,
    pub what: &'static str,
    pub act: fn(&mut World),
    due: Option<Timestamp>,
    fired: bool,
}

impl Event {
    pub fn new(when: When, what: &'static str, act: fn(&mut World)) -> Self {
        Self {
            when,
            what,
            act,
            due: None,
            fired: false,
        }
    }
}

/// A story: a world, what happens to it, and how long it is watched.
#[derive(Clone)]
pub struct Story {
    pub name: &'static str,
    pub world: World,
    pub events: Vec<Event>,
    pub limit: i64,
}

/// How far the views lag behind, in looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// Number of the first look that lags.
    pub from: u32,
    /// How many looks lag.
    pub looks: u32,
    /// By how many looks namespaces, workloads and control planes lag.
    pub watched: usize,
    /// By how many looks pods lag.
    pub pods: usize,
}

/// One telling of a story.
pub struct Run {
    pub world: World,
    pub transcript: Transcript,
    /// Points at which it could have crashed so far.
    pub points: u32,
    /// Looks taken so far.
    pub looks: u32,
    events: Vec<Event>,
    start: Timestamp,
    limit: Timestamp,
    crashes: BTreeSet<u32>,
    lag: Lag,
    hindsight: bool,
    /// Number of the look before which the operator is upgraded.
    upgraded: Option<u32>,
    past: VecDeque<World>,
    /// What others do meanwhile.
    life: Option<Life>,
    /// What must hold whatever they do.
    invariants: Option<Invariants>,
    /// Whether a way back was begun.
    pub went_back: bool,
    /// Decisions to act that were taken from earlier views, and tried.
    pub tried: u32,
}

/// How long a new leader takes to go on after a crash.
const RESTART: i64 = 3;
/// How many earlier worlds are kept to be shown again.
const MEMORY: usize = 50;
/// How old what a decision is made from may be. More than three times as old as what the tables of the cluster crate show
/// before they become unreadable (`SILENT`): a control plane of minutes ago, removed and installed again since, is not seen.
const STALE: SignedDuration = SignedDuration::from_mins(5);
/// How old what a lagging watch shows may be: after that a table is unreadable (`SILENT` in the cluster crate).
const SHOWN: SignedDuration = SignedDuration::from_secs(90);

struct Crashed;

/// A failure as the executor has it. Without a word nobody answered.
fn told((class, message): (ErrorClass, String)) -> Failure {
    let (_, why) = message.split_once(": ").unwrap_or(("", &message));
    Failure {
        class,
        answered: !why.is_empty(),
        why: why.to_owned(),
        message,
    }
}

impl Run {
    pub fn new(story: &Story) -> Self {
        Self {
            world: story.world.clone(),
            transcript: Transcript::new(story.world.now),
            points: 0,
            looks: 0,
            events: story.events.clone(),
            start: story.world.now,
            limit: story.world.now + seconds(story.limit),
            crashes: BTreeSet::new(),
            lag: Lag::default(),
            hindsight: false,
            upgraded: None,
            past: VecDeque::new(),
            life: None,
            invariants: None,
            went_back: false,
            tried: 0,
        }
    }

    pub fn crashing_at(mut self, points: impl IntoIterator<Item = u32>) -> Self {
        self.crashes = points.into_iter().collect();
        self
    }

    pub fn lagging(mut self, lag: Lag) -> Self {
        self.lag = lag;
        self
    }

    /// What was written until this look was written by the last release, which knew less.
    pub fn upgraded_at(mut self, look: u32) -> Self {
        self.upgraded = Some(look);
        self
    }

    /// At each look, tries what would be done if an earlier state were shown instead.
    pub fn with_hindsight(mut self) -> Self {
        self.hindsight = true;
        self
    }

    /// Lets the cluster live, with so many seconds more for it, and looks after what must hold all the same.
    pub fn living(mut self, life: Life, invariants: Invariants, more: i64) -> Self {
        self.limit += seconds(more);
        self.life = Some(life);
        self.invariants = Some(invariants);
        self
    }

    /// Tells the story to its end.
    pub fn tell(mut self) -> Self {
        self.go_on();
        self
    }

    /// Tells it to its end; after a panic the transcript is still there.
    pub fn go_on(&mut self) {
        self.until_it_ends();
        if let (Some(life), Some(invariants)) = (&self.life, &self.invariants) {
            invariants.at_the_end(&self.world, &life.rewritten);
        }
    }

    fn until_it_ends(&mut self) {
        loop {
            self.world.settle();
            if let Some(invariants) = &mut self.invariants {
                invariants.after_step(&self.world);
            }
            self.live();
            self.fire_events();
            let Some(upgrade) = self.world.object.clone() else {
                self.transcript.say(self.world.now, "the object is gone");
                return;
            };
            self.went_back |= upgrade.status.rollback.is_some();
            if self.ended(&upgrade) {
                self.stays_quiet();
                return;
            }
            if self.world.now >= self.limit {
                self.transcript.say(self.world.now, "and so it stays");
                return;
            }
            if self.upgraded == Some(self.looks) && upgrade.phase().is_locked() {
                self.upgraded = None;
                self.world.as_of_the_last_release();
                continue;
            }
            match self.reconcile(&upgrade) {
                Ok(again) => self.sleep(again),
                Err(Crashed) => {
                    self.world.now += seconds(RESTART);
                    self.world.helm.crashed();
                    // It was only in memory.
                    self.world.refusals = Refusals::default();
                }
            }
        }
    }

    fn live(&mut self) {
        if let Some(life) = &mut self.life {
            life.goes_on(&mut self.world, &mut self.transcript);
            self.world.settle();
        }
    }

    fn ended(&self, upgrade: &Upgrade) -> bool {
        upgrade.phase().is_terminal()
            && !upgrade.held
            && !upgrade.asked_again()
            && self.events.iter().all(|event| event.fired)
    }

    fn reconcile(&mut self, upgrade: &Upgrade) -> Result<Timestamp, Crashed> {
        let now = self.world.now;
        let view = self.observe(upgrade);
        let decision = decide(now, upgrade, &view);
        if let Err(violation) = lint(upgrade, &view, &decision) {
            panic!("{violation} after:\n{}", self.transcript);
        }
        if let Some(invariants) = &mut self.invariants {
            invariants.decided(&decision);
        }
        let executed = self.execute(upgrade, &decision)?;
        self.meanwhile(&decision);
        let newest = self.world.object.as_ref();
        if newest.is_some_and(|newest| !upgrade.stands_in(newest)) {
            self.transcript.say(now, "the decision stands no more");
            return Ok(now);
        }
        let status = fold(now, upgrade, &decision, &executed);
        self.transcript.decided(now, &decision, &executed, &status);
        if status != upgrade.status {
            self.crash_point()?;
            if let Some(object) = &mut self.world.object {
                object.status = status;
                self.world.status_writes += 1;
            }
        }
        Ok(match &decision.next {
            Next::Wait(waiting) => waiting.until,
            _ => now,
        })
    }

    /// What happens between a decision and its record.
    fn meanwhile(&mut self, decision: &Decision) {
        for event in self.events.iter_mut().filter(|event| !event.fired) {
            if let When::Meanwhile(holds) = event.when
                && holds(decision)
            {
                event.fired = true;
                self.transcript.happened(self.world.now, event.what);
                (event.act)(&mut self.world);
            }
        }
    }

    fn observe(&mut self, upgrade: &Upgrade) -> MeshView {
        self.looks += 1;
        let lag = self.lag;
        let lags = lag.looks > 0 && (lag.from..lag.from + lag.looks).contains(&self.looks);
        let shown = self.world.now - SHOWN;
        let back = |by: usize| {
            let earlier = self.past.iter().rev().take(by);
            earlier.take_while(|past| past.now >= shown).last()
        };
        let view = if lags {
            let watched = back(lag.watched).unwrap_or(&self.world);
            let pods = back(lag.pods).unwrap_or(&self.world);
            look_stale(&self.world, upgrade, &Age { watched, pods })
        } else {
            look(&self.world, upgrade)
        };
        if self.hindsight {
            self.try_earlier_views(upgrade);
        }
        if lag.looks > 0 || (self.hindsight && self.changed()) {
            self.past.push_back(self.world.clone());
            if self.past.len() > MEMORY {
                self.past.pop_front();
            }
        }
        view
    }

    /// Whether anything but time went on since the last state that is remembered.
    fn changed(&self) -> bool {
        let state = |world: &World| {
            let pods = world.apps.iter().flat_map(|app| &app.pods);
            let ready = pods.filter(|member| member.pod.ready).count();
            let writes: u32 = world.writes.values().sum();
            (world.serial, writes, ready, world.status_writes)
        };
        self.past.back().map(state) != Some(state(&self.world))
    }

    /// Shows each earlier state, whole or one watch of it, and executes what is decided from it on
    /// a copy of the world, which panics on a wrong write.
    fn try_earlier_views(&mut self, upgrade: &Upgrade) {
        let now = &self.world;
        let oldest = now.now - STALE;
        for past in self.past.iter().filter(|past| past.now >= oldest) {
            for (watched, pods) in [(past, past), (past, now), (now, past)] {
                let view = look_stale(now, upgrade, &Age { watched, pods });
                let decision = decide(now.now, upgrade, &view);
                let Next::Act(batch) = &decision.next else {
                    continue;
                };
                lint(upgrade, &view, &decision).expect("lint-clean");
                self.tried += 1;
                let mut copy = now.clone();
                for effect in batch {
                    // A conflict is what a stale view is for.
                    let _refused = copy.execute(effect);
                    copy.settle();
                }
            }
        }
    }

    fn execute(&mut self, upgrade: &Upgrade, decision: &Decision) -> Result<Executed, Crashed> {
        match &decision.next {
            Next::Wait(_) | Next::Enter(_) => Ok(Executed::Nothing),
            Next::Record(record) => {
                let name = upgrade.record_name();
                self.world.wrote("record");
                self.world.records.insert(name, (**record).clone());
                self.crash_point()?;
                Ok(Executed::Done)
            }
            Next::Act(batch) => {
                // One that fails does not keep the others from being executed.
                let mut tried = Vec::new();
                for effect in batch {
                    if let (Some(life), Some(invariants)) = (&self.life, &self.invariants) {
                        invariants.before(&self.world, effect, &life.rewritten);
                    }
                    let failure = self.world.execute(effect).err();
                    self.crash_point()?;
                    tried.push((effect, failure.map(told)));
                }
                let now = self.world.now;
                Ok(self.world.refusals.settle(now, upgrade, tried))
            }
        }
    }

    fn crash_point(&mut self) -> Result<(), Crashed> {
        self.points += 1;
        if self.crashes.contains(&self.points) {
            Err(Crashed)
        } else {
            Ok(())
        }
    }

    /// Sleeps until it is asked to look again, or something happens that a watch would tell.
    fn sleep(&mut self, again: Timestamp) {
        let rest = self.life.as_ref().map_or(1, |life| life.rest);
        let soonest = self.world.now + seconds(rest);
        let events = self.events.iter().filter(|event| !event.fired);
        let scripted = events.filter_map(|event| event.due);
        let lives = self.life.as_ref().map(Life::due);
        let wake = scripted.chain(self.world.next_event()).chain(lives).min();
        let wake = wake.map_or(again, |at| at.min(again));
        self.world.now = wake.max(soonest).min(self.limit.max(soonest));
    }

    fn fire_events(&mut self) {
        let Some(object) = &self.world.object else {
            return;
        };
        let reached = (object.phase(), object.status.step);
        let now = self.world.now;
        for event in self.events.iter_mut().filter(|event| !event.fired) {
            let due = event.due.or(match event.when {
                When::After(delay) => Some(self.start + seconds(delay)),
                When::Reached(phase, step, delay) => {
                    (reached >= (phase, step)).then(|| now + seconds(delay))
                }
                When::Once(holds) => holds(&self.world).then_some(now),
                When::Meanwhile(_) => None,
            });
            event.due = due;
            if due.is_some_and(|at| at <= now) {
                event.fired = true;
                self.transcript.happened(now, event.what);
                (event.act)(&mut self.world);
            }
        }
        self.world.settle();
    }

    /// Two minutes after the end nothing is written any more.
    fn stays_quiet(&mut self) {
        let mut upgrade = self.world.object.clone().expect("it ended, and is there");
        for _ in 0..3 {
            let view = look(&self.world, &upgrade);
            let decision = decide(self.world.now, &upgrade, &view);
            assert!(
                matches!(decision.next, Next::Wait(_)),
                "not quiet: {decision:?}"
            );
            let status = fold(self.world.now, &upgrade, &decision, &Executed::Nothing);
            // An edit that asks for nothing is seen once: that is no write for nothing.
            if upgrade.status.observed_generation != status.observed_generation {
                upgrade.status = status;
                continue;
            }
            assert_eq!(status, upgrade.status, "a status write after the end");
            self.world.now += seconds(40);
        }
    }
}
